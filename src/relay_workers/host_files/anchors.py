"""Anchors: a small file in the directory of each workspace that says which workspace it is.

It is the node's own: it lies in a directory that no process of a container sees (an empty, read-only one is mounted
over it), and it is signed with a key of the node, so what a container wrote in its place counts as no anchor.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from relay_workers.host_files.kept_dirs import KEPT, place_of
from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

HIDDEN = ".relay"
"""Directory of a workspace that has its anchor."""
_NAME, _KEY = "workspace.json", "anchor_key"
_KEY_BYTES, _MOST_BYTES = 32, 1 << 20


@dataclass(frozen=True)
class FoundDirectory:
    """A directory among those of the workspaces, in use or in quarantine."""

    path: Path
    anchor: Mapping[str, Any] | None
    """The content of its anchor, with `workspace_id`; None: it has none that this node has signed."""

    @property
    def workspace_id(self) -> UUID | None:
        """The workspace that its anchor names."""
        return None if self.anchor is None else UUID(self.anchor["workspace_id"])


def load_key(data_dir: Path) -> bytes:
    """Return the key of the node; make it if there is none."""
    path = data_dir / _KEY
    if path.exists():
        return path.read_bytes()
    with suppress(FileExistsError):
        fresh = path.with_name(f"{_KEY}.{os.getpid()}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
        try:
            os.link(fresh, path)  # whole or not at all, and the first worker's
        finally:
            fresh.unlink()
    return path.read_bytes()


def make_hidden(directory: Path) -> None:
    """Make the node's own directory in that of a workspace, before its container exists; nothing if there is one."""
    with SafeDir.open(directory.parent, directory.name) as workspace:
        _make_hidden(workspace)


def write(directory: Path, key: bytes, facts: Mapping[str, Any]) -> None:
    """Write the anchor of a directory.

    Args:
        directory: the directory of a workspace.
        key: of the node.
        facts: what it says; JSON values, with `workspace_id`.

    Raises:
        TamperedFile: something that is not the node's lies in its place.
        FileNotFoundError: the directory is gone.
    """
    with SafeDir.open(directory.parent, directory.name) as workspace:
        _make_hidden(workspace)
        with workspace.sub(HIDDEN) as hidden:
            if os.fstat(hidden.fileno()).st_uid != os.geteuid():
                raise TamperedFile(f"{directory}/{HIDDEN} does not belong to the worker")
            hidden.write_file(_NAME, json.dumps({**facts, "mac": _mac(key, facts)}).encode(), mode=0o600)


def read(directory: Path, key: bytes) -> Mapping[str, Any] | None:
    """Return what the anchor of a directory says; None if it has none that was signed with the key."""
    try:
        with SafeDir.open(directory.parent, directory.name, HIDDEN) as hidden:
            found = json.loads(hidden.read_bytes(_NAME, _MOST_BYTES))
        given = found.pop("mac").encode()
        UUID(found["workspace_id"])
        return found if hmac.compare_digest(given, _mac(key, found).encode()) else None
    except (OSError, TamperedFile, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def own_place(data_dir: Path, workspace_id: UUID) -> Path:
    """Return the directory of a workspace, to move or remove it: one with another name only if its anchor says so."""
    place = place_of(data_dir, workspace_id)
    usual = place.with_name(str(workspace_id))
    if place == usual:
        return usual
    return place if FoundDirectory(place, read(place, load_key(data_dir))).workspace_id == workspace_id else usual


def scan(data_dir: Path, key: bytes) -> Iterator[FoundDirectory]:
    """Yield each directory of a workspace, in use or in quarantine; links are left out."""
    workspaces = data_dir / "workspaces"
    for parent in (workspaces, workspaces / KEPT):
        try:
            paths = sorted(parent.iterdir())
        except FileNotFoundError:
            continue
        for path in paths:
            if not path.name.startswith(".") and path.is_dir() and not path.is_symlink():
                yield FoundDirectory(path, read(path, key))


def _make_hidden(workspace: SafeDir) -> None:
    if workspace.make_directory(HIDDEN):
        with workspace.sub(HIDDEN) as hidden:
            # What lies over it in the container gets the same mode: a process that lists the workspace must not fail.
            os.fchmod(hidden.fileno(), 0o755)


def _mac(key: bytes, facts: Mapping[str, Any]) -> str:
    said = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key, said, hashlib.sha256).hexdigest()
