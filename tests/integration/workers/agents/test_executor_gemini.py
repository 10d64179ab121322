"""The real Gemini CLI against a scripted model, in a container without a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pytest

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.vocabulary import Reason
from tests.support.agent_cases import AgentCases, LineLogCases, entries_of
from tests.support.executor_fixtures import UID, AgentBox, agent_box

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("gemini", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "GOOGLE_GEMINI_BASE_URL": box.url, "GEMINI_API_KEY": "test"}
        yield box


class TestGemini(AgentCases, LineLogCases):
    executor = "gemini"
    unknown_session = str(uuid4())
    usage: ClassVar = {"input_tokens": 22, "output_tokens": 14}

    def test_a_failing_command_is_a_failed_call(self, box, repo):
        """Its lines tell the exit code of a command without output only."""
        ended = self.turn(box, repo, "[[run: echo oh no; exit 3]] [[run: exit 3]] [[say: it failed]]")
        assert (ended.verdict.success, ended.reader.summary) == (True, "it failed")
        spoken, silent = [entry.tool for entry in entries_of(ended) if entry.tool]
        assert (spoken.status, spoken.result) == (ToolStatus.COMPLETED, "oh no")
        assert (silent.status, silent.result) == (ToolStatus.FAILED, "Command exited with code: 3")

    def test_a_file_it_writes_is_an_edit(self, box, repo):
        given = json.dumps({"file_path": f"{repo}/a.txt", "content": "x"})
        ended = self.turn(box, repo, f"[[tool: write_file {given}]] [[say: written]]")
        edit = entries_of(ended)[0]
        assert (edit.kind, edit.tool.status) == (EntryKind.FILE_EDIT, ToolStatus.COMPLETED)
        assert edit.tool.paths == (f"{repo}/a.txt",)
        assert box.sh("cat a.txt", repo) == "x"

    @pytest.mark.parametrize("status", [400, 401])
    def test_an_error_of_the_model_fails_the_turn_and_the_conversation_goes_on(self, box, repo, status):
        # Of a resumed conversation it leaves out what begins with a slash.
        ended = self.turn(box, repo, f"In {repo} [[run: echo x]] [[error: {status}]]")
        assert ended.exit_code == status % 256
        assert ended.verdict.reason is Reason.AGENT_ERROR
        assert f"scripted error {status}" in ended.verdict.message
        assert ("GEMINI_API_KEY" in ended.verdict.message) == (status == 401)
        assert EntryKind.ERROR in {entry.kind for entry in entries_of(ended)}
        again = self.turn(box, repo, "Once more", resume_session_id=ended.reader.agent_session_id)
        assert (again.verdict.success, again.reader.summary) == (True, "DONE history=2 result=none")

    @pytest.mark.parametrize("fault", ["error: 500 x2"])
    def test_a_passing_fault_does_not(self, box, repo, fault):
        super().test_a_passing_fault_does_not(box, repo, fault)

    def test_a_connection_that_breaks_off_fails_the_turn(self, box, repo):
        ended = self.turn(box, repo, f"{repo} [[drop: x1]] [[say: recovered]]")
        assert (ended.exit_code, ended.verdict.reason) == (1, Reason.AGENT_ERROR)
        assert "API Error" in ended.verdict.message

    def test_going_in_circles_fails_the_turn(self, box, repo):
        ended = self.turn(box, repo, f"[[say: {'The same words again and again. ' * 400}]]")
        assert (ended.exit_code, ended.verdict.reason) == (0, Reason.AGENT_ERROR)
        assert ended.verdict.message == "Loop detected, stopping execution"

    def test_a_conversation_that_is_not_there_is_told(self, box, repo):
        ended = self.turn(box, repo, "Hello", resume_session_id=self.unknown_session)
        assert (ended.exit_code, ended.verdict.reason) == (42, Reason.CANNOT_RESUME), ended.stderr
        assert ended.reader.agent_session_id is None

    @pytest.mark.parametrize("busy", ["[[run: echo begun; exec tail -f /dev/null]]", "[[stall: 600]]"])
    def test_sigterm_ends_it_and_it_can_be_resumed(self, box, repo, busy):
        # The signal follows the last line before the silence.
        sign = b'"tool_use"' if "tail" in busy else b'"thinking"'

        def stop(piece: bytes) -> None:
            if sign in piece:
                box.container.exec_run(["pkill", "-TERM", "-x", "node|gemini"], user=f"{UID}")

        ended = self.turn(box, repo, f"[[say: thinking]] [[run: echo x]] {busy}", watch=stop)
        assert ended.exit_code == 0
        assert ended.verdict.reason is Reason.AGENT_ERROR
        assert "without a result line" in ended.verdict.message
        box.container.exec_run(["pkill", "-KILL", "-x", "tail"], user=str(UID))
        resumed = self.turn(box, repo, "Go on", resume_session_id=ended.reader.agent_session_id)
        assert resumed.verdict.success, (resumed.verdict, resumed.stderr)
        assert resumed.reader.summary.startswith("DONE history=2")

    def test_tool_output_of_megabytes_is_one_line_and_is_understood(self, box, repo):
        ended = self.turn(box, repo, "[[run: seq 1 400000]] [[say: counted]]")
        assert (ended.verdict.success, ended.reader.summary) == (True, "counted")
        call = entries_of(ended)[0]
        assert (call.truncated, call.tool.result[:4]) == (True, "1\n2\n")

    def test_plan_writes_nothing(self, box, repo):
        file = json.dumps({"file_path": f"{repo}/plan.txt", "content": "x"})
        run = json.dumps({"command": "echo x >shell.txt"})
        prompt = f"[[tool: run_shell_command {run}]] [[tool: write_file {file}]] [[say: My plan]]"
        ended = self.turn(box, repo, prompt, permission_mode="plan")
        assert (ended.verdict.success, ended.reader.summary) == (True, "My plan")
        assert box.sh("ls", repo) == ""

    def test_without_a_key_it_says_what_to_do(self, box, repo):
        ended = self.turn(box, repo, "Hello", env={"GEMINI_API_KEY": "", "HOME": "/tmp/no-key"})
        assert (ended.exit_code, ended.verdict.reason) == (41, Reason.AGENT_ERROR)
        assert "GEMINI_API_KEY" in ended.verdict.message

    def test_settings_of_the_user_stay(self, box, repo):
        home = "/tmp/own-settings"
        own = '{"security":{"auth":{"selectedType":"gemini-api-key"}},"ui":{"hideTips":true}}'
        box.sh(f"mkdir -p {home}/.gemini && echo '{own}' >{home}/.gemini/settings.json")
        assert self.turn(box, repo, "[[say: hi]]", env={"HOME": home}).reader.summary == "hi"
        assert json.loads(box.sh(f"cat {home}/.gemini/settings.json"))["ui"] == {"hideTips": True}
