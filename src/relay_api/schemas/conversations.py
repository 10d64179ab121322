"""Schemas of sessions and their conversations."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Output, Prompt
from relay_api.schemas.images import ImageIds
from relay_api.schemas.links import SessionLinks
from relay_api.schemas.measures import UsageOut
from relay_api.schemas.run_notes import NotesIn
from relay_core.domain.agents.conversation import EntryKind, ToolStatus


class ToolOut(Output):
    """A tool call of an agent."""

    name: str
    input: str = Field(description="Input of the tool as JSON, or as the text that the agent gave.")
    status: ToolStatus
    result: str
    paths: list[str] = Field(description="Files of a file edit; empty for other tools.")


class EntryOut(Output):
    """One entry of a conversation in its present state."""

    entry: int = Field(description="Place in the conversation, 0..n.")
    sequence: int = Field(description="Number of its last change; an entry that changes again gets a later one.")
    kind: EntryKind
    text: str
    tool: ToolOut | None = Field(description="The tool call; null for entries of another kind.")
    usage: UsageOut | None = Field(
        description="Sums by name (tokens, cost_usd, …) of an entry of the kind `usage`; null for others."
    )
    truncated: bool = Field(description="Whether the entry is cut; the raw log has all of it.")
    agent: str | None = Field(default=None, description="Subagent that made the entry; null: the agent itself.")
    masked: bool = Field(default=False, description="Whether secrets in the entry are replaced by asterisks.")
    created_at: datetime


class ConversationPage(Output):
    """One page of a conversation: entries in order."""

    items: list[EntryOut]
    next_after: int | None = Field(
        description="Pass it as `after` for the next page; null: there are no more entries by now."
    )


class SessionTurn(Output):
    """A turn of a session: one prompt and the agent's execution that answers it."""

    execution_id: UUID
    status: str
    prompt: str | None
    summary: str | None
    agent_session_id: str | None
    agent_message_id: str | None
    usage: UsageOut | None
    seen: bool
    created_at: datetime
    completed_at: datetime | None


class SessionOut(Output):
    """One conversation with an agent inside a workspace."""

    id: UUID
    workspace_id: UUID
    executor: str | None
    profile: str | None = Field(description="The session profile that its run or workspace named.")
    agent_session_id: str | None = Field(description="The agent's own id of the conversation, once it has one.")
    can_resume: bool = Field(description="Whether the executor can go on with a conversation.")
    created_at: datetime
    turns: list[SessionTurn] = Field(
        description="Turns in order: the last 100 at most; in a list of sessions only the last one."
    )
    links: SessionLinks


class SessionList(Output):
    """The sessions of a workspace."""

    items: list[SessionOut]


class FollowUpIn(NotesIn):
    """Request for a session's next turn: its prompt, and notes on the run that it makes."""

    prompt: Prompt
    image_ids: ImageIds = Field(default_factory=list)
