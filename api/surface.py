"""What is asked beyond the records: mixins of Query and Mutation, written by hand."""

from api.areas_graphql import AreaQuery
from api.conflicts_graphql import ConflictMutation, ConflictQuery
from api.coverage_graphql import CoverageMutation, CoverageQuery
from api.devices_graphql import DeviceMutation, DeviceQuery
from api.evidence_graphql import EvidenceQuery
from api.grants_graphql import GrantMutation, GrantQuery
from api.history_graphql import HistoryQuery
from api.locate_graphql import LocateQuery
from api.membership_graphql import MembershipMutation, MembershipQuery
from api.numbers_graphql import NumberMutation, NumberQuery
from api.ogc.graphql import FeatureQuery
from api.people_graphql import PeopleQuery
from api.planning_graphql import PlanningMutation, PlanningQuery
from api.read_tokens_graphql import ReadTokenMutation, ReadTokenQuery

QUERIES = (
    AreaQuery,
    ConflictQuery,
    CoverageQuery,
    DeviceQuery,
    EvidenceQuery,
    FeatureQuery,
    GrantQuery,
    HistoryQuery,
    LocateQuery,
    MembershipQuery,
    NumberQuery,
    PeopleQuery,
    PlanningQuery,
    ReadTokenQuery,
)
MUTATIONS = (
    ConflictMutation,
    CoverageMutation,
    DeviceMutation,
    GrantMutation,
    MembershipMutation,
    NumberMutation,
    PlanningMutation,
    ReadTokenMutation,
)
