"""The real Qwen against a scripted model, in a container without a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pytest

from relay_core.domain.agents.conversation import EntryKind
from tests.support.agent_cases import AgentCases, LineLogCases, entries_of
from tests.support.executor_fixtures import AgentBox, agent_box

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("qwen", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "OPENAI_BASE_URL": f"{box.url}/v1", "OPENAI_API_KEY": "test"}
        yield box


class TestQwen(AgentCases, LineLogCases):
    executor = "qwen"
    unknown_session = str(uuid4())
    usage: ClassVar = {"input_tokens": 22, "output_tokens": 14}
    process = "qwen"

    def test_a_written_file_is_an_edit(self, box, repo):
        file = json.dumps({"file_path": f"{repo}/a.txt", "content": "hi"})
        ended = self.turn(box, repo, f"[[tool: write_file {file}]] [[say: written]]")
        assert (ended.verdict.success, ended.reader.summary) == (True, "written")
        edits = [entry.tool.paths for entry in entries_of(ended) if entry.kind is EntryKind.FILE_EDIT]
        assert edits == [(f"{repo}/a.txt",)]
        assert box.sh("cat a.txt", repo).strip() == "hi"

    def test_plan_writes_nothing(self, box, repo):
        file = json.dumps({"file_path": f"{repo}/plan.txt", "content": "x"})
        prompt = f"[[run: echo x >shell.txt]] [[tool: write_file {file}]] [[say: My plan]]"
        ended = self.turn(box, repo, prompt, permission_mode="plan")
        assert box.sh("ls", repo) == ""
        assert (ended.verdict.success, ended.reader.summary) == (True, "My plan"), ended.verdict

    def test_the_search_that_it_brings_runs(self, box, repo):
        """Its package has lost the x bit."""
        found = box.sh("find /opt/agents/qwen -type f -name rg", repo).split()
        assert found
        machine = {"x86_64": "x64", "aarch64": "arm64"}[box.sh("uname -m", repo).strip()]
        (mine,) = [path for path in found if f"{machine}-linux" in path]
        assert box.sh(f"{mine} --version | head -1", repo).startswith("ripgrep ")
        assert box.sh("find /opt/agents/qwen -type f -name rg ! -perm -111", repo) == ""
