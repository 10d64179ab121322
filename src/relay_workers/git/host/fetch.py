"""Update the mirror of a remote on the host, and say where a clone of it starts."""

from collections.abc import Callable
from uuid import UUID

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.git.start_ref import check_ref
from relay_core.domain.git.url import RemotePolicy, parse_git_url
from relay_core.settings import Settings
from relay_workers.git.host.mirror import Mirrors
from relay_workers.git.host.process import Deadline
from relay_workers.git.host.progress import ProgressLog
from relay_workers.git.port import FetchedRemote, FetchRequest

_ANY_REMOTE = RemotePolicy(allow_http=True, allow_git_protocol=True, allow_file=True, allow_private_hosts=True)


class Fetcher:
    """Updates and removes the mirrors of a node; see `Git.fetch`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mirrors = Mirrors(settings)

    def fetch(self, request: FetchRequest) -> FetchedRemote:
        """Update the mirror of a remote, or make it. Errors: see `Git.fetch`."""
        url = parse_git_url(request.url, self._settings.remote_policy)
        branch = request.target_branch
        if branch and not is_valid_branch(branch):
            raise InvalidInput(f"{branch!r} is no valid branch name", code="branch_invalid")
        if request.ref is not None:
            check_ref(request.ref, "ref")
        deadline = Deadline.within(self._settings.clone_timeout_seconds, request.cancelled)
        progress = ProgressLog(request.on_output, on_state=request.on_progress)
        mirror = self._mirrors.fetch(request.project_id, url, progress, deadline, request.ref)
        start = mirror.start_point(branch)
        target = mirror.heads.get(start.branch or "", start.commit)
        return FetchedRemote(mirror.path, mirror.default_branch, start.branch, target, start.commit)

    def remove(self, project_id: UUID, url: str, wanted: Callable[[], bool]) -> bool:
        """Remove the mirror of a remote; see `Git.remove_mirror`. The remote need not be allowed any more."""
        return self._mirrors.remove(project_id, parse_git_url(url, _ANY_REMOTE), wanted)
