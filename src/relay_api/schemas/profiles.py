"""Schemas of session profiles."""

from pydantic import Field

from relay_api.schemas.common import Output


class ProfileExecutor(Output):
    """The executor of a template; null where it says nothing."""

    name: str
    command: str | None = None
    variant: str | None = None
    model: str | None = None
    reasoning_effort: str | None = None
    permission_mode: str | None = None
    args: list[str] = Field(default_factory=list)


class SessionProfileOut(Output):
    """A template of sessions and terminals. A value that a request gives itself comes before that of the profile."""

    name: str
    description: str
    image: str | None = Field(description="Comes after the image of the request, before job file and project.")
    executor: ProfileExecutor | None = Field(description="Counts as if the request had named it.")
    shell: str | None = Field(description="Of a terminal; null: bash, zsh or sh, the first that the image has.")
    columns: int = Field(description="Width of a new terminal, in characters.")
    rows: int = Field(description="Height of a new terminal, in lines.")


class SessionProfileList(Output):
    """All session profiles of the server."""

    items: list[SessionProfileOut]
