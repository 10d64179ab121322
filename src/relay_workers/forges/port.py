"""The interface `Forge`, which opens pull requests and tells their status, and its value types."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from relay_core.domain.errors import RelayError
from relay_core.domain.forges import ForgePlace


@dataclass(frozen=True, slots=True)
class Draft:
    """A pull request to open."""

    title: str
    body: str
    source_branch: str
    target_branch: str


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request, or merge request, as its host tells it."""

    number: int
    url: str
    status: str
    """`open`, `merged` or `closed`."""
    merged_at: datetime | None = None
    merge_commit: str | None = None
    """Commit by which the target branch got the work; None unless it is merged."""


class ForgeFailed(RelayError):  # noqa: N818 - named for what it says
    """The host of a pull request refused a request, or gave no useful answer. The message has no token.

    Attributes:
        retry_seconds: time after which the host accepts requests again, as it said; None: it said nothing.
    """

    code = "forge_failed"

    def __init__(self, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Forge(Protocol):
    """The pull requests of one kind of host. Thread-safe."""

    def open(self, place: ForgePlace, draft: Draft, token: str) -> PullRequest:
        """Open a pull request; return the one that is open already for the same two branches, if there is one.

        Raises:
            ForgeFailed: the host refused it, or gave no useful answer.
        """

    def get(self, place: ForgePlace, number: int, token: str) -> PullRequest:
        """Return a pull request.

        Raises:
            ForgeFailed: the host refused it, or gave no useful answer.
        """
