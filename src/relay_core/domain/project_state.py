"""The state of a project, derived from what the nodes have of its repositories."""

from dataclasses import dataclass

from relay_core.domain.vocabulary import CloneState


@dataclass(frozen=True)
class ProjectState:
    """State of a project, and why its latest clone failed (None unless the state is `failed`)."""

    state: CloneState
    clone_error: str | None = None


@dataclass(frozen=True)
class CloneFacts:
    """The facts about the clones of a project that decide its state.

    Attributes:
        complete: whether some node has a mirror of every repository; true if there is none.
        under_way: whether a clone of the project is queued or running, or a node fetches one of its repositories.
        error: why the latest attempt to clone failed; None if it did not, or if there was none.
    """

    complete: bool
    under_way: bool
    error: str | None


def next_state(before: CloneState, facts: CloneFacts) -> ProjectState:
    """Return the state of a project.

    It is `ready` once one node has every mirror, `failed` when the latest attempt failed and no node has them all. A
    project that was ready stays so while its mirrors are fetched anew, because they were removed or a repository came.
    """
    if facts.complete:
        return ProjectState(CloneState.READY)
    if facts.error is not None and not facts.under_way:
        return ProjectState(CloneState.FAILED, facts.error)
    return ProjectState(CloneState.READY if before is CloneState.READY else CloneState.CLONING)
