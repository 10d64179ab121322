"""The real Codex against a scripted model, in a container without a network."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pytest

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.shared.command_line import FLUSH_NODE_OUTPUT
from tests.support.agent_cases import AgentCases, LineLogCases, entries_of
from tests.support.executor_fixtures import AgentBox, agent_box

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("codex", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "OPENAI_BASE_URL": f"{box.url}/v1", "OPENAI_API_KEY": "test"}
        yield box


class TestCodex(AgentCases, LineLogCases):
    executor = "codex"
    unknown_session = str(uuid4())
    usage: ClassVar = {"input_tokens": 22, "output_tokens": 14}
    process = "codex"

    def test_a_patch_is_an_edit(self, box, repo):
        patch = "apply_patch <<'END'\n*** Begin Patch\n*** Add File: a.txt\n+hi\n*** End Patch\nEND"
        ended = self.turn(box, repo, f"[[run: {patch}]] [[say: patched]]", reasoning_effort="high")
        assert (ended.verdict.success, ended.reader.summary) == (True, "patched")
        edits = [entry.tool.paths for entry in entries_of(ended) if entry.kind is EntryKind.FILE_EDIT]
        assert edits == [(f"{repo}/a.txt",)]
        assert box.sh("cat a.txt", repo) == "hi\n"

    def test_what_it_used_is_of_the_turn_also_where_that_failed(self, box, repo):
        usage = "[[usage: cached=100 reasoning=3]]"
        failed = self.turn(box, repo, f"[[run: echo a]] [[error: 400]] {usage}")
        one = {
            "input_tokens": 11,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 0,
            "output_tokens": 7,
            "reasoning_tokens": 3,
        }
        assert (failed.verdict.success, failed.reader.usage) == (False, one)
        again = self.turn(box, repo, f"Again {usage}", resume_session_id=failed.reader.agent_session_id)
        assert (again.verdict.success, again.reader.usage) == (True, one)

    def test_an_early_end_is_not_taken_for_a_missing_conversation(self, box, repo):
        ended = self.turn(box, repo, "x", resume_session_id=self.unknown_session, args=("--no-such-option",))
        assert ended.verdict.reason is Reason.EXIT_CODE
        assert "--no-such-option" in ended.verdict.message

    def test_its_environment_is_in_no_file_of_the_home(self, box, repo):
        key = f"key-{uuid4()}"
        box.env = {**box.env, "OPENAI_API_KEY": key}
        ended = self.turn(box, repo, "[[run: echo hello]] [[say: done]]")
        assert ended.verdict.success
        assert box.sh("find ~/.codex -name 'rollout-*' | head -1"), "it has written of this turn"
        assert box.sh(f"grep -rl {key} ~ || true") == ""


FLUSHED = """
export NODE_OPTIONS=--no-warnings
%s
cat >/tmp/child.js <<'END'
console.log("child " + process.env.NODE_OPTIONS)
END
cat >/tmp/cli.js <<'END'
require("child_process").spawnSync(process.execPath, ["/tmp/child.js"], {stdio: "inherit"})
process.stdout.write("x".repeat(1 << 20)); process.exit(0)
END
mkfifo /tmp/lagging
{ /opt/node/bin/node /tmp/cli.js >/tmp/lagging; touch /tmp/ended; } &
exec 3</tmp/lagging
while kill -0 $! 2>/dev/null && [ ! -e /tmp/full ]; do head -c 100 <&3 >>/tmp/seen; touch /tmp/full; done
cat <&3 >>/tmp/seen
head -1 /tmp/seen; tail -c +1 /tmp/seen | tr -d -c x | wc -c
"""


def test_a_program_on_node_that_ends_at_once_loses_no_output(box):
    """Run where Node.js is: what Gemini CLI and Qwen Code are started with."""
    assert box.sh(FLUSHED % FLUSH_NODE_OUTPUT.decode()).split() == ["child", "--no-warnings", str(1 << 20)]
