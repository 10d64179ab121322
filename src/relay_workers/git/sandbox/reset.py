"""Reset a clone to a commit, in the git container; the host touches nothing in a clone, which may be full of traps."""

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.act_requests import ResetRequest
from relay_workers.git.host.store import Store
from relay_workers.git.sandbox import container
from relay_workers.git.sandbox.container import ContainerUser, ResetPlan, ScriptAnswer
from relay_workers.git.sandbox.head_reader import read_head


class Resetter:
    """Resets clones; see `Git.reset`."""

    def __init__(self, settings: Settings, tool: ToolRunner) -> None:
        self._settings = settings
        self._tool = tool

    def resolve(self, request: ResetRequest) -> str:
        """Return the full id of the commit of a reset. Errors: see `Git.resolve`."""
        return self._commit(request, self._run("resolve", request))

    def reset(self, request: ResetRequest) -> str:
        """Reset a clone, and return the full id of the commit. Errors: see `Git.reset`."""
        return self._commit(request, self._run("reset", request))

    def _run(self, verb: str, request: ResetRequest) -> ScriptAnswer:
        head = read_head(request.workspace_dir, request.name)
        store = None if request.store_of is None else Store(self._settings, request.store_of, request.name).path
        plan = ResetPlan(request.name, request.mirror_path, head.commit, request.branch, request.commit, store)
        base = container.tool_run(verb, request.workspace_dir, ContainerUser(request.uid, request.gid), self._settings)
        result = self._tool.run(container.reset_run(plan, base, self._settings), request.cancelled)
        failure = container.container_failure(result, self._settings)
        if failure is not None:
            raise failure
        return container.parse_answer(result)

    def _commit(self, request: ResetRequest, answer: ScriptAnswer) -> str:
        commit = answer.commit("head")
        if commit is None:
            why = answer.values.get("problem", "git gave no answer")
            raise StepFailed(Reason.RESET_FAILED, f"repos/{request.name} cannot be reset: {why}")
        return commit
