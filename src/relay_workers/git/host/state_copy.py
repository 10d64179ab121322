"""Copies a recorded state from the store of one workspace into that of another one, on the host.

Both are bare repositories that only Relay writes. What they contain came from a container, so git checks it again.
"""

import os
import tempfile
from pathlib import Path
from threading import Event

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.act_requests import RecordedStart
from relay_workers.git.host.process import Deadline, DeadlinePassed, GitJob, run_git
from relay_workers.git.host.scratch import scratch
from relay_workers.git.host.store import Store

_HEADS = 500
"""Most branches of the mirror whose commits are left out of the copy by name; others may be copied needlessly."""


def copy_state(settings: Settings, start: RecordedStart, into: Store, mirror: Path, cancelled: Event) -> None:
    """Copy a commit, and the objects that it needs and that the mirror lacks, from one store into another one.

    Nothing is written to the first one. A copy that was interrupted is done again from the start.

    Args:
        settings: settings of the worker.
        start: the state, and the workspace whose store has it.
        into: the store that gets it.
        mirror: the mirror whose objects both stores use.
        cancelled: another thread sets this event to cancel the copy.

    Raises:
        StepFailed: reason ``clone_failed``: the store or the commit is not there any more, or git cannot read it;
            ``clone_timeout``; ``user`` if the request was cancelled.
    """
    source = Store(settings, start.workspace_id, start.name)
    if not source.has(start.commit):
        raise StepFailed(Reason.CLONE_FAILED, _gone(start))
    deadline = Deadline.within(settings.git_container_timeout_seconds, cancelled)
    try:
        with scratch(settings.data_dir) as path:
            descriptor = os.open(_pack(settings, start, source, mirror, path, deadline), os.O_RDONLY | os.O_CLOEXEC)
            try:
                into.import_pack(descriptor, settings.checkout_max_bytes)
            finally:
                os.close(descriptor)
    except DeadlinePassed as error:
        raise StepFailed(Reason.CLONE_TIMEOUT, "the copy of the recorded state took too long") from error


def _pack(
    settings: Settings, start: RecordedStart, source: Store, mirror: Path, path: Path, deadline: Deadline
) -> Path:
    """Write the pack below a scratch directory, and return its path."""
    heads = ("for-each-ref", f"--count={_HEADS}", "--format=^%(objectname)", "refs/heads")
    known = run_git(GitJob(heads, git_dir=mirror), deadline).output
    with tempfile.TemporaryFile() as wanted:
        wanted.write(f"{start.commit}\n".encode() + _base(start, mirror, deadline) + known)
        wanted.seek(0)
        # The object directory is that of the scratch: git puts its drafts there, too.
        place = {
            "GIT_OBJECT_DIRECTORY": str(path / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(source.path / "objects"),
        }
        (path / "objects" / "pack").mkdir(parents=True)
        job = GitJob(
            ("pack-objects", "--revs", "--delta-base-offset", "--threads=1", "-q", str(path / "state")),
            git_dir=source.path,
            env=place,
            stdin=wanted.fileno(),
            memory_bytes=settings.git_host_memory_bytes,
            file_bytes=settings.checkout_max_bytes,
        )
        result = run_git(job, deadline)
    packs = sorted(path.glob("state-*.pack"))
    if result.exit_code or not packs:
        raise StepFailed(Reason.CLONE_FAILED, f"{_gone(start)} ({result.message[:300]})")
    return packs[0]


def _base(start: RecordedStart, mirror: Path, deadline: Deadline) -> bytes:
    """Return the line that leaves out what the base commit has, if the mirror has that commit."""
    if not start.base_commit:
        return b""
    there = run_git(GitJob(("cat-file", "-e", f"{start.base_commit}^{{commit}}"), git_dir=mirror), deadline)
    return b"" if there.exit_code else f"^{start.base_commit}\n".encode()


def _gone(start: RecordedStart) -> str:
    return (
        f"the node does not have the recorded state {start.commit} of workspace {start.workspace_id} any more; "
        "it goes with the workspace when that is deleted, so start from another workspace or from the target branch"
    )
