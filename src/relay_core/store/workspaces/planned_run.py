"""A run that is submitted later: complete and checked, as JSON."""

from collections.abc import Mapping
from typing import Any

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.job_settings import JobTerms
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Priority, RunReason
from relay_core.store.executions.action_json import executor_from_json
from relay_core.store.projects.task_changes import NewTask
from relay_core.store.workspaces.repo_input import RepoInput
from relay_core.store.workspaces.run_input import EnvValue, RunInput, RunTerms

_AS_THEY_ARE = (
    "prompt",
    "image",
    "title",
    "user",
    "auto_commit",
    "job_file",
    "profile",
    "agent_working_dir",
)
_LISTS = ("secrets_in", "needs", "named_limits", "from_profile")
_MAPPINGS = ("labels", "metadata", "maxima", "sources")


def to_json(run: RunInput[ExecutorChoice], terms: RunTerms) -> dict[str, Any]:
    """Return a run as it is stored. It has a new task, and no images, secrets of the project or source of a fork."""
    task = run.task
    if not isinstance(task, NewTask) or run.secrets or run.image_ids or run.fork is not None:
        raise TypeError("only a run with a new task, and without images, secrets and a fork, is submitted later")
    return {
        **{name: getattr(run, name) for name in _AS_THEY_ARE},
        **{name: list(getattr(run, name)) for name in _LISTS},
        **{name: dict(getattr(run, name)) for name in _MAPPINGS},
        "repos": [{key: value for key, value in vars(repo).items() if key != "start"} for repo in run.repos],
        "executor": run.executor.as_json(),
        "limits": dict(vars(run.limits)),
        "env": {name: [given.value, given.secret] for name, given in run.env.items()},
        "priority": str(run.priority),
        "job_terms": run.job_terms and run.job_terms.as_json(),
        "task": {"title": task.title, "description": task.description},
        "terms": dict(vars(terms)),
    }


def from_json(stored: Mapping[str, Any]) -> tuple[RunInput[ExecutorChoice], RunTerms]:
    """Return a run from what `to_json` returned."""
    plain = {name: stored[name] for name in (*_AS_THEY_ARE, *_LISTS, *_MAPPINGS)}
    run: RunInput[ExecutorChoice] = RunInput(
        **{
            **plain,
            "secrets_in": [RunReason(reason) for reason in stored["secrets_in"]],
            "repos": [RepoInput(**repo) for repo in stored["repos"]],
            "executor": executor_from_json(stored["executor"]),
            "limits": Limits.from_row(stored["limits"]),
            "env": {name: EnvValue(value, secret) for name, (value, secret) in stored["env"].items()},
            "priority": Priority(stored["priority"]),
            "job_terms": stored["job_terms"] and JobTerms.from_json(stored["job_terms"]),
            "task": NewTask(stored["task"]["title"], stored["task"]["description"]),
        }
    )
    return run, RunTerms(**stored["terms"])
