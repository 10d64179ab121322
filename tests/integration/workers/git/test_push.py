"""Pushes to real remotes: what the remote refuses is told, and nothing of the remote or the clone runs on the node."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.tool_container import DockerToolRunner
from relay_workers.git.host import process, push
from tests.support.copied_clone import MadeClone
from tests.support.git_bench import BRANCH, Bench, Remote, Workspace, git, push_request, write
from tests.support.git_fixtures import make_bench
from tests.support.machine import free_port
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def made(made_clone: MadeClone, tmp_path_factory: pytest.TempPathFactory, tool_runner: DockerToolRunner) -> MadeClone:
    """A clone with one commit of a bare copy of the remote."""
    folder = tmp_path_factory.mktemp("pushed")
    bench, bare = make_bench(folder, tool_runner), Remote(folder / "bare.git")
    git(folder, "clone", "-q", "--bare", "--template=", str(made_clone.remote.path), str(bare.path))
    workspace = bench.clone(bare.url)
    write(workspace.clone / "README", "changed\n")
    workspace.commit = workspace.after("a change").committed or ""
    return MadeClone(bench, bare, workspace)


@pytest.fixture
def bare(made: MadeClone, tmp_path: Path) -> Remote:
    """A bare copy of the remote."""
    return made.copy_remote(tmp_path / "bare.git")


@pytest.fixture
def served(bare: Remote) -> Iterator[str]:
    """The URL at which git's own server takes pushes to the bare repository; hooks run there, not on the node."""
    port = free_port()
    argv = ["git", "daemon", "--reuseaddr", "--export-all", "--enable=receive-pack", "--listen=127.0.0.1"]
    command = [*argv, f"--port={port}", f"--base-path={bare.path.parent}", str(bare.path.parent)]
    url = f"git://127.0.0.1:{port}/{bare.path.name}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        eventually(lambda: answers(url), seconds=20, what="the server of the remote")
        yield url
        server.terminate()


def answers(url: str) -> bool:
    return subprocess.run(["git", "ls-remote", url], capture_output=True, check=False).returncode == 0


@pytest.fixture
def workspace(made: MadeClone, bench: Bench, bare: Remote) -> Workspace:
    """A clone with one commit."""
    return made.copy(bench, bare)


def refused(workspace: Workspace, url: str, reason: Reason, **changes: object) -> str:
    with pytest.raises(StepFailed) as caught:
        workspace.service.push(push_request(workspace, url, **changes))
    assert caught.value.reason == reason, caught.value
    return str(caught.value)


