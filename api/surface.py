"""What is asked beyond the records: mixins of Query and Mutation, written by hand."""

from api.areas_graphql import AreaQuery
from api.conflicts_graphql import ConflictMutation, ConflictQuery
from api.coverage_graphql import CoverageQuery
from api.history_graphql import HistoryQuery
from api.locate_graphql import LocateQuery

QUERIES = (AreaQuery, ConflictQuery, CoverageQuery, HistoryQuery, LocateQuery)
MUTATIONS = (ConflictMutation,)
