"""What runs after what."""

import pytest

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import RepoScripts, goes_on, next_group, plan_archive, plan_run
from relay_core.domain.vocabulary import RunReason, Status

EXECUTOR = ExecutorChoice("shell", "true")


def walk(repos):
    """The chain as lists of (reason, repo), group by group."""
    action, groups = plan_run(repos, EXECUTOR, "do it"), []
    group = [action]
    while group:
        groups.append([(one.step.run_reason, one.step.repo) for one in group])
        assert len({str(one.following) for one in group}) == 1, "siblings agree on what follows"
        group = next_group(group[0])
    return groups


def test_one_repo_with_all_scripts():
    repo = RepoScripts("a", setup_script="s", cleanup_script="c", dev_server="never by itself")
    assert walk([repo]) == [
        [("clone", None)],
        [("setup_script", "a")],
        [("coding_agent", None)],
        [("cleanup_script", "a")],
    ]


def test_blank_scripts_are_no_scripts():
    assert walk([RepoScripts("a", setup_script="  \n", cleanup_script="")]) == [
        [("clone", None)],
        [("coding_agent", None)],
    ]


@pytest.mark.parametrize("second_parallel", [True, False])
def test_setup_is_parallel_only_if_every_repo_says_so(second_parallel):
    repos = [
        RepoScripts("a", setup_script="s", parallel_setup_script=True),
        RepoScripts("b", setup_script="s", parallel_setup_script=second_parallel),
        RepoScripts("c", parallel_setup_script=False),
    ]
    groups = walk(repos)[1:-1]
    if second_parallel:
        assert groups == [[("setup_script", "a"), ("setup_script", "b")]]
    else:
        assert groups == [[("setup_script", "a")], [("setup_script", "b")]]


def test_the_agent_runs_in_the_one_repo_or_above_all():
    def cwd(repos):
        return next_group(plan_run(repos, EXECUTOR, "p"))[0].step.cwd

    assert cwd([RepoScripts("a", working_dir="web/app")]) == "repos/a/web/app"
    assert cwd([RepoScripts("a"), RepoScripts("b")]) == "repos"


@pytest.mark.parametrize("reason", list(RunReason))
@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.KILLED])
def test_one_failure_ends_the_chain_except_a_cleanup_or_an_archive(reason, status):
    each_by_itself = {RunReason.CLEANUP_SCRIPT, RunReason.ARCHIVE_SCRIPT}
    expected = status is Status.COMPLETED or (reason in each_by_itself and status is Status.FAILED)
    assert goes_on([(RunReason.SETUP_SCRIPT, Status.COMPLETED), (reason, status)]) is expected


def test_only_a_setup_script_is_root_and_only_where_its_repo_says_so():
    repos = [
        RepoScripts("a", setup_script="s", cleanup_script="c", setup_as_root=True),
        RepoScripts("b", setup_script="s"),
    ]
    action, roots = plan_run(repos, EXECUTOR, "do it"), []
    group = [action]
    while group:
        roots += [(one.step.run_reason, one.step.repo) for one in group if one.step.as_root]
        group = next_group(group[0])
    assert roots == [("setup_script", "a")]


def test_archive_scripts_run_one_after_another_and_each_by_itself():
    repos = [RepoScripts("a", archive_script="one"), RepoScripts("b"), RepoScripts("c", archive_script="two")]
    action, steps = plan_archive(repos), []
    while action is not None:
        steps.append((action.step.run_reason, action.step.repo, action.step.script))
        action = next(iter(next_group(action)), None)
    assert steps == [(RunReason.ARCHIVE_SCRIPT, "a", "one"), (RunReason.ARCHIVE_SCRIPT, "c", "two")]
    assert plan_archive(repos[1:2]) is None
    assert goes_on([(RunReason.ARCHIVE_SCRIPT, Status.FAILED)])
    assert not goes_on([(RunReason.ARCHIVE_SCRIPT, Status.KILLED)])
