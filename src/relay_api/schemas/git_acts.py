"""Schemas of requests for git acts on a workspace."""

from pydantic import Field

from relay_api.schemas.common import Input, ShortText
from relay_api.schemas.git_states import Generation
from relay_api.schemas.patterns import COMMIT


class PushIn(Input):
    """Request to push the commits of a repository to its remote, with the credentials of the node."""

    repo: ShortText | None = Field(None, description="Name of the repository; needed when the workspace has several.")
    branch: ShortText | None = Field(
        None, description="Branch of the remote; null: one with the name of the workspace's branch."
    )
    force: bool = Field(
        default=False,
        description="Replace other commits of that branch; only for a branch with the name of the workspace's branch.",
    )


class ResetIn(Input):
    """Request to reset clones: to the commits before an execution, or one clone to a commit. Give one of the two."""

    before_execution: ShortText | None = Field(
        None, description="Id of an execution of the workspace, or its beginning: reset to the commits before it."
    )
    commit: str | None = Field(None, pattern=COMMIT, description="Id of a commit of the clone, or its beginning.")
    repo: ShortText | None = Field(
        None,
        description="Name of the repository. Null: all of the workspace for `before_execution`; the only one for "
        "`commit`.",
    )
    discard_changes: bool = Field(
        default=False,
        description="Throw uncommitted changes away, new files included; without it a clone that has any is refused.",
    )
    generation: Generation | None = Field(
        None, description="`generation` of the preview; if anything has happened since: 409 `stale_generation`."
    )
