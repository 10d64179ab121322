"""A real agent that speaks the Agent Client Protocol, against a scripted model, in a container without a network."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_workers.agents import programs
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor
from tests.support.executor_fixtures import UID, AgentBox, agent_box

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
AGENT = "claude-agent-acp"


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box(AGENT, services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "ANTHROPIC_BASE_URL": box.url, "ANTHROPIC_API_KEY": "test"}
        yield box


@pytest.fixture
def repo(box: AgentBox) -> str:
    return box.repo(f"r{uuid4().hex[:8]}")


def turn(box, repo, prompt, *, env=None, watch=None, **given):
    return box.run("acp", TurnRequest(prompt, given.pop("command", AGENT), **given), repo, env, watch)


def entries(ended):
    return {entry.index: entry for entry in ended.reader.entries()}.values()


def test_it_edits_commits_and_goes_on_in_the_next_turn(box, repo):
    write = "printf 'grüße\\n' >hello.txt && git add -A && git commit -qm 'Add hello' && git status --short"
    first = turn(box, repo, f"Please [[say: I will.]] [[run: {write}]] [[say: Added hello.txt ✓]]")
    assert (first.exit_code, first.verdict) == (0, first.verdict.__class__(success=True))
    assert first.reader.summary == "Added hello.txt ✓"
    assert first.reader.usage["input_tokens"] > 0
    assert box.sh("git log --format=%s && cat hello.txt", repo) == "Add hello\ninit\ngrüße\n"
    told = [entry for entry in entries(first) if entry.kind is not EntryKind.USAGE]
    assert [entry.kind for entry in told] == [EntryKind.ASSISTANT, EntryKind.TOOL_CALL, EntryKind.ASSISTANT]
    assert told[1].tool.status is ToolStatus.COMPLETED
    assert "hello.txt" in told[1].tool.input

    session = first.reader.agent_session_id
    second = turn(box, repo, "And again", resume_session_id=session)
    assert second.verdict.success, second
    assert second.reader.summary == "DONE history=2 result=none"
    assert second.reader.agent_session_id == session


def test_a_conversation_that_is_not_there_is_never_a_new_one(box, repo):
    ended = turn(box, repo, "[[run: touch x]]", resume_session_id=str(uuid4()))
    assert (ended.exit_code, ended.verdict.reason) == (1, Reason.CANNOT_RESUME)
    assert ended.reader.agent_session_id is None
    assert box.sh("ls", repo) == ""


@pytest.mark.parametrize("mode", ["plan", "reject"])
def test_what_is_not_permitted_is_not_done(box, repo, mode):
    ended = turn(box, repo, "[[run: echo x >shell.txt]] [[say: My plan]]", permission_mode=mode)
    assert box.sh("ls", repo) == "", ended
    assert ended.verdict.success, ended
    tool = next(entry.tool for entry in entries(ended) if entry.tool)
    assert tool.status is ToolStatus.FAILED


def test_an_error_of_the_model_fails_the_turn_in_its_words(box, repo):
    ended = turn(box, repo, f"{repo} [[error: 400]]", env={"CLAUDE_CODE_MAX_RETRIES": "1"})
    assert (ended.exit_code, ended.verdict.reason) == (1, Reason.AGENT_ERROR), ended
    assert "400 scripted" in ended.verdict.message


def test_an_answer_of_megabytes(box, repo):
    ended = turn(box, repo, "[[flood: 5000000]]")
    assert ended.verdict.success, ended
    assert ended.reader.summary.startswith("00000000000\n00000000001\n")


def test_sigterm_ends_it_and_it_can_be_resumed(box, repo):
    def stop(piece: bytes) -> None:
        if b'"tool_call"' in piece:
            box.container.exec_run(["pkill", "-TERM", "-f", "acp/bin/python -IB"], user=f"{UID}")

    ended = turn(box, repo, "[[say: thinking]] [[run: echo begun; exec tail -f /dev/null]]", watch=stop)
    assert (ended.exit_code, ended.verdict.reason, ended.reader.summary) == (143, Reason.EXIT_CODE, "thinking")
    assert box.container.exec_run(["pgrep", "-f", AGENT]).exit_code == 1
    resumed = turn(box, repo, "Go on", resume_session_id=ended.reader.agent_session_id)
    assert resumed.verdict.success, resumed
    assert "history=" in resumed.reader.summary


def test_the_probe_tells_that_all_is_there(box):
    asked = programs.probe(get_executor("acp").required_programs(TurnRequest("x", AGENT)))
    assert box.container.exec_run(asked) == (0, b"")
