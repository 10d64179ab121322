"""What every coding agent has to show with its real program: a test module subclasses `AgentCases` for each."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import ClassVar
from uuid import uuid4

import pytest

from relay_core.domain.agents.conversation import Entry, EntryKind, ToolStatus
from relay_core.domain.uploaded_images import DIRECTORY, with_images
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.line_logs import line_logs
from relay_workers.agents.port import TurnRequest
from tests.support.executor_fixtures import UID, AgentBox, Turn
from tests.support.model_server.in_container import requests_of
from tests.support.pictures import png
from tests.support.torn import cut_torn_lines

BUSY = "[[run: echo begun; touch /tmp/begun; exec tail -f /dev/null]]"


def entries_of(turn: Turn) -> list[Entry]:
    """The conversation as it stood at the end."""
    return sorted(turn.reader.entries(), key=lambda entry: entry.index)


class AgentCases:
    """Give it a fixture ``box`` whose env leads to the scripted model."""

    executor: ClassVar[str]
    given: ClassVar[Mapping[str, str]] = {"model": "scripted"}
    unknown_session: ClassVar[str]
    key_words: ClassVar[str] = "OPENAI_API_KEY"
    usage: ClassVar[Mapping[str, float]]
    """Of a turn of two requests to the model."""
    process: ClassVar[str]
    """What pkill -f finds the program by."""

    @pytest.fixture
    def repo(self, box: AgentBox) -> str:
        return box.repo(f"r{uuid4().hex[:8]}")

    def turn(self, box, repo, prompt, *, env=None, watch=None, **more) -> Turn:
        return box.run(self.executor, TurnRequest(prompt, **{**self.given, **more}), repo, env, watch)

    def test_it_edits_commits_and_goes_on_in_the_next_turn(self, box, repo):
        write = (
            "printf 'grüße\\n' >hello.txt && git add -A && git commit -qm 'Add hello' && git status --short && echo ok"
        )
        first = self.turn(box, repo, f"Please [[say: I will.]] [[run: {write}]] [[say: Added hello.txt ✓]]")
        assert first.verdict.success, (first.verdict, first.stderr)
        assert first.exit_code == 0
        assert first.reader.summary == "Added hello.txt ✓"
        assert {name: first.reader.usage.get(name) for name in self.usage} == self.usage
        assert box.sh("git log --format=%s && cat hello.txt && git status --short", repo) == "Add hello\ninit\ngrüße\n"
        said, call, answer, usage = [each for each in entries_of(first) if each.kind is not EntryKind.NOTICE]
        assert (said.kind, said.text) == (EntryKind.ASSISTANT, "I will.")
        assert (call.kind, call.tool.status) == (EntryKind.TOOL_CALL, ToolStatus.COMPLETED)
        assert "git commit" in call.tool.input
        assert "ok" in call.tool.result
        assert (answer.text, usage.kind) == ("Added hello.txt ✓", EntryKind.USAGE)

        session = first.reader.agent_session_id
        second = self.turn(box, repo, "And again", resume_session_id=session)
        assert (second.verdict.success, second.reader.summary) == (True, "DONE history=2 result=none")
        assert second.reader.agent_session_id == session
        assert second.reader.usage["input_tokens"] == 11

    def test_a_long_prompt_arrives_whole(self, box, repo):
        prompt = "word " * 60_000 + "[[say: read it]]"
        ended = self.turn(box, repo, prompt)
        assert (ended.verdict.success, ended.reader.summary) == (True, "read it"), ended.stderr
        main = [asked for asked in requests_of(box.container) if asked["tools"]][-1]
        assert main["prompt_bytes"] >= len(prompt)

    def test_an_image_of_the_task_reaches_the_model(self, box, repo):
        names, shown = ("shot-1.png", "shot-2.png"), [png(16, 16, shade=shade) for shade in (10, 20)]
        folder = box.folder("repos", repo.rpartition("/")[2], DIRECTORY)
        for name, data in zip(names, shown, strict=True):
            (folder / name).write_bytes(data)
        wanted = {hashlib.sha256(data).hexdigest() for data in shown}

        def seen(prompt: str, some: Sequence[str], session: str | None = None) -> tuple[Turn, set[str]]:
            paths = tuple(f"{DIRECTORY}/{name}" for name in some)
            text = with_images(prompt, [(name, f"{repo}/{DIRECTORY}/{name}") for name in some])
            ended = self.turn(box, repo, text, images=paths, resume_session_id=session)
            return ended, set([asked for asked in requests_of(box.container) if asked["tools"]][-1]["images"])

        first, found = seen("Look [[say: saw one]]", names[:1])
        assert (first.verdict.success, first.reader.summary) == (True, "saw one"), first.stderr
        assert len(found & wanted) == 1
        again, found = seen("Look again [[say: saw two]]", names[1:], first.reader.agent_session_id)
        assert (again.verdict.success, again.reader.summary) == (True, "saw two"), again.stderr
        assert found >= wanted

    def test_a_failing_command_is_a_failed_call(self, box, repo):
        ended = self.turn(box, repo, "[[run: echo oh no; exit 3]] [[say: it failed]]")
        assert (ended.verdict.success, ended.reader.summary) == (True, "it failed")
        calls = [entry.tool for entry in entries_of(ended) if entry.tool]
        assert [call.status for call in calls] == [ToolStatus.FAILED]
        assert "oh no" in calls[0].result

    @pytest.mark.parametrize("status", [400, 401])
    def test_an_error_of_the_model_fails_the_turn_and_the_conversation_goes_on(self, box, repo, status):
        ended = self.turn(box, repo, f"{repo} [[run: echo x]] [[error: {status}]]")
        assert ended.exit_code == 1
        assert ended.verdict.reason is Reason.AGENT_ERROR
        assert f"scripted error {status}" in ended.verdict.message
        assert (self.key_words in ended.verdict.message) == (status == 401)
        assert EntryKind.ERROR in {entry.kind for entry in entries_of(ended)}
        again = self.turn(box, repo, "Once more", resume_session_id=ended.reader.agent_session_id)
        assert (again.verdict.success, again.reader.summary) == (True, "DONE history=2 result=none")

    @pytest.mark.parametrize("fault", ["error: 500 x2", "drop: x1"])
    def test_a_passing_fault_does_not(self, box, repo, fault):
        ended = self.turn(box, repo, f"{repo} [[{fault}]] [[say: recovered]]")
        assert (ended.exit_code, ended.verdict.success, ended.reader.summary) == (0, True, "recovered"), ended.verdict

    def test_a_conversation_that_is_not_there_is_told(self, box, repo):
        ended = self.turn(box, repo, "Hello", resume_session_id=self.unknown_session)
        assert ended.exit_code == 1
        assert ended.verdict.reason is Reason.CANNOT_RESUME, ended.stderr
        assert ended.reader.agent_session_id is None

    @pytest.mark.parametrize("busy", [BUSY, "[[run: touch /tmp/begun]] [[stall: 600]]"])
    def test_sigterm_ends_it_and_it_can_be_resumed(self, box, repo, busy):
        box.container.exec_run(["rm", "-f", "/tmp/begun"], user="0")
        kill = f"until [ -e /tmp/begun ]; do sleep 0.1; done; sleep 1; pkill -TERM -f '{self.process}'"
        box.container.exec_run(["sh", "-c", kill], user=str(UID), detach=True)
        ended = self.turn(box, repo, f"[[say: thinking]] {busy}")
        assert ended.exit_code == 143
        assert ended.verdict.reason is Reason.EXIT_CODE
        assert ended.reader.summary == "thinking"
        assert all(entry.tool.status is not ToolStatus.RUNNING for entry in entries_of(ended) if entry.tool)
        box.container.exec_run(["pkill", "-KILL", "-x", "tail"], user=str(UID))
        resumed = self.turn(box, repo, "Go on", resume_session_id=ended.reader.agent_session_id)
        assert resumed.verdict.success, (resumed.verdict, resumed.stderr)
        assert resumed.reader.summary.startswith("DONE history=2")

    def test_it_runs_as_root(self, box, repo):
        ended = self.turn(box, repo, "[[run: id -u]]", as_root=True, env={"HOME": "/tmp/root-home"})
        assert ended.verdict.success, (ended.verdict, ended.stderr)
        assert [entry.tool.result.strip()[:1] for entry in entries_of(ended) if entry.tool]

    def test_a_refusal_to_start_is_an_exit_code(self, box, repo):
        ended = self.turn(box, repo, "x", args=("--no-such-option",))
        assert ended.verdict.reason is Reason.EXIT_CODE
        missing = self.turn(box, repo, "x", command="/opt/none/agent")
        assert (missing.exit_code, missing.verdict.reason) == (127, Reason.EXIT_CODE)


class LineLogCases:
    """Of an agent that keeps its conversations as lines of JSON (`relay_workers.agents.line_logs`), beside `AgentCases`."""

    executor: ClassVar[str]

    def test_it_goes_on_after_a_torn_last_line_was_set_aside(self, box, repo):
        turn = {"model": "scripted"}
        first = box.run(self.executor, TurnRequest("Remember this", **turn), repo)
        session = first.reader.agent_session_id
        assert first.verdict.success, first.stderr
        [pattern] = line_logs(self.executor, session)
        [file] = (box.root / "home").glob("/".join(pattern))
        whole = file.read_bytes()
        with file.open("ab") as log:
            log.write(b'{"type":"user","message":{"role":"us')
        [torn] = cut_torn_lines(box.root, ["home"], pattern, UID if os.geteuid() == 0 else None)
        assert (torn.offset, torn.line, file.read_bytes()) == (len(whole), whole.count(b"\n") + 1, whole)
        again = box.run(self.executor, TurnRequest("And now?", resume_session_id=session, **turn), repo)
        assert (again.verdict.success, again.reader.summary) == (True, "DONE history=2 result=none"), again.stderr
