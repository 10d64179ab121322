"""Schemas of executors and their profiles."""

from typing import Any
from uuid import UUID

from pydantic import Field, RootModel

from relay_api.schemas.common import Output


class VariantOut(Output):
    """A variant (profile) of an executor: its settings under a name."""

    name: str
    command: str | None
    model: str | None
    reasoning_effort: str | None
    permission_mode: str | None
    args: list[str]
    env: list[str] = Field(description="Names of the environment variables that the profile sets.")


class AgentOut(Output):
    """An executor that a run can name."""

    name: str
    summary: str
    program: str | None = Field(description="Program that the image must hold; null: it depends on the command.")
    can_resume: bool = Field(description="Whether sessions of this executor take follow-ups.")
    can_rewind: bool = Field(
        description="Whether a follow-up can go on at an earlier message, after `POST /v1/workspaces/{id}/resume-at`. "
        "If not, it begins a new conversation."
    )
    can_see_images: bool = Field(
        description="Whether it can show its model images. If not, requests with `image_ids` are refused."
    )
    permission_modes: list[str]
    reasoning_efforts: list[str]
    variants: list[VariantOut]


class AgentList(Output):
    """All executors that a run can name."""

    items: list[AgentOut]


class ProfilesIn(RootModel[dict[str, dict[str, dict[str, Any]]]]):
    """Agent profiles of a project: `{executor: {variant: {field: value}}}`, as in the deployment's file."""

    model_config = {"json_schema_extra": {"examples": [{"claude-code": {"default": {"model": "opus"}}}]}}


class ProfilesOut(Output):
    """The agent profiles that a project defines itself: executor → variant → field → value."""

    project_id: UUID
    profiles: dict[str, dict[str, dict[str, Any]]]
