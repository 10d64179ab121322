"""Remotes as they are: each ends in a clear state, with a message that helps, and leaves no partial directory."""

import socket

import pytest

from tests.support.relay import Relay, git, make_repo

pytestmark = pytest.mark.docker


def failed_clone(relay: Relay, run):
    (clone,) = relay.wait_chain(run)
    assert clone["status"] == "failed", clone
    workspace = relay.get(f"/v1/workspaces/{run['workspace_id']}")
    assert workspace["state"] == "failed"
    assert workspace["error_reason"] == clone["error_reason"]
    assert not (relay.data_dir / "workspaces" / run["workspace_id"]).exists()
    assert not list((relay.data_dir / "mirrors").glob("*/*partial*"))
    return clone


@pytest.mark.proves("T000-02")
def test_unreachable(relay: Relay):
    """T000-02."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a.git"
        clone = failed_clone(relay, relay.submit(url))
    assert clone["reason"] == "clone_failed"
    assert url in clone["error_reason"]


@pytest.mark.proves("T000-03")
def test_hanging(relay: Relay):
    """T000-03: the fixture's limit is 20 s."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        clone = failed_clone(relay, relay.submit(f"http://127.0.0.1:{silent.getsockname()[1]}/a.git"))
    assert clone["reason"] == "clone_timeout"


def test_bad_branch(relay: Relay, repo):
    clone = failed_clone(relay, relay.submit(repo, target_branch="nope"))
    assert clone["reason"] == "clone_failed"
    assert "nope" in clone["error_reason"]
    assert "main" in clone["error_reason"], "it names the branches there are"


def test_empty_repository(relay: Relay, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    git("init", "-q", ".", cwd=empty)
    assert "empty" in failed_clone(relay, relay.submit(empty))["error_reason"]


def test_a_clone_that_breaks_in_relay_itself_fails_its_workspace(relay: Relay, repo):
    project = relay.http.post("/v1/projects", json={"name": "broken"}).json()["id"]
    mirrors = relay.data_dir / "mirrors"
    mirrors.mkdir(exist_ok=True)
    (mirrors / project).touch()  # in the place of a directory: no code expects that

    clone = failed_clone(relay, relay.submit(repo, project_id=project))

    assert clone["reason"] == "internal_error"
    (mirrors / project).unlink()


def test_odd_names_many_files_and_submodules(relay: Relay, tmp_path):
    files = {f"many/{number:04}.txt": str(number) for number in range(5000)}
    files |= {"with space.txt": "a", "with\nnewline.txt": "b", "-dash": "c", "umläut": "d"}
    repo = make_repo(tmp_path / "odd", files)
    other = make_repo(tmp_path / "sub", {"x": "y"})
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "module", cwd=repo)
    git("commit", "-qm", "with a submodule", cwd=repo)
    run = relay.submit(repo, "find . -path ./.git -prune -o -type f -print | wc -l; git status --porcelain; ls module")
    steps = relay.wait_chain(run)
    agent = steps[-1]
    assert agent["status"] == "completed"
    # 5,000 and four odd ones and .gitmodules; a name with a newline is two lines of find's output
    assert relay.log(agent["id"], "stdout") == b"5006\n"
    assert agent["repo_states"][0]["dirty"] is False


@pytest.mark.proves("T000-22")
def test_origin_is_the_remote(relay: Relay, repo):
    """T000-22."""
    run = relay.submit(repo, "git remote get-url origin")
    assert relay.log(relay.wait_chain(run)[-1]["id"], "stdout").decode().removeprefix("file://") == f"{repo}\n"


def test_credentials_in_a_url_are_refused_and_not_echoed(relay: Relay):
    body = {
        "repos": [{"url": "https://me:hunter22@example.org/a.git"}],
        "prompt": "x",
        "executor": {"name": "claude-code"},
    }
    answer = relay.http.post("/v1/runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "git_url_has_credentials"
    assert "hunter22" not in answer.text
