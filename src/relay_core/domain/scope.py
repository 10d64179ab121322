"""Which workspace may write which paths: pure decisions on the write leases of subtasks ("delegations").

A workspace that never got a delegation may write all of its repositories. It may lease paths, or a whole branch,
to workspaces of its subtasks, and these may lease parts of that to theirs. What a workspace may write is derived from
the leases and never stored: what it holds, without what it has leased, and without what is denied to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from relay_core.domain.errors import Conflict, InvalidInput

WHOLE_BRANCH = ""
"""The path of a rule that is about everything in a repository: the workspace's branch of it."""
MOST_RULES = 100
MOST_PATH_CHARACTERS = 1024


class Permission(StrEnum):
    """The right that a rule gives. Any number of workspaces may read the same paths; rules to read never conflict."""

    READ = "read"
    WRITE = "write"


class DelegationState(StrEnum):
    """Where a delegation stands; the first two hold their scope."""

    RESERVED = "reserved"
    """The scope is kept for a workspace that has not started a step since; it ends at `expires_at`."""
    ACTIVE = "active"
    RELEASED = "released"
    """Given back by a client."""
    RECLAIMED = "reclaimed"
    """Taken back, because the workspace is gone or cannot be reached; `reclaim_reason` says why."""


LIVE = (DelegationState.RESERVED, DelegationState.ACTIVE)


@dataclass(frozen=True)
class Rule:
    """Paths of a repository: a file, or a directory with all below it; `WHOLE_BRANCH` is everything."""

    repo_id: UUID
    path: str = WHOLE_BRANCH
    permission: Permission = Permission.WRITE

    @property
    def writes(self) -> bool:
        """Whether the rule is about writing."""
        return self.permission is Permission.WRITE

    def covers(self, repo_id: UUID, path: str) -> bool:
        """Return whether a path is in the region of the rule, with all below it."""
        return self.repo_id == repo_id and (self.path in (WHOLE_BRANCH, path) or path.startswith(f"{self.path}/"))

    def overlaps(self, other: "Rule") -> bool:
        """Return whether the regions of two rules have a path in common."""
        return self.covers(other.repo_id, other.path) or other.covers(self.repo_id, self.path)


@dataclass(frozen=True)
class Lease:
    """A delegation that holds its scope."""

    id: UUID
    parent: UUID
    child: UUID
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Scope:
    """The paths that a workspace may write."""

    held: tuple[Rule, ...] | None
    """None: everything in its repositories."""
    excluded: tuple[Rule, ...] = ()
    """Rules that it has leased to others, and those that are denied to it."""

    @property
    def restricted(self) -> bool:
        """Whether there is anything that it may not write."""
        return self.held is not None or bool(self.excluded)

    def may_write(self, repo_id: UUID, path: str) -> bool:
        """Return whether the workspace may write the file at a path."""
        held = self.held is None or any(rule.covers(repo_id, path) for rule in self.held)
        return held and not any(rule.covers(repo_id, path) for rule in self.excluded)

    def outside(self, repo_id: UUID, paths: Iterable[str]) -> list[str]:
        """Return those of the paths that it may not write."""
        return [path for path in paths if not self.may_write(repo_id, path)]

    def contains(self, wanted: Rule) -> bool:
        """Return whether the workspace may write the whole region of a rule."""
        held = self.held is None or any(rule.covers(wanted.repo_id, wanted.path) for rule in self.held)
        return held and not any(rule.overlaps(wanted) for rule in self.excluded)


def effective(
    workspace_id: UUID, leases: Iterable[Lease], denied: Iterable[Rule] = (), *, was_delegated: bool = False
) -> Scope:
    """Return what a workspace may write.

    Args:
        workspace_id: the workspace.
        leases: all live leases that name it as parent or child; others are ignored.
        denied: what is denied to it, whatever it holds.
        was_delegated: whether anything was ever delegated to it. Then it holds nothing without a live lease.
    """
    leases = list(leases)
    own = [lease for lease in leases if lease.child == workspace_id]
    held = tuple(rule for lease in own for rule in lease.rules if rule.writes) if own or was_delegated else None
    leased = [rule for lease in leases if lease.parent == workspace_id for rule in lease.rules if rule.writes]
    return Scope(held, (*leased, *(rule for rule in denied if rule.writes)))


