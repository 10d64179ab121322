"""Make a clone in a workspace: update the mirror on the host, then check out the files in the git container."""

import os
import secrets
import shutil
from dataclasses import replace
from uuid import uuid5

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.git.branch_name import is_valid_branch, is_valid_repo_name
from relay_core.domain.git.url import GitUrl, parse_git_url
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.act_requests import RecordedStart
from relay_workers.git.host.fetch import Fetcher
from relay_workers.git.host.process import GitCancelled
from relay_workers.git.host.state_copy import copy_state
from relay_workers.git.host.store import Store
from relay_workers.git.port import CloneRequest, CloneResult, FetchedRemote, FetchRequest
from relay_workers.git.sandbox import container
from relay_workers.git.sandbox.container import CheckoutPlan, ContainerUser, ScriptAnswer
from relay_workers.git.sandbox.head_reader import read_head
from relay_workers.host_files.safe_dir import SafeDir


class Cloner:
    """Makes clones in workspaces; see `Git.clone`."""

    def __init__(self, settings: Settings, tool: ToolRunner, fetcher: Fetcher) -> None:
        self._settings = settings
        self._tool = tool
        self._fetcher = fetcher

    def clone(self, request: CloneRequest) -> CloneResult:
        """Make a clone in a workspace; if a complete clone exists, leave it unchanged. Errors: see `Git.clone`."""
        url = parse_git_url(request.url, self._settings.remote_policy)
        if not is_valid_repo_name(request.name):
            raise InvalidInput(f"{request.name!r} is no usable name for a clone", code="repo_name_invalid")
        if not is_valid_branch(request.branch):
            raise InvalidInput(f"{request.branch!r} is no valid branch name", code="branch_invalid")
        remote = request.remote or self._fetcher.fetch(_to_fetch(request))
        self._prepare_workspace(request)
        base = None if request.start is None else self._take_over(request, request.start, remote)
        answer = self._checkout(request, url, remote)
        head = self._head_of_clone(request, answer)
        start = request.ref or remote.target_branch or "a HEAD on no branch"
        if request.start is not None:
            start = f"the recorded state of workspace {request.start.workspace_id}"
        request.on_output(f"Branch {request.branch} from {start} at {head}\n".encode())
        if answer.submodules:
            request.on_output(f"Submodules are left empty: {_some(answer.submodules)}\n".encode())
        if answer.pointers:
            request.on_output(f"Files of Git LFS are left as pointers: {_some(answer.pointers)}\n".encode())
        return CloneResult(head, remote.target_branch, remote.mirror_path, answer.submodules, base)

    def _take_over(self, request: CloneRequest, start: RecordedStart, remote: FetchedRemote) -> str:
        """Copy a recorded state of another workspace from its store into that of the new clone; return its base.

        Both are bare repositories that only Relay writes. Nothing is copied again if the store has the state already.
        """
        store = Store(self._settings, request.workspace_id, request.name)
        store.prepare(remote.mirror_path)
        if not store.has(start.commit):
            request.on_output(f"Taking the recorded state {start.commit} over\n".encode())
            copy_state(self._settings, start, store, remote.mirror_path, request.cancelled)
        store.pin(uuid5(request.workspace_id, "start"), start.commit)
        if start.base_commit and store.contains(start.commit, start.base_commit):
            return start.base_commit
        return store.common(start.commit, remote.target_commit) or start.commit

    def _prepare_workspace(self, request: CloneRequest) -> None:
        """Create the directories that the container needs, unless they exist."""
        request.workspace_dir.mkdir(parents=True, exist_ok=True)
        with SafeDir.open(request.workspace_dir) as workspace:
            is_new = workspace.make_directory("repos")
        if is_new and os.geteuid() == 0:
            os.chown(request.workspace_dir / "repos", request.uid, request.gid, follow_symlinks=False)

    def _checkout(self, request: CloneRequest, url: GitUrl, remote: FetchedRemote) -> ScriptAnswer:
        free = shutil.disk_usage(request.workspace_dir).free - self._settings.node_min_free_bytes
        start = request.start
        plan = CheckoutPlan(
            name=request.name,
            mirror=remote.mirror_path,
            url=url.text if url.scheme != "file" else url.display,
            commit=remote.start_commit if start is None else start.commit,
            store=None if start is None else Store(self._settings, request.workspace_id, request.name).path,
            branch=request.branch,
            default_branch=remote.default_branch,
            partial=f"{request.name}.partial-{secrets.token_hex(4)}",
            max_bytes=max(0, min(free, self._settings.checkout_max_bytes)),
        )
        user = ContainerUser(request.uid, request.gid)
        base = container.tool_run("checkout", request.workspace_dir, user, self._settings)
        result = self._tool.run(container.checkout_run(plan, base, self._settings), request.cancelled)
        answer = container.parse_answer(result)
        failure = container.container_failure(result, self._settings) or self._refusal(answer, plan)
        if failure is None:
            return answer
        cleaning = container.tool_run("remove_partials", request.workspace_dir, user, self._settings)
        self._tool.run(replace(cleaning, env={**cleaning.env, "NAME": request.name}))
        if result.cancelled:
            raise GitCancelled("the checkout")
        raise failure

    def _refusal(self, answer: ScriptAnswer, plan: CheckoutPlan) -> StepFailed | None:
        if answer.values.get("limit") == "files":
            text = f"the checkout has more than {self._settings.checkout_max_files} files and directories"
            return StepFailed(Reason.DISK_LIMIT, f"{text} (RELAY_CHECKOUT_MAX_FILES)")
        if answer.values.get("limit") == "bytes":
            text = f"the checkout is larger than the {plan.max_bytes} bytes that it may take on this node"
            return StepFailed(Reason.DISK_LIMIT, f"{text} (RELAY_CHECKOUT_MAX_BYTES, RELAY_NODE_MIN_FREE_BYTES)")
        if "problem" in answer.values:
            return StepFailed(Reason.CLONE_FAILED, answer.values["problem"])
        return None

    def _head_of_clone(self, request: CloneRequest, answer: ScriptAnswer) -> str:
        head = read_head(request.workspace_dir, request.name)
        if head.commit is None or head.branch != request.branch:
            state = head.problem or f"it is on branch {head.branch}"
            raise StepFailed(Reason.CLONE_FAILED, f"repos/{request.name} is not the clone it should be: {state}")
        return answer.commit("head") or head.commit


def _some(paths: tuple[str, ...]) -> str:
    return ", ".join(paths) + (" and perhaps more" if len(paths) == container.NAMED else "")


def _to_fetch(request: CloneRequest) -> FetchRequest:
    return FetchRequest(
        request.project_id, request.url, request.target_branch, request.on_output, request.cancelled, request.ref
    )
