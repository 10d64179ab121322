"""Hosts of pull requests: which API a remote's host has, and where the repository is there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from relay_core.domain.errors import InvalidInput

LOCAL = "file"
"""Stands in the settings for remotes that are directories of the node (`file://`)."""
BUILT_IN = ("github.com=github:https://api.github.com", "gitlab.com=gitlab:https://gitlab.com/api/v4")
_ENTRY = re.compile(r"([A-Za-z0-9.-]+)=(github|gitlab):(https?://\S+)")
_SCP = re.compile(r"(?:[^@/:]+@)?\[?([^/:\]]+)\]?:(?!//)(.+)")


class ForgeKind(StrEnum):
    """The shape of a host's REST API."""

    GITHUB = "github"
    """GitHub, GitHub Enterprise, and hosts that are compatible with them."""
    GITLAB = "gitlab"

    @property
    def token_secret(self) -> str:
        """Name of the project's secret that has the token, unless a request names another one."""
        return f"{self.value.upper()}_TOKEN"


@dataclass(frozen=True)
class ForgePlace:
    """A repository at a host of pull requests."""

    kind: ForgeKind
    api_url: str
    """Without a slash at the end."""
    path: str
    """`owner/name`; at GitLab with all groups."""

    @property
    def owner(self) -> str:
        """The account or group that has the repository."""
        return self.path.rpartition("/")[0]


class Forges:
    """The hosts whose API is known.

    Args:
        entries: of the settings, `HOST=KIND:API_URL` each; they take precedence over github.com and gitlab.com.

    Raises:
        ValueError: an entry has another form; the message quotes it.
    """

    def __init__(self, entries: Sequence[str] = ()) -> None:
        self._known: dict[str, tuple[ForgeKind, str]] = {}
        for entry in (*BUILT_IN, *entries):
            found = _ENTRY.fullmatch(entry)
            if found is None or urlsplit(found[3]).username is not None:
                message = f"{entry!r} is not HOST=KIND:API_URL with the kind github or gitlab and no credentials"
                raise ValueError(message)
            self._known[found[1].lower()] = (ForgeKind(found[2]), found[3].rstrip("/"))

    def place_of(self, url: str) -> ForgePlace:
        """Return where the repository of a remote is.

        Raises:
            InvalidInput: `forge_unknown`: no API is known for the remote's host, or the URL names no repository.
        """
        host, path = _host_and_path(url)
        known = self._known.get(host)
        parts = [part for part in path.removesuffix("/").removesuffix(".git").split("/") if part]
        if host == LOCAL:
            parts = parts[-2:]
        if known is None or len(parts) < 2:
            message = (
                f"it is not known how pull requests are made at {host}; the operator names its API in RELAY_FORGES, "
                "for example git.example.org=gitlab:https://git.example.org/api/v4"
            )
            raise InvalidInput(message, code="forge_unknown", field="kind")
        return ForgePlace(*known, "/".join(parts))


def _host_and_path(url: str) -> tuple[str, str]:
    if url.startswith("/"):
        return LOCAL, url
    if "://" not in url:
        found = _SCP.fullmatch(url)
        return (found[1].lower(), found[2]) if found else ("", "")
    parts = urlsplit(url)
    return (LOCAL if parts.scheme == "file" else (parts.hostname or "").lower()), parts.path
