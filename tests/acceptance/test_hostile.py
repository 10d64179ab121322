"""What an agent may plant in its container: nothing of it runs or is read on the host, and no run is left hanging."""

from pathlib import Path

import pytest

from tests.support.relay import Relay, step

pytestmark = pytest.mark.docker


def end_of(relay: Relay, repo, command, **more):
    run = relay.submit(repo, command, **{"limits": {"kill_grace_seconds": 1, **more.pop("limits", {})}, **more})
    steps = relay.wait_chain(run, seconds=60)
    return next(step for step in steps if step["run_reason"] == "coding_agent"), run


def another_run_works(relay: Relay, repo):
    step, _ = end_of(relay, repo, "echo fine")
    assert step["status"] == "completed"
    assert relay.log(step["id"]) == b"fine\n"


@pytest.mark.parametrize(
    "plant",
    [
        "git config core.fsmonitor '{canary}'",
        "printf '#!/bin/sh\\n{canary}\\n' > hook; chmod +x hook; mkdir -p .git/hooks; for h in pre-commit post-index-change "
        "reference-transaction post-commit; do cp hook .git/hooks/$h; done",
        "git config filter.evil.clean '{canary}'; git config filter.evil.smudge '{canary}'; echo '* filter=evil' > .gitattributes",
        "git config core.sshCommand '{canary}'; git config remote.origin.promisor true; "
        "git config extensions.partialClone origin; git config remote.origin.url ssh://nowhere/x",
        "printf '[core]\\n\\tfsmonitor = {canary}\\n' > /workspace/tmp/evil; git config include.path /workspace/tmp/evil",
        "git config diff.external '{canary}'; git config core.pager '{canary}'; git config gpg.program '{canary}'; "
        "git config commit.gpgSign true; git config credential.helper '!{canary}'",
    ],
    ids=["fsmonitor", "hooks", "filters", "ssh-promisor", "include", "externals"],
)
def test_git_configuration_runs_nothing_on_the_host(relay: Relay, repo, tmp_path: Path, plant):
    canary = tmp_path / "canary"
    step, _ = end_of(relay, repo, f"{plant.format(canary=f'touch {canary}')}; echo changed >> README.md; exit 0")
    assert not canary.exists()
    assert step["status"] == "completed"
    state = step["repo_states"][0]
    assert state["committed"], "and the change is committed all the same"
    assert "+changed" in relay.http.get(f"/v1/executions/{step['id']}/diff", headers={"Accept": "text/x-diff"}).text


@pytest.mark.parametrize(
    "plant",
    [
        "mv .git /workspace/tmp/elsewhere; ln -s /workspace/tmp/elsewhere .git",
        "rm -rf .git; mkfifo .git",
        "rm -rf .git; ln -s /etc .git",
        "rm .git/HEAD; ln -s /etc/passwd .git/HEAD",
        "rm .git/HEAD; mkfifo .git/HEAD",
        "truncate -s 10G .git/HEAD",
    ],
)
def test_a_clone_that_is_no_clone_any_more_is_said_not_followed(relay: Relay, repo, plant):
    step, _ = end_of(relay, repo, plant)
    assert step["status"] == "completed", "the command itself worked"
    state = step["repo_states"][0]
    assert state["problem"]
    assert state["after_head_commit"] is None
    assert "root:" not in relay.http.get(f"/v1/executions/{step['id']}").text
    kinds = [event["kind"] for event in relay.get(f"/v1/executions/{step['id']}/events")["items"]]
    assert "execution.evidence_problem" in kinds
    another_run_works(relay, repo)


@pytest.mark.parametrize(
    "attack",
    [
        ": > /dev/stdout; truncate -s 0 /proc/self/fd/1; : > /proc/$$/fd/1",
        "echo forged | tee /proc/1/fd/* >/dev/null",
        "for f in /proc/[0-9]*/fd/*; do truncate -s 0 $f; done; rm -rf /workspace/runs /relay/*; "
        "mkdir -p /workspace/runs; ln -s /etc/passwd /workspace/runs/x",
        "find / -xdev '(' -name record -o -name executions ')' -newermt '-1 hour' -not -path '/proc/*' -delete",
    ],
)
@pytest.mark.parametrize("as_root", [False, True])
def test_log_and_record_are_out_of_reach(relay: Relay, repo, attack, as_root):
    script = f"echo before; ({attack}) 2>/dev/null; echo after; exit 3"
    run = relay.submit(repo, setup_script=script, setup_as_root=as_root)
    setup = relay.wait_step(run, "setup_script", {"completed", "failed"})
    setup = relay.get(f"/v1/executions/{setup['id']}")
    assert (setup["reason"], setup["exit_code"]) == ("exit_code", 3)
    assert relay.log(setup["id"], "stdout") == b"before\nafter\n"


def test_killing_everything_in_sight(relay: Relay, repo):
    """PID 1 and the supervisors stay, the step goes on, and so does the container."""
    step, run = end_of(relay, repo, "kill -9 1; kill -9 $PPID; kill -9 -1; echo alive")
    assert (step["status"], relay.log(step["id"], "stdout")) == ("completed", b"alive\n")
    body = {"run_reason": "setup_script", "script": "echo still here"}
    relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body)
    again = relay.wait_step(run, "setup_script", {"completed", "failed"})
    assert again["status"] == "completed"


def test_a_fork_bomb_at_the_pids_limit(relay: Relay, repo):
    bomb = "f() { f | f & }; f; sleep 100"
    step, run = end_of(relay, repo, bomb, limits={"pids": 64, "timeout_seconds": 5})
    assert step["status"] == "failed"
    relay.until(lambda: relay.processes_in(run).count("\n") < 3, seconds=30, what="the bomb is gone")
    another_run_works(relay, repo)


def test_children_that_leave_session_and_environment(relay: Relay, repo):
    run = relay.submit(repo, "env -i setsid sleep 4321 & sleep 600", limits={"kill_grace_seconds": 1})
    step = relay.wait_step(run, "coding_agent", {"running"})
    relay.until(lambda: "sleep 4321" in relay.processes_in(run))
    relay.kill(step["id"])
    relay.wait_step(run, "coding_agent", {"killed"})
    assert "sleep" not in relay.processes_in(run)


def test_no_process_sees_changes_or_takes_away_the_anchor_of_its_workspace(relay: Relay, repo):
    """Not even root: an empty, read-only directory that cannot be moved lies over it."""
    _, run = end_of(relay, repo, "true")
    anchor = relay.data_dir / "workspaces" / run["workspace_id"] / ".relay" / "workspace.json"
    relay.until(anchor.exists, 30, "its node writes it")
    before = (anchor.read_bytes(), anchor.stat().st_ino)
    script = """
      cd /workspace; ls -A .relay && echo listed; cat .relay/workspace.json; echo {} >.relay/workspace.json; touch .relay/x
      rm -rf .relay; mv .relay /workspace/tmp/; mv .relay relay; ln -sfn /etc .relay; umount .relay
      mount --bind /workspace/tmp .relay; mkdir -p tmp/w; mount --rbind /workspace tmp/w; chmod 777 .relay; ls -A .relay; ls -A tmp/w
    """
    for as_root in (False, True):
        done = step(relay, run, run_reason="setup_script", script=script + "exit 0", as_root=as_root)
        assert done["status"] == "completed"
        assert b"workspace_id" not in relay.log(done["id"])
        assert relay.log(done["id"], "stdout") == b"listed\n"
    assert (anchor.read_bytes(), anchor.stat().st_ino) == before
    assert sorted(one.name for one in anchor.parent.iterdir()) == ["workspace.json"]
