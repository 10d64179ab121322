"""Find the repository on this machine that belongs to a repository of a workspace: by its path, or by its remotes."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from relay_cli.errors import CommandFailed
from relay_cli.local_git import root_of, run

_SCP_LIKE = re.compile(r"(?:[^@:/]+@)?(\[[^\]]+\]|[^:/@]+):(?!//)(.+)", re.DOTALL)


@dataclass(frozen=True)
class LocalClone:
    """A repository on this machine."""

    root: Path
    remote: str | None
    """Name of the remote that is the workspace's repository; None: the clone is that repository, or was named."""


def find(url: str, here: Path) -> LocalClone | None:
    """Return the clone that belongs to a URL; None if there is none.

    It is the repository at ``here`` if that is the named one or has it as a remote, else the one at the URL's path.

    Args:
        url: URL of a repository, as a run names it.
        here: directory in which the command was called.
    """
    own = root_of(here)
    path = local_path(url)
    if own is not None and path is not None and own == root_of(path):
        return LocalClone(own, None)
    if own is not None and (name := remote_named(own, url)) is not None:
        return LocalClone(own, name)
    root = None if path is None else root_of(path)
    return None if root is None else LocalClone(root, None)


def given(path: Path, url: str) -> LocalClone:
    """Return the clone that a person named.

    Raises:
        CommandFailed: there is no repository at the path.
    """
    root = root_of(path.expanduser())
    if root is None:
        raise CommandFailed(f"{path} is no git repository; --into takes a clone of {url}", 2)
    return LocalClone(root, remote_named(root, url))


def remote_named(root: Path, url: str) -> str | None:
    """Return the name of the remote of a clone whose address is the URL; None if there is none."""
    listed = run(root, "config", "--null", "--get-regexp", r"^remote\..*\.url$").stdout.decode("utf-8", "replace")
    for entry in listed.split("\0"):
        key, _, address = entry.partition("\n")
        if address and same_repository(address, url):
            return key.removeprefix("remote.").removesuffix(".url")
    return None


def same_repository(one: str, other: str) -> bool:
    """Return whether two addresses name the same repository; scheme, user, port and a final ``.git`` do not count."""
    return _place(one) == _place(other)


def local_path(url: str) -> Path | None:
    """Return the path of a file:// URL or of a plain path; None for any other address."""
    if url.startswith("file://"):
        return Path(unquote(url.removeprefix("file://").removeprefix("localhost")))
    return Path(url) if url.startswith("/") else None


def _place(address: str) -> tuple[str, str]:
    path = local_path(address)
    if path is not None:
        return "", str(path.resolve()).removesuffix("/.git").removesuffix(".git")
    host, rest = "", address
    if "://" in address:
        parts = urlsplit(address)
        host, rest = parts.hostname or "", parts.path
    elif (match := _SCP_LIKE.fullmatch(address)) is not None:
        host, rest = match[1], match[2]
    return host.strip("[]").lower(), rest.strip("/").removesuffix(".git")