def check_request(
    wanted: Sequence[Rule], scope: Scope, leased: Sequence[Lease], delegable: Sequence[Rule] | None
) -> None:
    """Raise an error unless a workspace may lease what is wanted.

    Args:
        wanted: rules of the new lease.
        scope: what the workspace may write.
        leased: its live leases to others.
        delegable: the regions that it may lease; None: no region.

    Raises:
        Conflict: `scope_not_delegable`: it may lease nothing, or nothing there. `scope_write_conflict`: another
            workspace holds a part of it.
        InvalidInput: `scope_not_subset`: the workspace itself may not write all of it.
    """
    if delegable is None:
        message = "the workspace has no delegable scope; set it with PUT /v1/workspaces/{id}/scope"
        raise Conflict(message, code="scope_not_delegable")
    for position, rule in enumerate(wanted):
        if not rule.writes:
            continue
        if rival := next((one for one in leased if any(r.writes and r.overlaps(rule) for r in one.rules)), None):
            message = f"delegation {rival.id} holds {named(rule)}, or a part of it; release it, or ask for other paths"
            raise Conflict(message, code="scope_write_conflict")
        if not scope.contains(rule):
            message = f"the workspace may not write all of {named(rule)} itself, so it cannot delegate it"
            raise InvalidInput(message, code="scope_not_subset", field=f"rules.{position}")
        if not any(one.covers(rule.repo_id, rule.path) for one in delegable):
            message = f"{named(rule)} is not in the delegable scope of the workspace (PUT /v1/workspaces/{{id}}/scope)"
            raise Conflict(message, code="scope_not_delegable")


def ended(leases: Iterable[Lease], lease_id: UUID) -> list[Lease]:
    """Return the leases without one that has ended: those of its child belong to its parent from then on."""
    leases = list(leases)
    gone = next((lease for lease in leases if lease.id == lease_id), None)
    if gone is None:
        return leases
    left = [lease for lease in leases if lease.id != lease_id]
    return [replace(lease, parent=gone.parent) if lease.parent == gone.child else lease for lease in left]


def named(rule: Rule) -> str:
    """Return a rule's region in words, for messages."""
    return f"path {rule.path!r}" if rule.path else "the whole branch"


def clean_path(path: str) -> str:
    """Return a path in its one spelling; `.` and the empty path are `WHOLE_BRANCH`.

    Raises:
        ValueError: it is absolute, leads out of the repository, is in `.git`, is too long, or has a NUL.
    """
    if len(path) > MOST_PATH_CHARACTERS or "\0" in path or path.startswith("/"):
        raise ValueError(f"must be relative, without NUL, and have at most {MOST_PATH_CHARACTERS} characters")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or (parts and parts[0] == ".git"):
        raise ValueError("must stay in the repository, and out of .git")
    return "/".join(parts)


def rules_to_json(rules: Iterable[Rule]) -> list[dict[str, str]]:
    """Return rules as they are stored."""
    return [{"repo_id": str(rule.repo_id), "path": rule.path, "permission": rule.permission.value} for rule in rules]


def rules_from_json(stored: Any, of: str) -> tuple[Rule, ...]:
    """Return stored rules.

    Args:
        stored: what `rules_to_json` returned.
        of: the record, for the error.

    Raises:
        Conflict: `delegation_corrupt`: they are not what `rules_to_json` returns. No workspace may write what they were
            about until a person has looked at them.
    """
    try:
        return tuple(_rule(one) for one in _list(stored))
    except (TypeError, ValueError, KeyError) as error:
        message = (
            f"the rules of {of} cannot be read ({error!r}), so nothing of the workspace is started; mend the record"
        )
        raise Conflict(message, code="delegation_corrupt") from error


def _list(stored: Any) -> list[Any]:
    if not isinstance(stored, list):
        raise TypeError("not a list")
    return stored


def _rule(one: Mapping[str, Any]) -> Rule:
    path = one["path"]
    if not isinstance(path, str) or clean_path(path) != path:
        raise ValueError("a path is not in its one spelling")
    return Rule(UUID(one["repo_id"]), path, Permission(one["permission"]))
