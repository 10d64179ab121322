"""Read HEAD of a clone from its files, without git, so that nothing in the clone can make the host run a program."""

import re
from pathlib import Path

from relay_core.domain.git.branch_name import is_valid_branch
from relay_workers.git.port import Head
from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

_REF_FILE_LIMIT = 4 << 10
_PACKED_REFS_LIMIT = 32 << 20
_SYMBOLIC_DEPTH = 5
_OBJECT_ID = re.compile(rb"[0-9a-f]{40}")
_BRANCHES = "refs/heads/"
_SURROGATE = re.compile("[\udc80-\udcff]")
"""Matches a byte that is not UTF-8, as Python decodes it with ``surrogateescape``."""


def read_head(workspace_dir: Path, repo_name: str) -> Head:
    """Return commit and branch of HEAD in the clone ``repos/<repo_name>``.

    Never raises because of the clone's content: `Head.problem` explains why something could not be read.
    """
    try:
        with SafeDir.open(workspace_dir, "repos", repo_name, ".git") as git_dir:
            return _read(git_dir)
    except FileNotFoundError:
        return Head(None, None, "the clone has no .git directory", missing=True)
    except TamperedFile as error:
        return Head(None, None, _without_prefix(error, workspace_dir))
    except OSError as error:
        return Head(None, None, f"the clone's .git directory cannot be read: {error.strerror}")


def _read(git_dir: SafeDir) -> Head:
    if git_dir.exists("commondir"):
        return Head(None, None, "the clone's .git directory is part of another repository")
    branch: str | None = None
    problem: str | None = None
    ref = "HEAD"
    for _ in range(_SYMBOLIC_DEPTH):
        value = _ref_value(git_dir, ref)
        if value is None:
            return Head(None, branch, f"{_shown(ref)} does not exist: the branch has no commit")
        if _OBJECT_ID.fullmatch(value):
            return Head(value.decode(), branch, problem)
        if not value.startswith(b"ref:"):
            return Head(None, branch, f"{_shown(ref)} contains no commit")
        ref = value.removeprefix(b"ref:").strip().decode("utf-8", "surrogateescape")
        if not ref.startswith("refs/") or not is_valid_branch(_SURROGATE.sub("x", ref)):
            return Head(None, None, "HEAD names something that is not a valid ref")
        branch, problem = ref.removeprefix(_BRANCHES) if ref.startswith(_BRANCHES) else None, None
        if _SURROGATE.search(ref):  # such a name cannot be stored in the database or passed to the git container
            branch, problem = None, f"HEAD is on {_shown(ref)}, a name that is not UTF-8; Relay commits nothing there"
    return Head(None, None, "HEAD leads through too many symbolic refs")


def _shown(ref: str) -> str:
    return ref.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:200]


def _ref_value(git_dir: SafeDir, ref: str) -> bytes | None:
    """Return the value of a ref from its own file or else from ``packed-refs``; None if the ref is in neither."""
    try:
        loose = _loose_value(git_dir, ref.split("/"))
    except FileNotFoundError:
        loose = None
    return loose if loose is not None else _packed_value(git_dir, ref.encode("utf-8", "surrogateescape"))


def _loose_value(directory: SafeDir, parts: list[str]) -> bytes | None:
    name, rest = parts[0], parts[1:]
    if rest:
        with directory.sub(name) as below:
            return _loose_value(below, rest)
    try:
        return directory.read_bytes(name, _REF_FILE_LIMIT).strip()
    except TamperedFile:
        if _is_directory(directory, name):  # git may leave an empty directory in place of a ref
            return None
        raise


def _packed_value(git_dir: SafeDir, ref: bytes) -> bytes | None:
    try:
        packed = git_dir.read_bytes("packed-refs", _PACKED_REFS_LIMIT)
    except FileNotFoundError:
        return None
    match = re.search(rb"^([0-9a-f]{40}) " + re.escape(ref) + rb"$", packed, re.MULTILINE)
    return match[1] if match else None


def _is_directory(directory: SafeDir, name: str) -> bool:
    try:
        directory.sub(name).close()
    except TamperedFile:
        return False
    return True


def _without_prefix(error: TamperedFile, workspace_dir: Path) -> str:
    return str(error).replace(f"{workspace_dir}/", "")
