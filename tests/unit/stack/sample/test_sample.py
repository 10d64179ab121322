"""The sample job's repository and scripts hold together, and its summary tells the truth."""

import subprocess
from dataclasses import replace

import pytest

from relay_stack.down import TakedownReport, describe
from relay_stack.files.stack_state import ProcessState, StackState, forget_state, read_state, write_state
from relay_stack.sample.sample_job import SampleResult
from relay_stack.sample.sample_repo import PROMPT, SERVED_TEXT, make_sample_repo
from relay_stack.summary import sample_summary, where_everything_is


def _sh(script: str, folder, **keywords) -> str:
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=30, **keywords
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_scripts_of_the_sample_do_what_they_say(tmp_path):
    repo = make_sample_repo(tmp_path)
    job = repo.request()
    scripts = job["repos"][0]
    _sh(scripts["setup_script"], repo.path)
    said = _sh(job["executor"]["command"], repo.path, input=PROMPT)
    assert PROMPT in said
    assert "Ran 2 tests" in said
    _sh(scripts["cleanup_script"], repo.path)
    assert _sh("git status --porcelain", repo.path) == ""
    assert _sh("git rev-list --count HEAD", repo.path) == "2\n"
    _sh(scripts["dev_server_script"].split("&&")[0], repo.path)
    assert SERVED_TEXT in (repo.path / "public" / "index.html").read_text()


def test_the_sample_repository_is_made_once_and_ignores_the_users_git_configuration(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[commit]\n\tgpgsign = true\n[core]\n\thooksPath = /nowhere\n")
    monkeypatch.setenv("HOME", str(home))
    repo = make_sample_repo(tmp_path / "sample")
    (repo.path / "mine").touch()
    assert make_sample_repo(tmp_path / "sample") == repo
    assert (repo.path / "mine").exists()


def _execution(reason: str, status: str = "completed", **fields):
    return {"run_reason": reason, "status": status, "exit_code": 0, "error_reason": None, "repo_states": [], **fields}


def test_the_summary_shows_steps_commits_and_changes():
    moved = {
        "name": "page",
        "before_head_commit": "a" * 40,
        "after_head_commit": "b" * 40,
        "stat": {"files": 2, "insertions": 4, "deletions": 1},
    }
    steps = [_execution("clone", exit_code=None), _execution("coding_agent", repo_states=[moved])]
    text = sample_summary(SampleResult("w", steps, "http://127.0.0.1:1/"))
    assert "succeeded" in text
    assert "page: aaaaaaaaaa → bbbbbbbbbb by coding_agent (2 files, +4 -1)" in text


@pytest.mark.parametrize(
    "result",
    [
        SampleResult("w", [_execution("clone")], None),
        SampleResult("w", [_execution("setup_script", "failed", exit_code=7)], "http://127.0.0.1:1/"),
    ],
)
def test_a_sample_that_failed_says_so(result):
    assert not result.succeeded
    assert "FAILED" in sample_summary(result)


STATE = StackState(
    api_url="http://127.0.0.1:8700",
    token="relay_x",
    flower_url="http://127.0.0.1:5555",
    flower_user="relay",
    flower_password="pw",
    processes=(ProcessState("api", 7, "running"),),
    supervisor_pid=6,
    supervisor_began=1.0,
)


def test_the_state_file_is_for_its_owner_and_shows_what_outsiders_rely_on(tmp_path):
    write_state(tmp_path, STATE)
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert read_state(tmp_path) == STATE
    assert STATE.public() == {
        "api_url": "http://127.0.0.1:8700",
        "token": "relay_x",
        "flower_url": "http://127.0.0.1:5555",
        "flower_user": "relay",
        "flower_password": "pw",
        "processes": ({"name": "api", "pid": 7, "state": "running"},),
    }
    shown = where_everything_is(STATE, "/data", "http://localhost:8700/sign-in#code")
    assert STATE.token in shown
    assert "Page     http://localhost:8700/sign-in#code " in shown
    assert "export PATH" not in shown
    there = where_everything_is(STATE, "/data", "http://localhost:8700/sign-in#code", "/relay/.venv/bin")
    assert '         export PATH="/relay/.venv/bin:$PATH"\n         relay run' in there
    forget_state(tmp_path)
    assert read_state(tmp_path) is None


def test_what_a_stop_left_is_told():
    nothing = TakedownReport(
        was_up=False, containers_left=0, containers_removed=0, engine_left=False, engine_stopped=False
    )
    assert describe(nothing) == ["No stack was running"]
    left = describe(replace(nothing, was_up=True, containers_left=2, engine_left=True))
    assert left[-1].startswith("Still running: 2 containers of workspaces and the Docker engine that Relay started")
