"""Sessions and what is said in them."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Input, Links, Output, Prompt
from relay_core.domain.agents.conversation import EntryKind, ToolStatus


class ToolOut(Output):
    """A tool call."""

    name: str
    input: str = Field(description="As JSON, or as the text it was given as.")
    status: ToolStatus
    result: str
    paths: list[str] = Field(description="Of a file edit: the files.")


class EntryOut(Output):
    """One entry of a conversation, as it stands."""

    entry: int = Field(description="Place in the conversation, 0..n.")
    sequence: int = Field(description="Number of its last change; an entry that changes again gets a later one.")
    kind: EntryKind
    text: str
    tool: ToolOut | None = Field(description="Of a tool call or file edit.")
    usage: dict[str, float] | None = Field(description="Of a usage: tokens, cost_usd, … by name.")
    truncated: bool = Field(description="It was longer; the raw log has all of it.")
    agent: str | None = Field(default=None, description="The subagent whose it is; null: the agent itself.")
    masked: bool = Field(default=False, description="Something in it is a secret and is shown as asterisks.")
    created_at: datetime


class ConversationPage(Output):
    """Some entries, in order."""

    items: list[EntryOut]
    next_after: int | None = Field(description="Pass it as `after` to go on; null: there are no more by now.")


class SessionTurn(Output):
    """A turn of a session."""

    execution_id: UUID
    status: str
    prompt: str | None
    summary: str | None
    agent_session_id: str | None
    usage: dict[str, float] | None
    created_at: datetime
    completed_at: datetime | None


class SessionOut(Output):
    """One agent thread inside a workspace."""

    id: UUID
    workspace_id: UUID
    executor: str | None
    agent_session_id: str | None = Field(description="The agent's own id of the conversation, once it has one.")
    can_resume: bool = Field(description="Whether the agent can go on with a conversation at all.")
    created_at: datetime
    turns: list[SessionTurn] = Field(description="In order; at most the last 100, in a list the last one.")
    links: Links


class SessionList(Output):
    """Some sessions."""

    items: list[SessionOut]


class FollowUpIn(Input):
    """What to say next."""

    prompt: Prompt
