"""Find the commit of the branch, tag, commit id or full ref name from which a request wants to start."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from relay_core.domain.git.start_ref import may_be_commit, needs_own_fetch, ref_names
from relay_core.domain.git.url import GitUrl
from relay_workers.git.host.process import Deadline, GitJob, run_git
from relay_workers.git.port import StartPointMissing


def asked_ref(ref: str) -> str:
    """Return the name that a mirror gives to a ref that is neither branch nor tag; a hash, so no two names collide."""
    return f"refs/relay/asked/{sha256(ref.encode()).hexdigest()[:16]}"


def find_commit(path: Path, url: GitUrl, refs: Mapping[str, str], ref: str, deadline: Deadline) -> str:
    """Return the id of the commit that a request names.

    Args:
        path: directory of the mirror, after a fetch.
        url: the remote, for messages.
        refs: full name of each branch and tag of the remote → id of its object.
        ref: a branch, tag, commit id (also its first digits) or full ref name.
        deadline: the time limit and cancellation event of the clone.

    Raises:
        StartPointMissing: the remote has no such ref or commit, a branch and a tag have this name, or
            it is no commit.
    """
    names = [name for name in ref_names(ref) if name in refs]
    if len(names) > 1:
        raise _refused(url, f"it has a branch and a tag {ref!r}; write {names[0]} or {names[1]}")
    if names:
        place = refs[names[0]]
    elif needs_own_fetch(ref):
        place = asked_ref(ref)
    elif may_be_commit(ref):
        place = ref.lower()
    else:
        raise ref_missing(url, ref)
    job = GitJob(("rev-parse", "--verify", "--end-of-options", f"{place}^{{commit}}"), git_dir=path)
    result = run_git(job, deadline)
    if result.exit_code == 0:
        return result.output.decode().strip()
    if b"ambiguous" in result.errors:
        raise _refused(url, f"several of its commits begin with {ref}; give more digits")
    if names or needs_own_fetch(ref):
        raise _refused(url, f"{ref!r} is no commit there")
    raise _refused(url, f"no branch or tag of it is or contains {ref!r}")


def ref_missing(url: GitUrl, ref: str) -> StartPointMissing:
    """Return the error for a ref that the remote does not have."""
    what = f"ref {ref}" if ref.startswith("refs/") else f"branch or tag {ref!r}"
    return _refused(url, f"the remote has no {what}")


def _refused(url: GitUrl, why: str) -> StartPointMissing:
    return StartPointMissing(f"cannot start from the ref of {url.display}: {why}")
