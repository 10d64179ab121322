"""Merge and replay commits in the git container, outside of any clone: both sides are in the store and in the mirror.

What comes out is a pack, which git checks before it gets into the store, like that of an after-state.
"""

from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.act_requests import Merged, MergeRequest
from relay_workers.git.host.process import DeadlinePassed
from relay_workers.git.host.store import Store
from relay_workers.git.sandbox import container
from relay_workers.git.sandbox.after_state import keep, out_directory, records_in, result_file
from relay_workers.git.sandbox.container import ContainerUser, MergePlan, ScriptAnswer
from relay_workers.host_files.safe_dir import SafeDir

_PATHS_LIMIT = 1 << 20


class Merger:
    """Merges commits; see `Git.merge`."""

    def __init__(self, settings: Settings, tool: ToolRunner) -> None:
        self._settings = settings
        self._tool = tool

    def merge(self, request: MergeRequest) -> Merged:
        """Merge the source into the target. Errors: see `Git.merge`."""
        return self._run("merge", request, Reason.MERGE_FAILED)

    def replay(self, request: MergeRequest) -> Merged:
        """Replay the commits of the source on top of the target. Errors: see `Git.replay`."""
        return self._run("replay", request, Reason.REBASE_FAILED)

    def _run(self, verb: str, request: MergeRequest, reason: Reason) -> Merged:
        store, user = Store(self._settings, request.workspace_id, request.name), ContainerUser(request.uid, request.gid)
        store.prepare(request.mirror_path)
        plan = MergePlan(
            store.path,
            request.mirror_path,
            request.target_commit,
            request.source_commit,
            request.base_commit,
            request.two_parents,
        )
        with out_directory(self._settings, request.message, user) as out_dir:
            base = container.tool_run(verb, request.workspace_dir, user, self._settings)
            result = self._tool.run(container.merge_run(plan, out_dir, base, self._settings), request.cancelled)
            failure = container.container_failure(result, self._settings)
            if failure is not None:
                raise failure
            answer = container.parse_answer(result)
            if "conflict" in answer.values:
                return Merged(None, _paths(out_dir), at=answer.commit("at") or "")
            if "same" in answer.values:
                return Merged(None)
            return Merged(self._kept(request, store, answer, out_dir, reason), replayed=answer.number("commits"))

    def _kept(self, request: MergeRequest, store: Store, answer: ScriptAnswer, out_dir: Path, reason: Reason) -> str:
        commit = answer.commit("head")
        if commit is None:
            raise StepFailed(reason, f"{request.name}: {answer.values.get('problem', 'git gave no answer')}")
        try:
            keep(store, request.pin, commit, out_dir)
        except DeadlinePassed as error:
            raise StepFailed(reason, f"{request.name}: storing the new commit took too long") from error
        return commit


def _paths(out_dir: Path) -> tuple[str, ...]:
    with SafeDir.open(out_dir) as results:
        return tuple(records_in(result_file(results, "conflicts", _PATHS_LIMIT)))
