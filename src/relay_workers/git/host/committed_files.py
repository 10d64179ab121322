"""Read files of a commit from a bare mirror, as git stores them: no checkout, no filter, no link is followed."""

import re
from collections.abc import Sequence
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.host.process import Deadline, DeadlinePassed, GitJob, run_git
from relay_workers.git.port import CommittedFile

_SECONDS = 30
_MEMORY_BYTES = 1 << 30
_ENTRY = re.compile(rb"(\d{6}) (\w+) ([0-9a-f]{40,64})\t([^\0]+)\0")
_REGULAR = {b"100644", b"100755"}


def files_in_commit(mirror: Path, commit: str, paths: Sequence[str], max_bytes: int) -> list[CommittedFile]:
    """Return those of the paths that a commit has, in the order of ``paths``.

    Args:
        mirror: the bare repository.
        commit: id of the commit.
        paths: relative to the root of the repository.
        max_bytes: a file that is longer is cut after one byte more.

    Raises:
        StepFailed: reason ``clone_failed``: git cannot read the commit or a file.
    """
    # ls-tree takes the paths as they are, not as patterns.
    listing = _git(mirror, ("ls-tree", "-z", "--full-tree", "--end-of-options", commit, *paths), 1 << 16)
    entries = {name.decode("utf-8", "replace"): (mode, blob) for mode, _, blob, name in _ENTRY.findall(listing)}
    return [CommittedFile(path, _content(mirror, *entries[path], max_bytes)) for path in paths if path in entries]


def _content(mirror: Path, mode: bytes, blob: bytes, max_bytes: int) -> bytes | None:
    if mode not in _REGULAR:
        return None
    return _git(mirror, ("cat-file", "blob", blob.decode()), max_bytes + 1)


def _git(mirror: Path, argv: tuple[str, ...], limit: int) -> bytes:
    job = GitJob(argv, git_dir=mirror, memory_bytes=_MEMORY_BYTES, output_limit=limit)
    try:
        result = run_git(job, Deadline.within(_SECONDS))
    except DeadlinePassed as error:
        raise StepFailed(Reason.CLONE_FAILED, f"git {argv[0]} took too long") from error
    if result.exit_code and not result.truncated:
        raise StepFailed(Reason.CLONE_FAILED, f"git {argv[0]} failed: {result.message[:300]}")
    return result.output
