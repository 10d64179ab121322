"""Routes of sessions (an agent's conversation in a workspace): lists, details and follow-ups."""

from fastapi import APIRouter
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import SessionId, WorkspaceId
from relay_api.schemas import answers
from relay_api.schemas.conversations import FollowUpIn, SessionList, SessionOut
from relay_api.schemas.executions import ExecutionDetail
from relay_core.store.database import Connection
from relay_core.store.shared import images
from relay_core.store.views import execution_views
from relay_core.store.views.access import require_workspace
from relay_core.store.workspaces import sessions
from relay_core.store.workspaces.follow_up import add_follow_up

router = APIRouter(prefix="/v1", tags=["sessions"])


@router.get("/workspaces/{workspace_id}/sessions", responses=problems(404), summary="List a workspace's sessions")
def list_sessions(workspace_id: WorkspaceId, services: ServicesDep, principal: Reader) -> SessionList:
    """List the sessions (agent conversations) of a workspace in the order of their creation."""
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal, deleted_too=True)
        found = sessions.of_workspace(connection, workspace_id, principal)
    return SessionList(items=[answers.session(view, services.links) for view in found])


@router.get("/sessions/{session_id}", responses=problems(404), summary="Get a session")
def get_session(session_id: SessionId, services: ServicesDep, principal: Reader) -> SessionOut:
    """Return one session: its prompts, its summaries and the id that the agent itself gave the conversation."""
    with services.database.connect() as connection:
        return answers.session(sessions.session(connection, session_id, principal), services.links)


@router.post(
    "/sessions/{session_id}/follow-ups",
    status_code=202,
    response_model=ExecutionDetail,
    responses=problems(404, 409, body=True),
    summary="Go on with a session's conversation",
)
def create_follow_up(
    session_id: SessionId, body: FollowUpIn, services: ServicesDep, principal: Writer, creating: Creating
) -> JSONResponse:
    """Queue the next turn: the agent resumes its conversation in the same container, directory and home.

    The turn starts when no other step of the workspace runs; one follow-up per session may wait. If the agent no longer
    knows the conversation, the turn ends as `failed` with the reason `cannot_resume`; a new conversation is never
    started instead. If no earlier turn has a conversation (the agent was killed before it wrote anything), this turn
    starts one, and a notice in the conversation and the event `execution.conversation_begun_anew` report that.
    """

    def create(connection: Connection) -> ExecutionDetail:
        new = add_follow_up(connection, session_id, body.prompt, principal, body.notes())
        images.link_to_session(connection, session_id, body.image_ids, principal)
        return answers.execution_detail(execution_views.execution(connection, new, principal), services.links)

    return creating.answer(principal, body, 202, create)
