"""What a further step runs."""

import pytest

from relay_api.schemas.inputs import step as requested
from relay_api.schemas.runs import ExecutorIn, StepIn
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import RepoScripts
from relay_core.domain.errors import InvalidInput
from relay_core.store.workspaces.step_request import plan

ONE = [RepoScripts("app", working_dir="sub", setup_script="make", dev_server="serve", archive_script=" ")]
TWO = [RepoScripts("a"), RepoScripts("b")]
SHELL = ExecutorChoice("shell", "cat")


def test_the_repos_own_script_or_the_given_one():
    assert plan(requested(StepIn(run_reason="setup_script")), ONE, SHELL).script == "make"
    assert plan(requested(StepIn(run_reason="dev_server")), ONE, SHELL).script == "serve"
    step = plan(requested(StepIn(run_reason="setup_script", script="x", as_root=True)), ONE, SHELL)
    assert (step.script, step.cwd, step.as_root) == ("x", "repos/app/sub", True)


def test_an_agent_works_in_the_named_repo_or_above_all():
    assert plan(requested(StepIn(run_reason="coding_agent", prompt="p")), TWO, SHELL).cwd == "repos"
    assert plan(requested(StepIn(run_reason="coding_agent", prompt="p", repo="b")), TWO, SHELL).cwd == "repos/b"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"run_reason": "archive_script"}, "script"),
        ({"run_reason": "coding_agent"}, "prompt"),
        ({"run_reason": "coding_agent", "prompt": "p", "as_root": True}, "as_root"),
        ({"run_reason": "dev_server", "prompt": "p"}, "prompt"),
        ({"run_reason": "setup_script", "executor": ExecutorIn(name="shell")}, "executor"),
        ({"run_reason": "setup_script", "repo": "no"}, "repo"),
    ],
)
def test_what_does_not_fit_is_refused(body: dict, field: str):
    with pytest.raises(InvalidInput) as error:
        plan(requested(StepIn(**body)), ONE, SHELL)
    assert error.value.field == field


def test_of_several_repos_one_is_named():
    with pytest.raises(InvalidInput, match="a, b"):
        plan(requested(StepIn(run_reason="setup_script", script="x")), TWO, SHELL)
