"""The real Claude Code against a scripted model, in a container without a network."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relay_core.domain.uploaded_images import DIRECTORY, with_images
from relay_core.domain.vocabulary import Reason
from relay_stack.images.own_images import BASE_TAG
from relay_workers.agents import programs
from relay_workers.agents.port import TurnRequest
from relay_workers.host_files.safe_dir import SafeDir
from tests.support.agent_cases import LineLogCases
from tests.support.executor_fixtures import UID, AgentBox, agent_box
from tests.support.model_server.in_container import requests_of
from tests.support.pictures import png

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("claude-code", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "ANTHROPIC_BASE_URL": box.url, "ANTHROPIC_API_KEY": "test"}
        yield box


@pytest.fixture
def repo(box: AgentBox) -> str:
    return box.repo(f"r{uuid4().hex[:8]}")


def turn(box, repo, prompt, **given):
    env = given.pop("env", None)
    watch = given.pop("watch", None)
    return box.run("claude-code", TurnRequest(prompt, **given), repo, env, watch)


def test_it_edits_commits_and_goes_on_in_the_next_turn(box, repo):
    write = "printf 'grüße\\n' >hello.txt && git add -A && git commit -qm 'Add hello' && git status --short"
    first = turn(box, repo, f"Please [[say: I will.]] [[run: {write}]] [[say: Added hello.txt ✓]]")
    assert (first.exit_code, first.verdict.success, first.stderr) == (0, True, "")
    assert first.reader.summary == "Added hello.txt ✓"
    assert first.reader.agent_message_id
    assert first.reader.usage["input_tokens"] == 22
    assert first.reader.usage["turns"] == 2
    assert box.sh("git log --format=%s && cat hello.txt", repo) == "Add hello\ninit\ngrüße\n"

    session = first.reader.agent_session_id
    second = turn(box, repo, "And again", resume_session_id=session)
    assert second.verdict.success
    assert second.reader.summary == "DONE history=2 result=none"
    assert second.reader.agent_session_id == session


def test_a_prompt_is_never_one_of_its_commands(box, repo):
    ended = turn(box, repo, "/exit code is wrong in main; fix it [[say: fixed]]")
    assert (ended.verdict.success, ended.reader.summary) == (True, "fixed")


def test_an_image_of_the_task_reaches_the_model(box, repo):
    data = png(16, 16)
    folder = box.root / "repos" / repo.rpartition("/")[2]
    with SafeDir.open(folder) as here:
        here.make_directory(DIRECTORY)
        with here.sub(DIRECTORY) as directory:
            directory.write_file("shot-1.png", data, UID if os.getuid() == 0 else None)
    path = f"{repo}/{DIRECTORY}/shot-1.png"
    prompt = with_images(f'[[tool: Read {{"file_path": "{path}"}}]] [[say: saw it]]', [("shot.png", path)])
    ended = turn(box, repo, prompt)
    assert (ended.verdict.success, ended.reader.summary) == (True, "saw it"), ended.stderr
    assert hashlib.sha256(data).hexdigest() in requests_of(box.container)[-1]["images"]


def test_an_effort_is_sent(box, repo):
    assert turn(box, repo, "Hello", reasoning_effort="high").verdict.success
    assert requests_of(box.container)[-1]["effort"] == "high"


def test_what_it_used_is_of_the_turn_with_its_subagents(box, repo):
    task = json.dumps(
        {"description": "look", "prompt": "{{run: echo inside}} {{say: sub done}}", "subagent_type": "general-purpose"}
    )
    asked = len(requests_of(box.container))
    first = turn(box, repo, f"[[tool: Agent {task}]] [[say: main done]]")
    assert first.verdict.success, first.verdict
    requests = len(requests_of(box.container)) - asked
    assert requests >= 4
    assert first.reader.usage["input_tokens"] == 11 * requests
    assert first.reader.usage["output_tokens"] == 7 * requests
    agents = {entry.agent for entry in first.reader.entries() if entry.agent}
    assert agents == {"general-purpose: look"}
    again = turn(box, repo, "Again", resume_session_id=first.reader.agent_session_id)
    assert again.reader.usage["input_tokens"] == 11
    assert again.reader.usage["cost_usd"] == pytest.approx(first.reader.usage["cost_usd"] / requests)


def test_a_long_prompt_arrives_whole(box, repo):
    prompt = "word " * 60_000 + "[[say: read it]]"
    ended = turn(box, repo, prompt)
    assert (ended.verdict.success, ended.reader.summary) == (True, "read it")
    assert requests_of(box.container)[-1]["prompt_bytes"] == len(prompt)


def test_an_answer_of_megabytes_is_one_line_and_is_understood(box, repo):
    ended = turn(box, repo, "[[flood: 5000000]]")
    assert ended.verdict.success
    assert ended.reader.summary.startswith("00000000000\n00000000001\n")


@pytest.mark.parametrize(
    ("fault", "words"),
    [("error: 400", "400 scripted"), ("error: 401", "ANTHROPIC_API_KEY"), ("error: 529", "529 scripted")],
)
def test_an_error_of_the_model_fails_the_turn(box, repo, fault, words):
    ended = turn(box, repo, f"{repo} [[run: echo x]] [[{fault}]]", env={"CLAUDE_CODE_MAX_RETRIES": "1"})
    assert ended.exit_code == 1
    assert ended.verdict.reason is Reason.AGENT_ERROR
    assert words in ended.verdict.message
    assert ended.reader.agent_session_id


@pytest.mark.parametrize("fault", ["error: 500 x1", "drop: x1"])
def test_a_passing_fault_does_not(box, repo, fault):
    ended = turn(box, repo, f"{repo} [[{fault}]] [[say: recovered]]")
    assert (ended.exit_code, ended.verdict.success, ended.reader.summary) == (0, True, "recovered")


def test_a_conversation_goes_on_after_an_error(box, repo):
    failed = turn(box, repo, "[[error: 400]]")
    ended = turn(box, repo, "Once more", resume_session_id=failed.reader.agent_session_id)
    assert (ended.verdict.success, ended.reader.summary) == (True, "DONE history=2 result=none")


def test_without_a_key_it_says_what_to_do(box, repo):
    ended = turn(box, repo, "Hello", env={"ANTHROPIC_API_KEY": ""})
    assert ended.exit_code == 1
    assert "Not logged in" in ended.verdict.message
    assert "ANTHROPIC_API_KEY" in ended.verdict.message


def test_a_conversation_that_is_not_there_is_named(box, repo):
    ended = turn(box, repo, "Hello", resume_session_id=str(uuid4()))
    assert ended.verdict.reason is Reason.CANNOT_RESUME
    assert "No conversation found" in ended.verdict.message
    assert ended.reader.agent_session_id is None


@pytest.mark.parametrize("busy", ["[[run: echo begun; exec tail -f /dev/null]]", "[[run: echo begun]] [[stall: 600]]"])
def test_sigterm_ends_it_with_143_and_it_can_be_resumed(box, repo, busy):
    # The signal follows the last line before the silence: the call where its program runs on, else its result.
    sign = b'"stop_reason":"tool_use"' if "tail" in busy else b'"tool_result"'

    def stop(piece: bytes) -> None:
        if sign in piece:
            box.container.exec_run(["pkill", "-TERM", "-x", "claude"], user=f"{UID}")

    ended = turn(box, repo, f"[[say: thinking]] {busy}", watch=stop)
    assert ended.exit_code == 143
    assert ended.verdict.reason is Reason.EXIT_CODE
    assert ended.reader.summary == "thinking"
    assert ended.reader.agent_message_id is None
    resumed = turn(box, repo, "Go on", resume_session_id=ended.reader.agent_session_id)
    assert resumed.verdict.success
    assert "history=" in resumed.reader.summary


def test_plan_writes_nothing(box, repo):
    file = json.dumps({"file_path": f"{repo}/plan.txt", "content": "x"})
    ended = turn(
        box, repo, f"[[run: echo x >shell.txt]] [[tool: Write {file}]] [[say: My plan]]", permission_mode="plan"
    )
    assert (ended.verdict.success, ended.reader.summary) == (True, "My plan")
    assert box.sh("ls", repo) == ""


def test_it_runs_as_root(box, repo):
    env = {"HOME": "/tmp/root-home"}
    assert turn(box, repo, "[[say: as root]]", as_root=True, env=env).reader.summary == "as root"


def test_a_refusal_to_start_is_an_exit_code(box, repo):
    ended = turn(box, repo, "x", command="claude --no-such-option")
    assert ended.verdict.reason is Reason.EXIT_CODE
    assert "no-such-option" in ended.stderr
    assert "unknown option '--no-such-option'" in ended.verdict.message
    missing = turn(box, repo, "x", command="/opt/none/claude")
    assert (missing.exit_code, missing.verdict.reason) == (127, Reason.EXIT_CODE)
    assert "could not be started" in missing.verdict.message


def test_the_probe_tells_which_image_has_the_program(box):
    asked = programs.probe(["claude", "node", "npm", "/bin/sh"])
    assert box.container.exec_run(asked) == (0, b"")
    found = box.container.client.containers.run(BASE_TAG, asked, remove=True, network_mode="none")
    assert found == b"claude\n"


def test_the_shell_executor_in_the_same_container(box, repo):
    wrote = box.run("shell", TurnRequest("grüße\n" * 40_000, command="cat >in.txt; wc -l <in.txt; echo"), repo)
    assert (wrote.verdict.success, wrote.reader.summary) == (True, "40000")
    failed = box.run("shell", TurnRequest("x", command="echo no luck\nexit 3"), repo)
    assert (failed.exit_code, failed.verdict.reason, failed.reader.summary) == (3, Reason.EXIT_CODE, "no luck")
    assert (box.root / Path(repo).relative_to("/workspace") / "in.txt").stat().st_uid == UID


def test_it_goes_on_at_an_earlier_message(box, repo):
    first = turn(box, repo, "The first [[say: one]]")
    session = first.reader.agent_session_id
    second = turn(box, repo, "The second [[say: two]]", resume_session_id=session)
    assert second.reader.summary == "two"
    back = turn(box, repo, "And again", resume_session_id=session, resume_message_id=first.reader.agent_message_id)
    assert back.verdict.success, back.stderr
    assert back.reader.summary == "DONE history=2 result=none", "the second turn is forgotten"


class TestConversationFile(LineLogCases):
    executor = "claude-code"
