"""States of the entities that move from this Relay to another one; a client drives the move, and any can resume it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, func, select, text, update

from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.transfer import EntityType, MigrationStatus
from relay_core.store.schema.tables import MigrationState, Project
from relay_core.store.tokens import Principal
from relay_core.store.transfer.installation import installation_id
from relay_core.store.views.paging import Page, PageRequest, cut, paged

S = MigrationState
View = dict[str, Any]
"""Fields of `relay_api.schemas.migrations.MigrationOut`."""
_COLUMNS: list[Any] = [
    S.id,
    S.target_id,
    S.target_url,
    S.entity_type,
    S.local_id,
    S.remote_id,
    S.status,
    S.error_message,
    S.attempt_count,
    S.created_by,
    S.created_at,
    S.updated_at,
]
_LIVE = "p.deleted_at IS NULL AND (:only IS NULL OR p.created_by = :only) AND (:project IS NULL OR p.id = :project)"
_TASKS = "FROM projects p JOIN tasks t ON t.project_id = p.id AND t.deleted_at IS NULL"
_WORKSPACES = f"{_TASKS} JOIN workspaces w ON w.task_id = t.id AND w.deleted_at IS NULL"
_PULL_REQUESTS = "JOIN merges m ON m.workspace_id = w.id AND m.pr_number IS NOT NULL"
_FOUND = {
    EntityType.PROJECT: "SELECT p.id FROM projects p",
    EntityType.TASK: f"SELECT t.id {_TASKS}",
    EntityType.WORKSPACE: f"SELECT w.id {_WORKSPACES}",
    EntityType.PR_MERGE: f"SELECT m.id {_WORKSPACES} {_PULL_REQUESTS}",
}
_REGISTER = """
    INSERT INTO migration_states (id, target_id, target_url, entity_type, local_id, created_by)
    SELECT gen_random_uuid(), :target_id, :target_url, :entity_type, found.id, :owner FROM ({found}) AS found
    ON CONFLICT ON CONSTRAINT migration_states_entity DO UPDATE SET target_url = excluded.target_url
    WHERE migration_states.target_url <> excluded.target_url
    """


@dataclass(frozen=True)
class Target:
    """Another Relay.

    Attributes:
        id: id of its installation.
        url: its address, without credentials.
    """

    id: UUID
    url: str


@dataclass(frozen=True)
class StateFilter:
    """Conditions on the states of a list; None sets no condition."""

    status: MigrationStatus | None = None
    entity_type: EntityType | None = None
    target_id: UUID | None = None


def register(connection: Connection, target: Target, project_id: UUID | None, principal: Principal) -> list[View]:
    """Store a state for each entity that has none for this target; return the number of entities by type and status.

    Args:
        connection: one transaction.
        target: the other Relay.
        project_id: only this project and what belongs to it; None: all that the principal may see.
        principal: owner of the states.

    Raises:
        InvalidInput: `target_is_source`: the target is this Relay.
    """
    if target.id == installation_id(connection):
        message = "the target is this Relay itself; give the address of the other one"
        raise InvalidInput(message, code="target_is_source", field="target_id")
    values = {
        "target_id": target.id,
        "target_url": target.url,
        "owner": principal.owner,
        "only": principal.only,
        "project": project_id,
    }
    for entity_type, found in _FOUND.items():
        statement = text(_REGISTER.format(found=f"{found} WHERE {_LIVE}")).bindparams(
            bindparam("project", type_=Project.id.type), bindparam("only", type_=Project.name.type)
        )
        connection.execute(statement, {**values, "entity_type": entity_type})
    mine = (S.created_by == principal.owner) & (S.target_id == target.id)
    counted = select(S.entity_type, S.status, func.count().label("count")).where(mine)
    rows = connection.execute(counted.group_by(S.entity_type, S.status)).mappings()
    order = list(EntityType)
    return sorted((dict(row) for row in rows), key=lambda row: (order.index(row["entity_type"]), row["status"]))


def listed(connection: Connection, principal: Principal, conditions: StateFilter, page: PageRequest) -> Page:
    """Return a page of states, newest first; an admin gets those of all owners."""
    statement = _states(principal)
    for name, value in vars(conditions).items():
        if value is not None:
            statement = statement.where(getattr(S, name) == value)
    rows = connection.execute(paged(statement, S.created_at, S.id, page, newest_first=True)).mappings()
    return cut([dict(row) for row in rows], page)


def get(connection: Connection, state_id: UUID, principal: Principal) -> View:
    """Return one state.

    Raises:
        NotFound: there is no such state, or it belongs to another owner.
    """
    row = connection.execute(_states(principal).where(S.id == state_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no migration {state_id}")
    return dict(row)


def begin(connection: Connection, state_id: UUID, principal: Principal) -> View:
    """Count an attempt to move an entity, before anything of it is sent, and return its state.

    Of an entity that is migrated nothing is counted.

    Raises:
        NotFound: there is no such state, or it belongs to another owner, also if an admin asks: the ids that his token
            of the target gets are of no use to the other owner.
    """
    _require_own(connection, state_id, principal)
    mine = update(S).where(S.id == state_id, S.status != MigrationStatus.MIGRATED)
    connection.execute(mine.values(attempt_count=S.attempt_count + 1, updated_at=func.now()))
    return get(connection, state_id, principal)


def settle(connection: Connection, state_id: UUID, outcome: Mapping[str, Any], principal: Principal) -> View:
    """Store how an attempt ended, and return the state. To say the same again changes nothing.

    A migrated project gets the id of its counterpart as `remote_project_id`.

    Args:
        connection: one transaction.
        state_id: the state.
        outcome: `status`, and `remote_id` of what is migrated or `error_message` of what is not.
        principal: who asks.

    Raises:
        NotFound: as `begin`.
        InvalidInput: status, id and message do not fit together.
        Conflict: `already_migrated`: it is migrated, and stays so.
    """
    status, remote_id, why = outcome["status"], outcome.get("remote_id"), outcome.get("error_message")
    migrated = status is MigrationStatus.MIGRATED
    if migrated != (remote_id is not None) or migrated == bool(why):
        message = "a migrated entity has a remote_id and no error_message; one that is not has an error_message only"
        raise InvalidInput(message, code="outcome_incomplete", field="status")
    _require_own(connection, state_id, principal)
    connection.execute(select(S.id).where(S.id == state_id).with_for_update())
    before = get(connection, state_id, principal)
    if before["status"] == MigrationStatus.MIGRATED:
        if migrated and before["remote_id"] == remote_id:
            return before
        message = f"the {before['entity_type']} is migrated, as {before['remote_id']}; that does not change"
        raise Conflict(message, code="already_migrated")
    values = {"status": status, "remote_id": remote_id, "error_message": why, "updated_at": func.now()}
    connection.execute(update(S).where(S.id == state_id).values(values))
    if migrated and before["entity_type"] == EntityType.PROJECT:
        connection.execute(update(Project).where(Project.id == before["local_id"]).values(remote_project_id=remote_id))
    return get(connection, state_id, principal)


def _require_own(connection: Connection, state_id: UUID, principal: Principal) -> None:
    if get(connection, state_id, principal)["created_by"] != principal.owner:
        raise NotFound(f"there is no migration {state_id} of yours; only its owner can move its entity")


def _states(principal: Principal) -> Select[Any]:
    statement = select(*_COLUMNS)
    return statement if principal.only is None else statement.where(S.created_by == principal.only)
