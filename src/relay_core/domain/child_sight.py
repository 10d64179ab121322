"""Whether a workspace that holds a delegation can still write: a pure decision on what is known of it."""

from dataclasses import dataclass
from enum import StrEnum

from relay_core.domain.vocabulary import Liveness, WorkspaceState


class Sight(StrEnum):
    """The answer of the container engine of this node about the container of a workspace."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"
    SILENT = "silent"
    """The engine gave no answer."""


class ReclaimReason(StrEnum):
    """Why a delegation was taken back."""

    CHILD_MISSING = "child_missing"
    """The workspace has no row any more, or it is deleted or archived."""
    CONTAINER_MISSING = "container_missing"
    CHILD_STOPPED = "child_stopped"
    NODE_OFFLINE = "node_offline"
    RESERVATION_EXPIRED = "reservation_expired"


@dataclass(frozen=True)
class Child:
    """The known facts about a workspace that holds a delegation."""

    exists: bool
    """Whether it has a row and is neither deleted nor archived."""
    state: WorkspaceState | None = None
    liveness: Liveness | None = None
    """Of its node; None: it has no node yet."""
    detached: bool = False
    """Whether its node was detached and has sent a heartbeat lately: its liveness is then no proof of its silence."""
    expired: bool = False
    """Whether it has a reservation whose time is over."""
    resumes: bool = False
    """Whether Relay stopped it because nothing happened in it; its next step starts it again."""
    sight: Sight | None = None
    """None: its container was not looked at, because it has none yet or is on another node."""


@dataclass(frozen=True)
class Verdict:
    """The consequence for its delegation: it is reclaimed, or it stays, maybe without a proof that it is used."""

    reclaim: ReclaimReason | None = None
    unverified: str | None = None
    """Why it is not known whether the workspace can still write; None: it is, or the delegation is reclaimed."""


def judge(child: Child) -> Verdict:
    """Return whether a delegation is kept: only what is proven, or an offline node, takes it away."""
    reason = _why_reclaimed(child)
    if reason is not None:
        return Verdict(reason)
    if child.liveness is Liveness.DEGRADED:
        return Verdict(unverified="its node is degraded")
    if child.detached and child.liveness is Liveness.OFFLINE:
        return Verdict(unverified="its node is detached")
    if child.sight is Sight.SILENT:
        return Verdict(unverified="the container engine of its node gives no answer")
    if _stopped(child):
        return Verdict(unverified="it is stopped until its next step, because nothing happened in it")
    return Verdict()


def _why_reclaimed(child: Child) -> ReclaimReason | None:
    if not child.exists:
        return ReclaimReason.CHILD_MISSING
    if child.expired:
        return ReclaimReason.RESERVATION_EXPIRED
    if child.liveness is Liveness.OFFLINE and not child.detached:
        return ReclaimReason.NODE_OFFLINE
    if child.sight is Sight.ABSENT or child.state is WorkspaceState.FAILED:
        return ReclaimReason.CONTAINER_MISSING
    return ReclaimReason.CHILD_STOPPED if _stopped(child) and not child.resumes else None


def _stopped(child: Child) -> bool:
    return child.sight is Sight.STOPPED or child.state is WorkspaceState.STOPPED
