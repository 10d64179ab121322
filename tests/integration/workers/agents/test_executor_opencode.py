"""The real OpenCode against a scripted model, in a container without a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from relay_core.domain.agents.conversation import EntryKind
from tests.support.agent_cases import AgentCases, entries_of
from tests.support.executor_fixtures import AgentBox, agent_box
from tests.support.model_server.in_container import requests_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("opencode", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "OPENAI_BASE_URL": f"{box.url}/v1", "OPENAI_API_KEY": "test"}
        yield box


class TestOpenCode(AgentCases):
    executor = "opencode"
    unknown_session = "ses_4a1B"
    usage: ClassVar = {"input_tokens": 22, "output_tokens": 14}
    process = "opencode"
    key_words = "valid key"

    def test_a_written_file_is_an_edit(self, box, repo):
        file = json.dumps({"filePath": f"{repo}/a.txt", "content": "hi"})
        ended = self.turn(box, repo, f"[[tool: write {file}]] [[say: written]]", reasoning_effort="high")
        assert (ended.verdict.success, ended.reader.summary) == (True, "written")
        edits = [entry.tool.paths for entry in entries_of(ended) if entry.kind is EntryKind.FILE_EDIT]
        assert edits == [(f"{repo}/a.txt",)]
        assert box.sh("cat a.txt", repo).strip() == "hi"
        assert [asked["effort"] for asked in requests_of(box.container) if asked["tools"]][-1] == "high"

    def test_a_key_may_hold_a_quote(self, box, repo):
        ended = self.turn(box, repo, "[[say: heard]]", env={"OPENAI_API_KEY": 'te"st'})
        assert (ended.verdict.success, ended.reader.summary) == (True, "heard"), ended.stderr

    def test_plan_writes_nothing(self, box, repo):
        file = json.dumps({"filePath": f"{repo}/plan.txt", "content": "x"})
        prompt = f"[[run: echo x >shell.txt]] [[tool: write {file}]] [[say: My plan]]"
        ended = self.turn(box, repo, prompt, permission_mode="plan")
        assert box.sh("ls", repo) == ""
        assert (ended.verdict.success, ended.reader.summary) == (True, "My plan"), ended.verdict
