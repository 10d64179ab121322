"""Schemas of limits on concurrent runs."""

from typing import Literal

from pydantic import Field

from relay_api.schemas.common import Input, Output


class RunLimitIn(Input):
    """The most runs that may be at work at once."""

    max_runs: int = Field(ge=0, le=1_000_000, description="0: none is started any more.", examples=[4])


class RunLimitOut(Output):
    """The most runs that may be at work at once for a project, an owner or a pool."""

    kind: Literal["project", "owner", "pool"]
    name: str = Field(description="Id of a project, an owner, a pool; `*`: each one without a limit of its own.")
    max_runs: int
    project_name: str | None = Field(None, description="Name of the project; null for other kinds, and for `*`.")


class RunLimitList(Output):
    """All limits by kind and name."""

    items: list[RunLimitOut]
