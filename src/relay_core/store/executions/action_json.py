"""The JSON of steps in Postgres: `execution_processes.executor_action` and `sessions.executor_config`.

An action is ``{"step": STEP, "next_action": {"steps": [STEP, …], "next_action": …} | null}``. A step has
``run_reason``, ``repo``, ``cwd`` and ``as_root``. A script and a dev server also have ``script``. A coding agent has
``executor`` and ``prompt``, and ``follow_up: true`` if it continues a conversation. A push has ``branch`` and
``force``; a reset has ``targets`` (``repo`` and ``commit`` each) and ``discard_changes``; a merge has ``merge_id``,
``target_branch``, ``kind``, ``method`` and ``message``; a rebase has ``target_branch``. Rows of older versions may lack
fields.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from relay_core.domain.agents.executors import FIELDS, ExecutorChoice
from relay_core.domain.chain import Action, StepGroup
from relay_core.domain.step import (
    AgentStep,
    CloneStep,
    DevServerStep,
    GitStep,
    MergeStep,
    PushStep,
    RebaseStep,
    ResetStep,
    ResetTarget,
    ScriptStep,
    Step,
)
from relay_core.domain.vocabulary import MergeKind, MergeMethod, RunReason

Json = dict[str, Any]


def action_to_json(action: Action) -> Json:
    """Return an action as `executor_action` stores it."""
    return {"step": step_to_json(action.step), "next_action": _group_to_json(action.following)}


def action_from_json(stored: Mapping[str, Any]) -> Action:
    """Return an action from its stored JSON, which this or an older version of Relay wrote."""
    return Action(step_from_json(stored["step"]), _group_from_json(stored.get("next_action")))


def step_to_json(step: Step) -> Json:
    """Return a step as part of the stored JSON of an action."""
    common: Json = {"run_reason": step.run_reason, "repo": step.repo, "cwd": step.cwd, "as_root": step.as_root}
    if isinstance(step, ScriptStep | DevServerStep):
        return {**common, "script": step.script}
    if isinstance(step, AgentStep):
        follow_up = {"follow_up": True} if step.follow_up else {}
        return {**common, "executor": step.executor.as_json(), "prompt": step.prompt, **follow_up}
    return common if isinstance(step, CloneStep) else {**common, **_git_fields(step)}


def _git_fields(step: GitStep) -> Json:
    if isinstance(step, PushStep):
        return {"branch": step.branch, "force": step.force}
    if isinstance(step, ResetStep):
        targets = [{"repo": target.repo, "commit": target.commit} for target in step.targets]
        drop = {} if step.drop_from is None else {"drop_from": str(step.drop_from)}
        return {"targets": targets, "discard_changes": step.discard_changes, **drop}
    if isinstance(step, RebaseStep):
        return {"target_branch": step.target_branch}
    how: Json = {"kind": step.kind, "method": step.method, "message": step.message}
    return {"merge_id": str(step.merge_id), "target_branch": step.target_branch, **how}


def step_from_json(stored: Mapping[str, Any]) -> Step:
    """Return a step from its stored JSON, which this or an older version of Relay wrote."""
    reason = RunReason(stored["run_reason"])
    if reason is RunReason.CLONE:
        return CloneStep()
    if reason.is_git_act:
        return _git_step(reason, stored)
    cwd = stored.get("cwd", "")
    if reason is RunReason.CODING_AGENT:
        executor = executor_from_json(stored["executor"])
        return AgentStep(executor, stored["prompt"], cwd, bool(stored.get("follow_up")))
    repo = stored.get("repo") or ""
    if reason is RunReason.DEV_SERVER:
        return DevServerStep(repo, stored["script"], cwd)
    return ScriptStep(reason, repo, stored["script"], cwd, bool(stored.get("as_root")))


def executor_from_json(stored: Mapping[str, Any]) -> ExecutorChoice:
    """Return an executor choice from the JSON of a session or step, without checking it.

    To check it, pass its `as_json` to `check_executor`.
    """
    known = {name: value for name, value in stored.items() if name in FIELDS and value is not None}
    unknown = {name: value for name, value in stored.items() if name not in FIELDS}
    known["args"] = tuple(known.get("args", ()))
    return ExecutorChoice(**{"name": "", **known}, unknown=unknown)


def _git_step(reason: RunReason, stored: Mapping[str, Any]) -> GitStep:
    if reason is RunReason.PUSH:
        return PushStep(stored["repo"], stored["branch"], stored["force"])
    if reason is RunReason.REBASE:
        return RebaseStep(stored["repo"], stored["target_branch"])
    if reason is RunReason.MERGE:
        how = (MergeKind(stored["kind"]), MergeMethod(stored["method"]), stored["message"])
        return MergeStep(UUID(stored["merge_id"]), stored["repo"], stored["target_branch"], *how)
    targets = tuple(ResetTarget(target["repo"], target["commit"]) for target in stored["targets"])
    drop_from = stored.get("drop_from")
    return ResetStep(targets, stored["discard_changes"], drop_from and UUID(drop_from))


def _group_to_json(group: StepGroup | None) -> Json | None:
    if group is None:
        return None
    return {"steps": [step_to_json(step) for step in group.steps], "next_action": _group_to_json(group.following)}


def _group_from_json(stored: Mapping[str, Any] | None) -> StepGroup | None:
    if stored is None:
        return None
    steps = tuple(step_from_json(step) for step in stored["steps"])
    return StepGroup(steps, _group_from_json(stored.get("next_action")))
