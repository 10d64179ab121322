"""The real aider against a scripted model, in a container without a network."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import TurnRequest
from tests.support.agent_cases import entries_of
from tests.support.executor_fixtures import AgentBox, agent_box
from tests.support.model_server.in_container import requests_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

BLOCK = """
{path}
```
<<<<<<< SEARCH
{old}=======
{new}
>>>>>>> REPLACE
```
"""
HISTORY = re.compile(r"DONE history=(\d+) result=none")
TELL = "[[stall: 0]]"
"""A directive that says nothing: the model tells what it has heard. A prompt without one is a side request here."""


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("aider", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "OPENAI_BASE_URL": f"{box.url}/v1", "OPENAI_API_KEY": "test"}
        yield box


@pytest.fixture
def repo(box: AgentBox) -> str:
    return box.repo(f"r{uuid4().hex[:8]}")


def turn(box, repo, prompt, **given):
    env = given.pop("env", None)
    given = {"model": "openai/scripted", "args": ("--edit-format", "diff"), **given}
    return box.run("aider", TurnRequest(prompt, **given), repo, env)


def test_it_edits_and_leaves_the_commit_to_relay(box, repo):
    block = BLOCK.format(path="hello.txt", old="", new="grüße")
    ended = turn(box, repo, f"Add hello.txt [[say: I will add it.\n{block}]]")
    assert (ended.exit_code, ended.verdict.success) == (0, True), (ended.verdict, ended.stderr)
    assert ended.reader.summary == "I will add it."
    assert ended.reader.usage["output_tokens"] > 0
    edit = next(entry for entry in entries_of(ended) if entry.kind is EntryKind.FILE_EDIT)
    assert edit.tool.paths == ("hello.txt",)
    assert box.sh("cat hello.txt; git log --format=%s; git status --short", repo) == "grüße\ninit\nAM hello.txt\n"


def test_a_deployment_may_let_it_commit(box, repo):
    block = BLOCK.format(path="hello.txt", old="", new="hello")
    ended = turn(box, repo, f"Add it [[say: Adding.\n{block}]]", args=("--edit-format", "diff", "--auto-commits"))
    assert ended.verdict.success
    assert any(entry.text.startswith("Commit ") for entry in entries_of(ended))
    assert len(box.sh("git log --format=%s", repo).splitlines()) == 2


def test_the_next_turn_remembers(box, repo):
    first = turn(box, repo, f"Remember {TELL}")
    heard = int(HISTORY.fullmatch(first.reader.summary)[1])
    second = turn(box, repo, f"And now {TELL}", resume_session_id=first.reader.agent_session_id)
    assert second.verdict.success
    assert int(HISTORY.fullmatch(second.reader.summary)[1]) == heard + 1
    assert second.reader.agent_session_id == first.reader.agent_session_id
    other = turn(box, repo, f"Somebody else's {TELL}")
    assert int(HISTORY.fullmatch(other.reader.summary)[1]) == heard
    assert other.reader.agent_session_id != first.reader.agent_session_id


def test_a_conversation_that_is_not_there_is_told(box, repo):
    ended = turn(box, repo, f"Hello {TELL}", resume_session_id=str(uuid4()))
    assert ended.verdict.reason is Reason.CANNOT_RESUME
    assert ended.reader.agent_session_id is None


def test_a_long_prompt_arrives_whole(box, repo):
    prompt = "word " * 60_000 + "[[say: read it]]"
    ended = turn(box, repo, prompt)
    assert (ended.verdict.success, ended.reader.summary) == (True, "read it"), ended.stderr
    assert requests_of(box.container)[-1]["prompt_bytes"] >= len(prompt)


@pytest.mark.parametrize("status", [400, 401])
def test_an_error_of_the_model_fails_the_turn_in_spite_of_exit_code_0(box, repo, status):
    ended = turn(box, repo, f"Hello [[error: {status}]]")
    assert (ended.exit_code, ended.verdict.reason) == (0, Reason.AGENT_ERROR)
    assert f"scripted error {status}" in ended.verdict.message
    assert ("OPENAI_API_KEY" in ended.verdict.message) == (status == 401)
    again = turn(box, repo, f"Once more {TELL}", resume_session_id=ended.reader.agent_session_id)
    assert again.verdict.success


@pytest.mark.parametrize("fault", ["error: 500 x2", "drop: x1"])
def test_a_passing_fault_does_not(box, repo, fault):
    ended = turn(box, repo, f"{repo[1:]} [[{fault}]] [[say: recovered]]")
    assert (ended.exit_code, ended.verdict.success, ended.reader.summary) == (0, True, "recovered")


def test_an_edit_that_does_not_fit_fails_the_turn(box, repo):
    box.sh("echo one >a.txt && git add -A && git -c user.name=a -c user.email=a@b commit -qm a", repo)
    block = BLOCK.format(path="a.txt", old="nonesuch\n", new="two")
    # What it asks next quotes no directive, so the model talks past it, which ends the turn without an edit.
    ended = turn(box, repo, f"Change it [[say: Changing.\n{block}]]")
    notices = [entry.text for entry in entries_of(ended) if entry.kind is EntryKind.NOTICE]
    assert any("failed to match" in text for text in notices)
    assert ended.reader.summary == "A side request"
    assert (ended.verdict.reason, "every edit" in ended.verdict.message) == (Reason.AGENT_ERROR, True)
    assert box.sh("cat a.txt", repo) == "one\n"


def test_a_flood_is_understood(box, repo):
    ended = turn(box, repo, "[[flood: 2000000]]")
    assert ended.verdict.success, ended.verdict
    assert ended.reader.summary.startswith("00000000000\n00000000001\n")


def test_plan_edits_nothing(box, repo):
    block = BLOCK.format(path="hello.txt", old="", new="x")
    ended = turn(box, repo, f"Plan [[say: My plan\n{block}]]", permission_mode="plan", args=())
    assert ended.verdict.success
    assert ended.reader.summary.startswith("My plan")
    assert box.sh("ls", repo) == ""


def test_it_runs_as_root(box, repo):
    ended = turn(box, repo, "[[say: as root]]", as_root=True, env={"HOME": "/tmp/root-home"})
    assert (ended.verdict.success, ended.reader.summary) == (True, "as root"), ended.stderr


def test_a_refusal_to_start_is_an_exit_code(box, repo):
    assert turn(box, repo, "x", args=("--no-such-option",)).verdict.reason is Reason.EXIT_CODE
    assert turn(box, repo, "x", command="/opt/none/aider").exit_code == 127
