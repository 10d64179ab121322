"""Schemas of the expiry of idle workspaces: its hours, what comes next, and work that was kept before a deletion."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Input, Output
from relay_api.schemas.measures import PatchStat
from relay_api.schemas.previews import NoteOut
from relay_core.domain.expiry import ExpiryAct

_Hours = Annotated[float, Field(ge=0, le=24 * 3650, allow_inf_nan=False)]
_TOLD = "Null: the server's setting; 0: never. Pinned workspaces are left alone."
_STOP = f"Hours without an execution after which a workspace is stopped. {_TOLD}"
_ARCHIVE = f"Hours without an execution or change, such as the stop, after which it is archived. {_TOLD}"
_DELETE = f"Hours without an execution or change after which an archived workspace is deleted. {_TOLD}"


class IdleHoursIn(Input):
    """The hours of a project after which an idle workspace of it expires."""

    idle_stop_hours: _Hours | None = Field(None, description=_STOP)
    idle_archive_hours: _Hours | None = Field(None, description=_ARCHIVE)
    idle_delete_hours: _Hours | None = Field(None, description=_DELETE)


class IdleHoursOut(Output):
    """The hours of a project after which an idle workspace of it expires."""

    idle_stop_hours: float | None = Field(description=_STOP)
    idle_archive_hours: float | None = Field(description=_ARCHIVE)
    idle_delete_hours: float | None = Field(description=_DELETE)


class NextActOut(Output):
    """The act that comes next if nothing happens in a workspace."""

    act: ExpiryAct
    hours: float = Field(description="Hours without an execution or change after which it is due.")
    in_seconds: float = Field(description="Seconds until then; not positive: it is due.")
    setting: str = Field(description="Field of the project, or setting of the server, that says so.")


class ExpiryOut(Output):
    """The acts of Relay that a workspace expects if nothing happens in it."""

    workspace_id: UUID
    idle_seconds: float = Field(description="Seconds since the last end of an execution, or the last change.")
    pinned: bool = Field(description="Whether it is pinned: then nothing comes of it.")
    next: NextActOut | None = Field(description="Null: no act comes. It is not done while there are blockers.")
    blockers: list[NoteOut] = Field(description="Reasons for which Relay does not touch the workspace by itself now.")


class KeptOut(Output):
    """The work tree of one clone, which was stored before Relay deleted the idle workspace."""

    repo_id: UUID
    name: str
    base_commit: str | None = Field(description="Where the workspace's branch started.")
    head_commit: str | None
    branch: str | None = Field(description="Null: HEAD was on no branch.")
    dirty: bool | None = Field(description="Whether there were changes that were not committed; null: it is not known.")
    pinned_commit: str = Field(description="The whole work tree as a commit.")
    stat: PatchStat | None
    bundle_bytes: int | None = Field(description="Size of its git bundle; null: the work tree is the base commit.")
    kept_at: datetime


class KeptList(Output):
    """The work trees that were kept of a workspace."""

    items: list[KeptOut]


def shown_stat(stat: Any) -> dict[str, Any] | None:
    """Return the stored counts of a patch as answers show them."""
    return stat and {name: stat[name] for name in PatchStat.model_fields if name in stat}
