"""Update the mirror of a remote on the host, and say where a clone of it starts."""

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.git.start_ref import check_ref
from relay_core.domain.git.url import parse_git_url
from relay_core.settings import Settings
from relay_workers.git.host.mirror import Mirrors
from relay_workers.git.host.process import Deadline
from relay_workers.git.port import FetchedRemote, FetchRequest


class Fetcher:
    """Updates the mirrors of a node; see `Git.fetch`."""

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
        mirror = self._mirrors.fetch(request.project_id, url, request.on_output, deadline, request.ref)
        start = mirror.start_point(branch)
        target = mirror.heads.get(start.branch or "", start.commit)
        return FetchedRemote(mirror.path, mirror.default_branch, start.branch, target, start.commit)
