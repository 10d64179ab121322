"""Examples of bodies and answers for the OpenAPI document, by the name of their schema: one job, as answers show it."""

from typing import Any

from relay_api.schemas.examples.administration import ADMINISTRATION
from relay_api.schemas.examples.bodies import BODIES
from relay_api.schemas.examples.delegations import DELEGATIONS
from relay_api.schemas.examples.executions import EXECUTIONS
from relay_api.schemas.examples.expiry import EXPIRY
from relay_api.schemas.examples.git_states import GIT_STATES
from relay_api.schemas.examples.merges import MERGES
from relay_api.schemas.examples.migrations import MIGRATIONS
from relay_api.schemas.examples.quarantine import QUARANTINE
from relay_api.schemas.examples.records import RECORDS
from relay_api.schemas.examples.runs import RUNS
from relay_api.schemas.examples.shared import SHARED
from relay_api.schemas.examples.workspaces import WORKSPACES

EXAMPLES: dict[str, Any] = {
    **BODIES,
    **RUNS,
    **EXECUTIONS,
    **RECORDS,
    **WORKSPACES,
    **MERGES,
    **MIGRATIONS,
    **ADMINISTRATION,
    **SHARED,
    **GIT_STATES,
    **QUARANTINE,
    **DELEGATIONS,
    **EXPIRY,
}
