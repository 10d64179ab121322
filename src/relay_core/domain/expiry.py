"""Expiry: which act a workspace is due for in which nothing happens. It is stopped, then archived, then deleted.

The hours of each act count from the last execution or change, and each act is a change. So a workspace is archived that
many hours after it was stopped, and deleted that many hours after it was archived.
"""

from dataclasses import dataclass
from enum import StrEnum

from relay_core.domain.vocabulary import WorkspaceState

HOUR_SECONDS = 3600.0


class ExpiryAct(StrEnum):
    """An act of Relay on a workspace in which nothing happens."""

    STOP = "stop"
    ARCHIVE = "archive"
    DELETE = "delete"


@dataclass(frozen=True)
class Term:
    """The hours after which one act is due."""

    hours: float
    of_project: bool
    """Whether the project says so; else the server's setting does."""


@dataclass(frozen=True)
class Terms:
    """The terms of one workspace; None: that act is never due."""

    stop: Term | None = None
    archive: Term | None = None
    delete: Term | None = None


@dataclass(frozen=True)
class Hours:
    """Hours by act as a server or a project sets them. None: the project leaves it to the server; 0: never."""

    stop: float | None = None
    archive: float | None = None
    delete: float | None = None


@dataclass(frozen=True)
class ExpiryFacts:
    """The facts about a workspace that decide which act is due."""

    state: WorkspaceState
    changing: bool
    """Whether its node was asked to stop or resume it and has not done so yet."""
    archived: bool
    pinned: bool
    diverged: bool
    """Whether a clone is not as it was recorded, and no person has acknowledged that."""
    blocked: bool
    """Whether something else speaks against each act: executions, an open pull request, a lease."""
    idle_seconds: float
    """Seconds since the last end of an execution, or the last change of the workspace."""


@dataclass(frozen=True)
class Planned:
    """The next act, and when it is due."""

    act: ExpiryAct
    term: Term
    in_seconds: float
    """Seconds until it is due; not positive: it is due now."""


def terms_of(server: Hours, project: Hours) -> Terms:
    """Return the terms of a workspace of a project."""

    def term(mine: float | None, theirs: float | None) -> Term | None:
        hours = mine if mine is not None else theirs
        return Term(hours, mine is not None) if hours else None

    return Terms(
        term(project.stop, server.stop), term(project.archive, server.archive), term(project.delete, server.delete)
    )


def planned(facts: ExpiryFacts, terms: Terms) -> Planned | None:
    """Return the act that comes next if nothing happens in the workspace; None if none ever does.

    Of two acts that are due, that which goes further comes first: a workspace that is archived is not stopped before.
    """
    if facts.state is WorkspaceState.STARTING or facts.changing:
        return None
    farther = (ExpiryAct.DELETE, terms.delete) if facts.archived else (ExpiryAct.ARCHIVE, terms.archive)
    stop = (ExpiryAct.STOP, terms.stop if facts.state is WorkspaceState.RUNNING else None)
    options = [
        Planned(act, term, term.hours * HOUR_SECONDS - facts.idle_seconds)
        for act, term in ((stop,) if facts.diverged else (farther, stop))
        if term is not None
    ]
    due = [option for option in options if option.in_seconds <= 0]
    return due[0] if due else min(options, key=lambda option: option.in_seconds, default=None)


def decide(facts: ExpiryFacts, terms: Terms) -> Planned | None:
    """Return the act that Relay does now; None if nothing is to be done."""
    if facts.pinned or facts.blocked:
        return None
    found = planned(facts, terms)
    return found if found is not None and found.in_seconds <= 0 else None
