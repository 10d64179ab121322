"""The store: a bare repository with the git states that Relay recorded of one clone of a workspace after each step.

Relay makes diffs from the store. A store uses the objects of the mirror, and needs neither the clone nor a container.
New objects of a store come from a container. So git checks each of them, Relay limits their size, and they never enter
a mirror, which other workspaces share.
"""

import os
import re
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from git import GitCmdObjectDB, Reference, Repo
from git.exc import GitError

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.host.masked_patch import masked_patch
from relay_workers.git.host.process import Deadline, DeadlinePassed, GitJob, run_git
from relay_workers.git.port import Patch

_CLEAN = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
_RENAME_LIMIT = 400
_STAT = re.compile(rb"^ (\d+) files? changed(?:, (\d+) insertions?\(\+\))?(?:, (\d+) deletions?\(-\))?\n")
_PACK_HEADER = struct.Struct(">4sII")


class Store:
    """The bare repository with the recorded states of one clone.

    Args:
        settings: settings of the worker.
        workspace_id: the workspace of the clone.
        repo_name: name of the clone's directory below ``repos/`` in the workspace.
    """

    def __init__(self, settings: Settings, workspace_id: UUID, repo_name: str) -> None:
        self._settings = settings
        self.path = settings.data_dir / "stores" / str(workspace_id) / f"{repo_name}.git"

    def prepare(self, mirror: Path) -> None:
        """Create the repository if it does not exist, and make git read further objects from ``mirror``."""
        alternates = self.path / "objects" / "info" / "alternates"
        if alternates.is_file():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        shape: dict[str, Any] = {"bare": True, "template": "", "env": _CLEAN}
        # GitPython calls any template unsafe. The empty string means no template, not even the distribution's.
        Repo.init(self.path, odbt=GitCmdObjectDB, expand_vars=False, allow_unsafe_options=True, **shape).close()
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{mirror}/objects\n")

    def import_pack(self, pack: int, max_bytes: int | None = None) -> None:
        """Add the objects of a git pack to the store; do nothing if the pack contains no objects.

        Args:
            pack: open descriptor of the pack file.
            max_bytes: largest size of the pack; None: that of the pack of one step.

        Raises:
            StepFailed: reason ``internal_error``: the pack is damaged or too large, or its objects need other objects
                that are missing.
            DeadlinePassed: git took too long.
        """
        header = os.pread(pack, _PACK_HEADER.size, 0)
        if len(header) == _PACK_HEADER.size and _PACK_HEADER.unpack(header)[::2] == (b"PACK", 0):
            return
        most = max_bytes or self._settings.evidence_pack_max_bytes
        job = GitJob(
            ("index-pack", "--strict", "--stdin", "--fix-thin", "--threads=1", f"--max-input-size={most}"),
            git_dir=self.path,
            stdin=pack,
            memory_bytes=self._settings.git_host_memory_bytes,
            file_bytes=2 * most + (64 << 20),
        )
        result = run_git(job, self._deadline())
        if result.exit_code:
            for left_over in self.path.glob("objects/pack/tmp_*"):
                left_over.unlink(missing_ok=True)
            raise StepFailed(Reason.INTERNAL_ERROR, f"the after-state is refused: {result.message[:300]}")

    def has(self, commit: str) -> bool:
        """Return whether the store, or the mirror whose objects it uses, contains the commit with this id."""
        if not self.path.is_dir():
            return False
        with self._repo() as repo:
            return _is_commit(repo, commit)

    def contains(self, commit: str, wanted: str) -> bool:
        """Return whether ``wanted`` is ``commit`` or an ancestor of it; False if one of them is missing.

        Raises:
            StepFailed: reason ``internal_error``: git took too long.
        """
        if not (self.has(commit) and self.has(wanted)):
            return False
        job = GitJob(("merge-base", "--is-ancestor", wanted, commit), git_dir=self.path)
        try:
            return run_git(job, self._deadline()).exit_code == 0
        except DeadlinePassed as error:
            raise StepFailed(Reason.INTERNAL_ERROR, "the search for an ancestor took too long") from error

    def common(self, one: str, other: str) -> str | None:
        """Return the newest common ancestor of two commits; None if there is none, or a commit is missing.

        Raises:
            StepFailed: reason ``internal_error``: git took too long.
        """
        if not (self.has(one) and self.has(other)):
            return None
        try:
            found = run_git(GitJob(("merge-base", one, other), git_dir=self.path), self._deadline()).output
        except DeadlinePassed as error:
            raise StepFailed(Reason.INTERNAL_ERROR, "the search for an ancestor took too long") from error
        return found.split(b"\n")[0].decode() or None

    def changed_paths(self, base: str, after: str, max_bytes: int) -> list[str] | None:
        """Return the paths in which two commits differ, both names of a renamed file; None if they are too many.

        Raises:
            StepFailed: reason ``internal_error``: a commit is missing, or git ran out of time or memory.
        """
        argv = ("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--end-of-options", base, after, "--")
        job = GitJob(argv, git_dir=self.path, memory_bytes=self._settings.git_host_memory_bytes, output_limit=max_bytes)
        try:
            result = run_git(job, self._deadline())
        except DeadlinePassed as error:
            raise StepFailed(Reason.INTERNAL_ERROR, "the comparison of two commits took too long") from error
        if result.truncated:
            return None
        if result.exit_code:
            raise StepFailed(Reason.INTERNAL_ERROR, f"two commits cannot be compared: {result.message[:300]}")
        return [path.decode("utf-8", "surrogateescape") for path in result.output.split(b"\0") if path]

    def pin(self, execution_id: UUID, commit: str) -> None:
        """Create the ref ``refs/relay/<execution id>`` for a commit, so that git keeps the commit.

        Raises:
            StepFailed: reason ``internal_error``: the store does not contain the commit.
        """
        with self._repo() as repo:
            if not _is_commit(repo, commit):
                raise StepFailed(Reason.INTERNAL_ERROR, f"the after-state lacks its commit {commit}")
            Reference(repo, f"refs/relay/{execution_id}").set_object(commit)

    def patch(self, base: str, after: str, max_bytes: int, mask: SecretMask | None = None) -> Patch:
        """Return the diff between two commits, with secrets masked.

        Git runs no diff driver and no filter, and detects renames among at most 400 files.

        Args:
            base: id of the older commit.
            after: id of the newer commit.
            max_bytes: maximum length of the diff in bytes; a longer diff is cut after the last line that fits.
            mask: masks the secrets; None if there are no secrets.

        Raises:
            StepFailed: reason ``internal_error``: a commit is missing, or git ran out of time or memory.
        """
        shape = ("--no-color", "--no-ext-diff", "--no-textconv", "--binary", "--full-index", "--submodule=short", "-M")
        argv = ("diff", "--shortstat", "--patch", *shape, f"-l{_RENAME_LIMIT}", "--end-of-options", base, after, "--")
        job = GitJob(
            argv,
            git_dir=self.path,
            memory_bytes=self._settings.git_host_memory_bytes,
            output_limit=max_bytes + 100,  # the 100 bytes are for the line of statistics, which git prints first
        )
        try:
            result = run_git(job, self._deadline())
        except DeadlinePassed as error:
            raise StepFailed(Reason.INTERNAL_ERROR, "the diff took too long") from error
        if result.exit_code and not result.truncated:
            raise StepFailed(Reason.INTERNAL_ERROR, f"the diff cannot be made: {result.message[:300]}")
        patch = _parsed(result.output, max_bytes)
        text, masked = masked_patch(patch.text, mask or SecretMask(), lambda names: self._blobs(names, 4 * max_bytes))
        return replace(patch, text=text, masked=masked)

    def _blobs(self, names: Sequence[str], max_bytes: int) -> dict[str, bytes]:
        """Return the contents of git blobs by id.

        Args:
            names: ids of the blobs.
            max_bytes: maximum size of git's whole output; blobs beyond it, and missing blobs, are left out.
        """
        if not names:
            return {}
        with tempfile.TemporaryFile() as asked:
            asked.write("".join(f"{name}\n" for name in dict.fromkeys(names)).encode())
            asked.seek(0)
            job = GitJob(
                ("cat-file", "--batch"),
                git_dir=self.path,
                stdin=asked.fileno(),
                memory_bytes=self._settings.git_host_memory_bytes,
                output_limit=max_bytes,
            )
            try:
                output = run_git(job, self._deadline()).output
            except DeadlinePassed:
                return {}
        return _blobs_in(output)

    def _deadline(self) -> Deadline:
        return Deadline.within(self._settings.git_container_timeout_seconds)

    def _repo(self) -> Repo:
        repo = Repo(self.path, odbt=GitCmdObjectDB, expand_vars=False)
        repo.git.update_environment(**_CLEAN)
        return repo


def _is_commit(repo: Repo, commit: str) -> bool:
    try:
        return bytes(repo.odb.info(bytes.fromhex(commit)).type) == b"commit"
    except (ValueError, GitError):
        return False


def _blobs_in(output: bytes) -> dict[str, bytes]:
    """Return the contents of the blobs in the output of `git cat-file --batch`, by id; leave out a cut last blob."""
    found, at = {}, 0
    while (end := output.find(b"\n", at)) >= 0:
        name, _, size = output[at:end].decode("latin-1").partition(" blob ")
        at = end + 1
        if not size.isdecimal():  # git's line for a missing blob
            continue
        content = output[at : at + int(size)]
        if len(content) == int(size):
            found[name] = content
        at += int(size) + 1
    return found


def _parsed(output: bytes, max_bytes: int) -> Patch:
    match = _STAT.match(output)
    if match is None:
        return Patch(b"", truncated=False, files=0, insertions=0, deletions=0)
    text = output[match.end() :].removeprefix(b"\n")
    truncated = len(text) > max_bytes
    if truncated:
        text = text[: text.rfind(b"\n", 0, max_bytes) + 1]
    files, insertions, deletions = (int(number or 0) for number in match.groups())
    return Patch(text, truncated, files, insertions, deletions)