def at(repository: Path, branch: str) -> str:
    return git(repository, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")


def hook(repository: Path, name: str, script: str) -> None:
    write(repository / "hooks" / name, f"#!/bin/sh\n{script}\n").chmod(0o755)


def test_a_push_arrives_over_gits_protocol(workspace, bare, served):
    workspace.service.push(push_request(workspace, served))
    assert at(bare.path, BRANCH) == workspace.commit
    assert git(bare.path, "show", f"{BRANCH}:README") == "changed"


def test_a_hook_of_the_remote_that_refuses_is_quoted(workspace, bare, served):
    hook(bare.path, "pre-receive", "echo 'no pushes on Fridays' >&2; exit 1")
    text = refused(workspace, served, Reason.PUSH_REJECTED)
    assert f"branch {BRANCH}: [remote rejected] (pre-receive hook declined)" in text
    assert "the remote says: no pushes on Fridays" in text
    assert b"no pushes on Fridays" in b"".join(workspace.output)
    assert at(bare.path, BRANCH) == ""


def test_commits_of_others_are_kept_and_the_text_says_so(workspace, bare, remote, served):
    other = remote.commit({"README": "by another author\n"})
    git(remote.path, "push", "-q", str(bare.path), f"{other}:refs/heads/{BRANCH}")
    text = refused(workspace, served, Reason.PUSH_REJECTED)
    assert "the branch has commits that the workspace does not have" in text
    assert at(bare.path, BRANCH) == other


def test_a_forced_push_replaces_the_commit_that_was_seen_and_no_other(workspace, bare, remote, served):
    other = remote.commit({"README": "by another author\n"})
    git(remote.path, "push", "-q", str(bare.path), f"{other}:refs/heads/{BRANCH}")
    git(bare.path, "update-ref", f"refs/elsewhere/refs/heads/{BRANCH}", git(bare.path, "rev-parse", "main"))
    seen = workspace.service.branch_at(push_request(workspace, served))
    assert seen == other
    later = remote.commit({"README": "by a third author\n"})
    git(remote.path, "push", "-q", str(bare.path), f"{later}:refs/heads/{BRANCH}")
    text = refused(workspace, served, Reason.PUSH_REJECTED, lease=seen)
    assert f"[rejected] (stale info): the branch has moved since this push began; it was at {seen} then" in text
    assert at(bare.path, BRANCH) == later
    assert workspace.service.push(push_request(workspace, served, lease=later)).replaced
    assert not workspace.service.push(push_request(workspace, served, lease=later)).changed, "a repeat finds it done"
    assert at(bare.path, BRANCH) == workspace.commit


def test_a_server_that_takes_no_pushes_is_a_failure(workspace, bare, served):
    git(bare.path, "config", "daemon.receivepack", "false")
    assert "cannot push to git://127.0.0.1" in refused(workspace, served, Reason.PUSH_FAILED)


def test_a_branch_that_is_locked_for_a_moment_is_pushed_again(workspace, bare, monkeypatch):
    lock = bare.path / "refs/heads" / f"{BRANCH}.lock"
    lock.touch()
    monkeypatch.setattr(push, "_wait", lambda _deadline: lock.unlink())
    assert workspace.service.push(push_request(workspace, bare.url)).changed
    assert at(bare.path, BRANCH) == workspace.commit


def test_hooks_and_programs_of_a_local_remote_never_run(workspace, bare, tmp_path):
    hook(bare.path, "post-receive", f"touch {tmp_path}/ran")
    assert "it has hooks (post-receive)" in refused(workspace, bare.url, Reason.PUSH_FAILED)
    (bare.path / "hooks/post-receive").unlink()
    git(bare.path, "config", "core.alternateRefsCommand", f"touch {tmp_path}/ran")
    assert "names programs" in refused(workspace, bare.url, Reason.PUSH_FAILED)
    with pytest.raises(StepFailed, match="names programs"):
        workspace.service.branch_at(push_request(workspace, bare.url))
    assert not (tmp_path / "ran").exists()
    assert at(bare.path, BRANCH) == ""


def test_a_branch_that_is_checked_out_at_the_remote_is_not_pulled_from_under_it(workspace, remote):
    text = refused(workspace, remote.url, Reason.PUSH_REJECTED, branch="main")
    assert "branch is currently checked out" in text


def test_a_secret_in_the_commits_does_not_leave(workspace, bare):
    write(workspace.clone / "notes", "the key is sesame-sesame\n")
    mask = SecretMask([b"sesame-sesame"])
    workspace.commit = workspace.after("with a key", mask=mask).committed or ""
    text = refused(workspace, bare.url, Reason.PUSH_FAILED, mask=mask)
    assert "contain a secret" in text
    assert at(bare.path, BRANCH) == ""


def test_secrets_in_what_the_remote_says_are_masked(workspace, bare, served):
    hook(bare.path, "pre-receive", "echo 'do not say sesame-sesame' >&2; exit 1")
    text = refused(workspace, served, Reason.PUSH_REJECTED, mask=SecretMask([b"sesame-sesame"]))
    assert "sesame" not in text
    assert b"sesame" not in b"".join(workspace.output)


def test_git_gets_no_credentials_in_its_arguments_or_configuration(workspace, bench, tmp_path, monkeypatch):
    """It gets the key's file by GIT_SSH_COMMAND, as a fetch does; the store has no remote."""
    key = write(tmp_path / "key", "not a key\n")
    jobs = []
    run = process.run_git
    monkeypatch.setattr(push, "run_git", lambda job, deadline: jobs.append(job) or run(job, deadline))
    service = bench.with_settings(git_ssh_key_file=key, clone_timeout_seconds=20).service
    with pytest.raises(StepFailed) as caught:
        service.push(push_request(workspace, "ssh://git@127.0.0.1:9/team/app"))
    assert caught.value.reason == Reason.PUSH_FAILED
    [job] = jobs
    assert str(key) in job.env["GIT_SSH_COMMAND"]
    assert not any(str(key) in text for text in (*job.argv, *job.config.values()))
    assert "remote" not in (job.git_dir / "config").read_text()


def test_commits_on_top_of_a_shallow_remote_arrive(bench, remote, bare, tmp_path):
    """Relay has the commits since the boundary only, and looks for secrets in those that it pushes."""
    for number in range(3):
        remote.commit({"README": f"{number}\n"})
    git(tmp_path, "clone", "-q", "--bare", "--depth=2", "--template=", remote.url, str(tmp_path / "shallow.git"))
    shallow = Remote(tmp_path / "shallow.git")
    made = bench.clone(shallow.url)
    write(made.clone / "new")
    made.commit = made.after("new").committed or ""
    made.service.push(push_request(made, shallow.url, mask=SecretMask([b"sesame-sesame"])))
    assert at(shallow.path, BRANCH) == made.commit


def test_a_branch_below_one_that_exists_is_rejected(workspace, bare, monkeypatch):
    monkeypatch.setattr(push, "_BUSY_SECONDS", 0)
    text = refused(workspace, bare.url, Reason.PUSH_REJECTED, branch="main/below")
    assert "branch main/below" in text


def test_a_branch_may_have_any_name_that_git_takes(workspace, bare):
    for branch in ("zweig/ü/日本", "a'b\"c$(x)", "+x", "x" * 200):
        assert workspace.service.push(push_request(workspace, bare.url, branch=branch)).changed
        assert at(bare.path, branch) == workspace.commit
