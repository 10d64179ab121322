"""The real mini-swe-agent against a scripted model, in a container without a network."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import TurnRequest
from tests.support.agent_cases import entries_of
from tests.support.executor_fixtures import UID, AgentBox, agent_box
from tests.support.model_server.in_container import requests_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

SUBMIT = "[[run: echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo '%s']]"


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("mini", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        retries = {"MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "2"}
        box.env = {**box.env, "OPENAI_BASE_URL": f"{box.url}/v1", "OPENAI_API_KEY": "test", **retries}
        yield box


@pytest.fixture
def repo(box: AgentBox) -> str:
    return box.repo(f"r{uuid4().hex[:8]}")


def turn(box, repo, prompt, **given):
    env = given.pop("env", None)
    watch = given.pop("watch", None)
    return box.run("mini", TurnRequest(prompt, **{"model": "openai/scripted", **given}), repo, env, watch)


def test_it_edits_and_commits(box, repo):
    write = "printf 'grüße\\n' >hello.txt && git add -A && git commit -qm 'Add hello'"
    ended = turn(box, repo, f"Please [[say: I will.]] [[run: {write}]] {SUBMIT % 'Added hello.txt ✓'}")
    assert (ended.exit_code, ended.verdict.success) == (0, True), (ended.verdict, ended.stderr)
    assert ended.reader.summary == "Added hello.txt ✓"
    assert ended.reader.usage["input_tokens"] == 22
    assert ended.reader.agent_session_id is None
    assert box.sh("git log --format=%s && cat hello.txt && git status --short", repo) == "Add hello\ninit\ngrüße\n"
    said, call, submitted, last, usage = entries_of(ended)
    assert (said.text, call.tool.status, submitted.kind) == ("I will.", ToolStatus.COMPLETED, EntryKind.TOOL_CALL)
    assert (last.kind, last.text) == (EntryKind.ASSISTANT, "Added hello.txt ✓")
    assert usage.kind is EntryKind.USAGE


def test_a_failing_command_is_a_failed_call(box, repo):
    ended = turn(box, repo, f"[[run: echo oh no; exit 3]] {SUBMIT % 'it failed'}")
    assert (ended.verdict.success, ended.reader.summary) == (True, "it failed")
    first = next(entry.tool for entry in entries_of(ended) if entry.tool)
    assert first.status is ToolStatus.FAILED
    assert "oh no" in first.result


def test_a_long_prompt_arrives_whole(box, repo):
    prompt = "wörd \u2028" * 60_000 + SUBMIT % "read it"
    ended = turn(box, repo, prompt)
    assert (ended.verdict.success, ended.reader.summary) == (True, "read it"), ended.stderr
    assert requests_of(box.container)[-1]["prompt_bytes"] >= len(prompt)


@pytest.mark.parametrize("status", [400, 401])
def test_an_error_of_the_model_fails_the_turn(box, repo, status):
    ended = turn(box, repo, f"{repo} [[run: echo x]] [[error: {status}]]")
    assert (ended.exit_code, ended.verdict.reason) == (1, Reason.AGENT_ERROR)
    assert f"scripted error {status}" in ended.verdict.message
    assert ("OPENAI_API_KEY" in ended.verdict.message) == (status == 401)


def test_a_passing_fault_does_not(box, repo):
    ended = turn(box, repo, f"{repo} [[error: 500 x1]] {SUBMIT % 'recovered'}")
    assert (ended.verdict.success, ended.reader.summary) == (True, "recovered"), ended.verdict


def test_a_limit_fails_the_turn_in_spite_of_exit_code_0(box, repo):
    ended = turn(box, repo, "[[run: echo a]] [[run: echo b]]", args=("-c", "agent.step_limit=1"))
    assert (ended.exit_code, ended.verdict.reason) == (0, Reason.AGENT_ERROR)
    assert ended.verdict.message == "LimitsExceeded"


def test_sigterm_ends_it_with_143_and_what_it_did_is_told(box, repo):
    def stop(piece: bytes) -> None:
        if b"(step 2" in piece:
            box.container.exec_run(["pkill", "-TERM", "-f", "mini --yolo"], user=f"{UID}")

    ended = turn(box, repo, "[[say: thinking]] [[run: echo x]] [[run: exec tail -f /dev/null]]", watch=stop)
    assert (ended.exit_code, ended.verdict.reason) == (143, Reason.EXIT_CODE)
    assert ended.reader.summary == "thinking"
    assert ended.reader.usage["turns"] >= 1
    box.container.exec_run(["pkill", "-KILL", "-x", "tail"], user=str(UID))


def test_it_runs_as_root(box, repo):
    ended = turn(box, repo, SUBMIT % "as root", as_root=True, env={"HOME": "/tmp/root-home"})
    assert (ended.verdict.success, ended.reader.summary) == (True, "as root"), ended.stderr


def test_a_refusal_to_start_is_an_exit_code(box, repo):
    assert turn(box, repo, "x", args=("--no-such-option",)).verdict.reason is Reason.EXIT_CODE
    assert turn(box, repo, "x", command="/opt/none/mini").exit_code == 127
