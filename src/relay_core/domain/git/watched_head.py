"""Decides whether HEAD of a clone is as Relay recorded it, and what to remember if it is not."""

from dataclasses import dataclass

from relay_core.domain.vocabulary import GitState


@dataclass(frozen=True)
class SeenHead:
    """HEAD of a clone as a node has just read it."""

    commit: str | None
    """None: there is no commit, or it cannot be read."""
    missing: bool = False
    """Whether there is no clone."""
    problem: str | None = None
    """Why the commit is not known."""


@dataclass(frozen=True)
class Recorded:
    """The commits at which HEAD may be, by what the last step group of the lane recorded of the clone."""

    commits: frozenset[str | None]
    """Several if steps of the group that ran at the same time recorded different ones; None: HEAD has no commit."""
    known: bool
    """Whether every step of the group that began recorded one. If not, HEAD may be anywhere because of them."""


class Unrecorded:
    """The result that the last step group recorded nothing: what is found now counts as recorded."""


UNRECORDED = Unrecorded()


def difference(recorded: Recorded, seen: SeenHead) -> GitState | Unrecorded | None:
    """Return what a look found.

    Returns:
        None: HEAD is where it was recorded. `UNRECORDED`: nothing was recorded, so what is seen is to be accepted.
        `GitState.MISSING` or `GitState.DIVERGED`: nothing that Relay ran has moved HEAD there.
    """
    if not recorded.known:
        return UNRECORDED
    if seen.commit in recorded.commits:
        return None
    return GitState.MISSING if seen.missing else GitState.DIVERGED
