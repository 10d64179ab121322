"""A turn's conversation on real Postgres: kept while it is written, the same for whoever reads it, only its owner writes."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import Stale
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.logs.secret_forms import maskable
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import Reason, RunReason, Stream
from relay_core.store.executions import conversations
from relay_core.store.executions.claim import Claimed
from relay_core.store.logs.log_store import Append, LogStore
from relay_core.store.transaction import Database
from relay_workers.agents.claude_code.reader import ClaudeReader
from relay_workers.agents.codex.reader import CodexReader
from relay_workers.agents.port import TurnReader
from relay_workers.execution.agent_output import AgentOutput
from relay_workers.execution.agent_turn import AgentTurn
from relay_workers.execution.raw_output import RawOutput
from relay_workers.host_files.safe_dir import OpenFile, SafeDir
from tests.support.log_fixtures import running_execution
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[4]
SESSION = "0b8f8f4e-2d62-4a7b-9c1e-6f1d2a3b4c5d"


def line(kind: str, *blocks: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "session_id": SESSION, "message": {"content": list(blocks)}}).encode() + b"\n"


def said(words: str) -> bytes:
    return line("assistant", {"type": "text", "text": words})


CALL = line("assistant", {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}})
RESULT = line("user", {"type": "tool_result", "tool_use_id": "t1", "content": "a b"})
STEP = AgentStep(ExecutorChoice("claude-code"), "do it", "repos")
END = b'{"type":"result","subtype":"success","is_error":false,"result":"Done.","usage":{"input_tokens":3}}'


class Agent:
    """Writes stdout of an execution into the log store."""

    def __init__(self, database: Database) -> None:
        self.database, self.logs, self.owned = database, LogStore(database), running_execution(database)
        self.size = 0

    def writes(self, data: bytes) -> None:
        self.logs.append([Append(self.owned.id, self.owned.fence, Stream.STDOUT, self.size, data)])
        self.size += len(data)

    def prints(self, data: bytes, mask: SecretMask, folder: Path) -> None:
        """As its capture does: raw into the file, masked into the store."""
        with (folder / "stdout").open("ab") as file:
            file.write(data)
        self.writes(mask.data(data))

    def turn_with(self, reader: TurnReader, mask: SecretMask, folder: Path) -> AgentTurn:
        def open_log() -> OpenFile:
            with SafeDir.open(folder) as directory:
                return directory.open_file("stdout")

        own = self.owned.fence
        claimed = Claimed(
            self.owned.id, self.owned.id, self.owned.id, RunReason.CODING_AGENT, STEP, 1, own, ProcessHandle(0)
        )
        output = AgentOutput(self.logs, self.owned.id, RawOutput(open_log))
        return AgentTurn(self.database, claimed, reader, output, mask)

    def turn(self, fence: int | None = None) -> AgentTurn:
        own = self.owned.fence if fence is None else fence
        claimed = Claimed(
            self.owned.id, self.owned.id, self.owned.id, RunReason.CODING_AGENT, STEP, 1, own, ProcessHandle(0)
        )
        return AgentTurn(self.database, claimed, ClaudeReader(), AgentOutput(self.logs, self.owned.id))

    def rows(self) -> list[conversations.EntryRow]:
        with self.database.connect() as connection:
            return conversations.in_order(connection, self.owned.id, -1, 100)


@pytest.fixture
def agent(database: Database) -> Agent:
    return Agent(database)


def test_entries_are_there_while_the_turn_runs(agent: Agent):
    turn = agent.turn()
    turn.start()
    try:
        agent.writes(said("Hello") + CALL[:20])
        turn.grown.set()
        eventually(lambda: [row.kind for row in agent.rows()] == ["assistant"])
        agent.writes(CALL[20:])
        turn.grown.set()
        eventually(lambda: len(agent.rows()) == 2)
        assert agent.rows()[1].content["tool"]["status"] == "running"
        agent.writes(RESULT)
        turn.grown.set()
        eventually(lambda: agent.rows()[1].content["tool"]["status"] == "completed")
    finally:
        turn.close()
    agent.writes(END)
    verdict = turn.finish(agent.size, 0)
    assert verdict.success
    assert [row.kind for row in agent.rows()] == ["assistant", "tool_call", "usage"]


def test_an_adopter_keeps_the_same_entries(agent: Agent):
    agent.writes(said("Hello") + CALL)
    first = agent.turn()
    first.start()
    eventually(lambda: len(agent.rows()) == 2)
    first.close()
    before = agent.rows()
    agent.writes(RESULT + END)
    agent.turn().finish(agent.size, 0)
    after = agent.rows()
    assert after[0] == before[0], "what did not change is not written again"
    assert [row.entry for row in after] == [0, 1, 2]
    assert after[1].sequence > before[1].sequence
    with agent.database.connect() as connection:
        changed = conversations.changed(connection, agent.owned.id, before[1].sequence, 100)
    assert [row.entry for row in changed] == [1, 2]


def test_only_the_owner_writes(agent: Agent):
    agent.writes(said("Hello"))
    with pytest.raises(Stale):
        agent.turn(fence=agent.owned.fence + 1).finish(agent.size, 0)
    assert agent.rows() == []


def test_the_agents_session_is_known_before_the_end(agent: Agent):
    with agent.database.begin() as connection:
        connection.execute(
            text("INSERT INTO coding_agent_turns (id, execution_process_id, prompt) VALUES (:id, :id, 'do it')"),
            {"id": agent.owned.id},
        )
    agent.writes(said("Hello"))
    turn = agent.turn()
    turn.start()
    try:
        eventually(lambda: _session(agent) == SESSION)
    finally:
        turn.close()


def _session(agent: Agent) -> str | None:
    with agent.database.connect() as connection:
        return connection.scalar(text("SELECT agent_session_id FROM coding_agent_turns"))


def test_a_reader_that_breaks_does_not_end_the_run(agent: Agent, monkeypatch: pytest.MonkeyPatch):
    broken = threading.Event()
    understand = ClaudeReader.take_line

    def take_line(self: ClaudeReader, line: dict[str, Any]) -> None:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("a bug")
        understand(self, line)

    monkeypatch.setattr(ClaudeReader, "take_line", take_line)
    turn = agent.turn()
    agent.writes(said("Hello"))
    turn.start()
    assert broken.wait(10)
    agent.writes(END)
    assert turn.finish(agent.size, 0).success


def test_memory_is_bounded_by_the_longest_line_and_not_by_the_output():
    """100 MiB with lines of 5 MiB: growth far below the output, in a process of its own."""
    command = [sys.executable, "-m", "bench.normalise", "--mib", "100", "--only"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    largest = json.loads(done.stdout.splitlines()[-1])
    assert largest["mib"] >= 100
    assert largest["memory_growth_mib"] <= 64


def test_another_conversation_in_its_place_fails_the_turn_and_is_not_remembered(agent: Agent):
    agent.writes(said("Hello") + END)
    output = AgentOutput(agent.logs, agent.owned.id)
    claimed = Claimed(
        agent.owned.id,
        agent.owned.id,
        agent.owned.id,
        RunReason.CODING_AGENT,
        STEP,
        1,
        agent.owned.fence,
        ProcessHandle(0),
    )
    asked = SESSION.replace("0", "1")
    turn = AgentTurn(agent.database, claimed, ClaudeReader(), output, resumed=asked)
    verdict = turn.finish(agent.size, 0)
    assert (verdict.success, verdict.reason) == (False, Reason.CANNOT_RESUME)
    assert SESSION in (verdict.message or "")
    assert turn.agent_session_id is None
    same = AgentTurn(agent.database, claimed, ClaudeReader(), output, resumed=SESSION)
    assert same.finish(agent.size, 0).success


def test_nothing_is_kept_of_one_that_has_ended(agent: Agent):
    agent.writes(said("Hello"))
    with agent.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE execution_processes SET status = 'failed', reason = 'node_lost', completed_at = now() "
                "WHERE id = :id"
            ),
            {"id": agent.owned.id},
        )
    with pytest.raises(Stale):
        agent.turn().finish(agent.size, 0)


FRAMES = {
    "codex": (
        CodexReader,
        [
            {"type": "thread.started", "thread_id": SESSION},
            {"type": "turn.started"},
            {"type": "item.completed", "item": {"id": "1", "type": "agent_message", "text": "I am {secret}."}},
            {"type": "turn.completed", "usage": {"input_tokens": 3, "output_tokens": 1}},
        ],
    ),
    "claude": (
        ClaudeReader,
        [
            {
                "type": "assistant",
                "session_id": SESSION,
                "message": {"content": [{"type": "text", "text": "I am {secret}."}]},
            },
            {"type": "result", "subtype": "success", "is_error": False, "session_id": SESSION, "result": "ok"},
        ],
    ),
}
WORDS = ["completed", "turn.completed", "session_id", "thread_id", "assistant", "agent_message"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("agent_name", FRAMES)
def test_a_protocol_is_read_before_its_texts_are_masked(agent: Agent, tmp_path: Path, agent_name: str, word: str):
    """A word of the protocol is the secret: the stored log and the conversation mask it, and the turn is what it was."""
    reader, frames = FRAMES[agent_name]
    mask = SecretMask(maskable([word]))
    lines = [json.dumps(frame).replace("{secret}", word).encode() + b"\n" for frame in frames]
    agent.prints(lines[0], mask, tmp_path)
    first = agent.turn_with(reader(), mask, tmp_path)
    first.start()
    first.close()
    for one in lines[1:]:
        agent.prints(one, mask, tmp_path)
    turn = agent.turn_with(reader(), mask, tmp_path)  # the worker that takes over
    verdict = turn.finish(agent.size, 0)
    assert verdict.success, verdict.message
    assert turn.agent_session_id == SESSION
    stars = "*" * len(word)
    said = [row.content for row in agent.rows() if row.kind == "assistant"]
    assert [(one["text"], one["masked"]) for one in said] == [(f"I am {stars}.", True)]
    stored = b"".join(agent.logs.iter_range(agent.owned.id, Stream.STDOUT, 0, agent.size))
    assert word.encode() not in stored
    assert (tmp_path / "stdout").read_bytes() == b"".join(lines)


def test_a_raw_file_that_is_not_what_was_stored_is_not_believed(agent: Agent, tmp_path: Path):
    mask = SecretMask(maskable(["a secret word"]))
    agent.prints(said("I am a secret word") + END, mask, tmp_path)
    raw = tmp_path / "stdout"
    raw.write_bytes(raw.read_bytes().replace(b"I am", b"I'm "))
    agent.turn_with(ClaudeReader(), mask, tmp_path).finish(agent.size, 0)
    assert [row.content["text"] for row in agent.rows() if row.kind == "assistant"] == ["I am " + "*" * 13]
    raw.unlink()
    assert agent.turn_with(ClaudeReader(), mask, tmp_path).finish(agent.size, 0) is not None


def test_a_session_whose_name_is_a_secret_is_none(agent: Agent, tmp_path: Path):
    mask = SecretMask(maskable([SESSION]))
    agent.prints(said("Hello") + END, mask, tmp_path)
    turn = agent.turn_with(ClaudeReader(), mask, tmp_path)
    assert turn.finish(agent.size, 0).success
    assert turn.agent_session_id is None
