"""Sets of roles that declarations name again and again."""

from schema.actor import Role
from schema.base import Verb

R, C, U, D = Verb.READ, Verb.CREATE, Verb.UPDATE, Verb.DELETE
READ = R
WRITE = R | C | U
ALL = R | C | U | D
OFFICERS = frozenset({Role.INSPECTOR, Role.SUPERVISOR})
FIELD = frozenset({Role.INSPECTOR, Role.COORDINATOR, Role.SUPERVISOR})
SUPERVISORS = frozenset({Role.SUPERVISOR})
