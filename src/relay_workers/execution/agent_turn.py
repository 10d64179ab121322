"""A coding agent's turn while it runs: its stored output is read as it grows, and its conversation is kept.

The reader is given as much as Postgres has, with the bytes that are masked there as the agent wrote them
(`raw_output`): a protocol is read before its texts are masked. So a worker that adopts the turn reads the same from the
beginning and numbers everything the same, memory is bounded whatever the agent prints, and a slow reader holds nobody
up. What the reader makes of it is masked before it is stored.
"""

import threading
from dataclasses import replace

import structlog

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.errors import Stale
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.executions import conversations
from relay_core.store.executions.lifecycle import Claimed
from relay_core.store.outage import is_away
from relay_workers.agents.port import TurnReader, Verdict
from relay_workers.agents.shared.stderr import TAIL_BYTES
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.raw_output import RawOutput

PAUSE_SECONDS = 0.1
"""Between two looks, so that many small writes become one transaction."""
RETRY_SECONDS = 1.0
STORE_BYTES = 1 << 20
"""So much is read before what came of it is stored."""

log = structlog.get_logger(__name__)


class Turn:
    """One per live coding agent; `grown` is set by whoever stores its output.

    Args:
        context: of the worker.
        claimed: the execution.
        reader: a new one.
        mask: for what the reader has put together.
        raw: its output as it wrote it; None: the reader gets what is stored.
        resumed: the agent's id of the conversation that it is to go on with.
    """

    def __init__(
        self,
        context: WorkerContext,
        claimed: Claimed,
        reader: TurnReader,
        mask: SecretMask | None = None,
        raw: RawOutput | None = None,
        *,
        resumed: str | None = None,
    ) -> None:
        self._mask = mask or SecretMask()
        self._raw = raw
        self._resumed = resumed
        self._context = context
        self._claimed = claimed
        self._reader = reader
        self._offset = 0
        self.begins_anew = False
        """The session had no conversation to go on with: this turn is its first in a new one."""
        self._pending: list[Entry] = []
        self._session_id: str | None = None
        """As it is stored."""
        self.grown = threading.Event()
        self._over = threading.Event()
        words = structlog.contextvars.get_contextvars()
        self._log = log.bind(**words)
        self._thread = threading.Thread(target=self._follow, name=f"turn-{claimed.execution_id}", daemon=True)

    @property
    def reader(self) -> TurnReader:
        """What was understood so far; complete after `finish`."""
        return self._reader

    @property
    def agent_session_id(self) -> str | None:
        """The agent's id of the session's conversation; never that of another one, begun in its place.

        An id that holds a secret is none: masked it names no conversation.
        """
        said = self._reader.agent_session_id
        if said is not None and self._mask.text(said) != said:
            return None
        return said if self._resumed in {None, said} else None

    def start(self) -> None:
        """Follow the output on a thread of its own."""
        self.grown.set()  # an adopted turn has said something already
        self._thread.start()

    def close(self) -> None:
        """Leave it; once more does nothing."""
        self._over.set()
        self.grown.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        if self._raw is not None:
            self._raw.close()

    def finish(self, size: int, exit_code: int | None, *, stderr_size: int = 0, stopped: bool = False) -> Verdict:
        """Read to the end of a log that is complete, and judge.

        Args:
            size: bytes of its standard output.
            exit_code: None: nobody knows it.
            stderr_size: bytes of its standard error, whose end tells causes that nothing else does.
            stopped: Relay has ended it (a kill, a cap).

        Raises:
            Stale: the execution is no longer ours.
        """
        self.close()
        self._read_to(size)
        if self._raw is not None:
            self._raw.close()
        verdict = self._reader.verdict(exit_code, self._stderr(stderr_size), stopped=stopped)
        self._store()
        said = self._reader.agent_session_id
        if said is not None and self._resumed not in {None, said}:
            message = f"the agent went on in another conversation ({said}) than the one it was to resume"
            return Verdict.failed(Reason.CANNOT_RESUME, message)
        return verdict

    def _stderr(self, size: int) -> bytes:
        begin = max(0, size - TAIL_BYTES)
        return b"".join(self._context.logs.iter_range(self._claimed.execution_id, Stream.STDERR, begin, size))

    def _follow(self) -> None:
        try:
            self._read_on()
        except Exception:  # noqa: BLE001 - a thread's top: whoever ends the turn reads on from here, and says what is wrong
            self._log.exception("a conversation cannot be followed")

    def _read_on(self) -> None:
        while not self._over.is_set():
            self.grown.wait()
            self.grown.clear()
            if self._over.is_set():
                return
            try:
                self._read_to(self._context.logs.sizes(self._claimed.execution_id)[Stream.STDOUT].bytes)
                self._over.wait(PAUSE_SECONDS)
            except Stale:
                return
            except Exception as error:
                if not is_away(error):
                    raise
                self._log.warning("a conversation waits for the database", error=str(error).splitlines()[0])
                self.grown.set()
                self._over.wait(RETRY_SECONDS)

    def _read_to(self, size: int) -> None:
        unstored = 0
        pieces = self._context.logs.iter_range(self._claimed.execution_id, Stream.STDOUT, self._offset, size)
        for piece in pieces:
            if self._over.is_set() and threading.current_thread() is self._thread:
                break  # whoever ends the turn reads on
            self._reader.feed(piece if self._raw is None else self._raw.at(self._offset, piece))
            self._offset += len(piece)
            unstored += len(piece)
            if unstored >= STORE_BYTES:
                self._store()
                unstored = 0
        self._store()

    def _store(self) -> None:
        """What `entries` gave is kept until it is stored: an outage loses nothing."""
        self._pending += [masked(self._mask, entry) for entry in self._reader.entries()]
        session = self.agent_session_id
        if not self._pending and session == self._session_id:
            return
        with self._context.database.begin() as connection:
            claimed = self._claimed
            conversations.store(connection, claimed.execution_id, claimed.fence, self._pending, session)
        self._pending, self._session_id = [], session


def masked(mask: SecretMask, entry: Entry) -> Entry:
    """An agent's protocol may cut a secret in two messages or spell it as no other does; put together it is plain."""
    tool = entry.tool
    if tool is not None:
        paths = tuple(mask.text(path) for path in tool.paths)
        tool = replace(
            tool, name=mask.text(tool.name), input=mask.text(tool.input), result=mask.text(tool.result), paths=paths
        )
    shown = replace(entry, text=mask.text(entry.text), tool=tool, agent=entry.agent and mask.text(entry.agent))
    return entry if shown == entry else replace(shown, masked=True)
