"""Measure how fast an agent's stored output becomes conversation entries: `python -m bench.normalise [--mib 100]`.

The bench prints time, rate and growth of memory for 1 MiB, for half of the bytes and for all of them; with `--only`,
for all of them only. Neither rate nor memory should depend on the size.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psutil
from bench.capture import MIB, executions, services
from sqlalchemy import Engine, text

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import RunReason, Stream
from relay_core.store.database import make_database
from relay_core.store.executions.claim import Claimed
from relay_core.store.logs.log_store import Append, LogStore
from relay_workers.agents.claude_code.reader import ClaudeReader
from relay_workers.execution.agent_output import AgentOutput
from relay_workers.execution.agent_turn import AgentTurn

LONG_LINE = 5 * MIB
PIECE = 256 << 10


def lines(size: int, seed: int = 1) -> Iterator[bytes]:
    """Yield the lines of a turn as Claude Code prints them, about ``size`` bytes; some tool results are 5 MiB long."""
    chance = random.Random(seed)
    written = number = 0
    while written < size:
        long = chance.random() < 0.002
        count = LONG_LINE // 21 if long else chance.randrange(1, 200)
        result = chance.randbytes(count * 10).hex("\n", -10) + "\n"  # lines of one length, as the words of a table
        blocks: list[tuple[str, dict[str, Any]]] = [
            ("assistant", {"type": "text", "text": f"Step {number}: I look at the next file, größer than the last."}),
            (
                "assistant",
                {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {"command": f"cat {number}"}},
            ),
            ("user", {"type": "tool_result", "tool_use_id": f"t{number}", "content": result}),
        ]
        for kind, block in blocks:
            line = json.dumps({"type": kind, "session_id": "s", "message": {"content": [block]}}).encode() + b"\n"
            written += len(line)
            yield line
        number += 1
    yield b'{"type":"result","subtype":"success","is_error":false,"result":"done","usage":{"input_tokens":1}}\n'


def stored(logs: LogStore, execution_id: UUID, size: int) -> int:
    """Store the output of a turn (about ``size`` bytes) as the log of an execution; return the exact length."""
    offset, held = 0, b""
    for line in lines(size):
        held += line
        while len(held) >= PIECE:
            logs.append([Append(execution_id, 1, Stream.STDOUT, offset, held[:PIECE])])
            offset, held = offset + PIECE, held[PIECE:]
    logs.append([Append(execution_id, 1, Stream.STDOUT, offset, held)])
    return offset + len(held)


def measured(database: Engine, mib: int) -> dict[str, Any]:
    """Store a turn of ``mib`` MiB, turn its output into conversation entries, and return the figures to print."""
    logs = LogStore(database)
    [execution_id] = executions(database, 1)
    size = stored(logs, execution_id, mib * MIB)
    step = AgentStep(ExecutorChoice("claude-code"), "go on", "repos")
    claimed = Claimed(execution_id, execution_id, execution_id, RunReason.CODING_AGENT, step, 1, 1, ProcessHandle(0))
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    turn = AgentTurn(database, claimed, _Watched(process), AgentOutput(logs, execution_id))
    turn.finish(size, 0)
    seconds = time.perf_counter() - began
    with database.connect() as connection:
        rows = connection.scalar(
            text("SELECT count(*) FROM conversation_entries WHERE execution_id = :id"), {"id": execution_id}
        )
    peak = cast("_Watched", turn.reader).peak
    return {
        "mib": round(size / MIB, 1),
        "entries": rows,
        "seconds": round(seconds, 2),
        "mib_per_second": round(size / MIB / seconds, 1),
        "memory_growth_mib": round((peak - before) / MIB, 1),
    }


class _Watched(ClaudeReader):
    """A reader of Claude Code's output that records the largest memory use of this process in `peak`."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__()
        self._process = process
        self.peak = 0

    def take_line(self, line: dict[str, Any]) -> None:
        super().take_line(line)
        self.peak = max(self.peak, self._process.memory_info().rss)


def main() -> None:
    """Measure each size and print its figures as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=100)
    parser.add_argument("--only", action="store_true", help="measure no smaller sizes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with services(Path(folder)) as settings:
            database = make_database(settings)
            for mib in (given.mib,) if given.only else (1, given.mib // 2, given.mib):
                print(json.dumps(measured(database, mib)), flush=True)
            database.dispose()


if __name__ == "__main__":
    main()
