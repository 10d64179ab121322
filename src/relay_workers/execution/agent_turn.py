"""A coding agent's turn while it runs: its output is read as it grows, and its conversation is stored.

The reader gets as much output as Postgres has, with masked bytes as the agent wrote them (`raw_output`): a protocol is
read before its texts are masked. So a worker that adopts the turn reads the same bytes from the beginning and numbers
the entries the same, memory is bounded whatever the agent prints, and a slow reader delays no other part. Entries are
masked before they are stored.
"""

import threading
from dataclasses import replace

import structlog

from relay_core.domain.agents.conversation import Entry
from relay_core.domain.errors import Stale
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import conversations
from relay_core.store.executions.claim import Claimed
from relay_core.store.outage import is_away
from relay_core.store.transaction import Database
from relay_workers.agents.port import TurnReader, Verdict
from relay_workers.execution.agent_output import AgentOutput

PAUSE_SECONDS = 0.1
"""Pause between two reads, so that many small writes become one transaction."""
RETRY_SECONDS = 1.0
"""Pause between two tries while Postgres is away."""
STORE_BYTES = 1 << 20
"""Entries are stored at least once for so many bytes of output."""

log = structlog.get_logger(__name__)


class AgentTurn:
    """Follows one coding agent; the capture of its log sets `grown` whenever output was stored.

    Args:
        database: where the conversation is stored.
        claimed: the execution.
        reader: a new one.
        output: the agent's output.
        mask: for the texts that the reader puts together.
        resumed: the agent's id of the conversation that it is asked to continue.
    """

    def __init__(
        self,
        database: Database,
        claimed: Claimed,
        reader: TurnReader,
        output: AgentOutput,
        mask: SecretMask | None = None,
        *,
        resumed: str | None = None,
    ) -> None:
        self._database = database
        self._claimed = claimed
        self._reader = reader
        self._output = output
        self._mask = mask or SecretMask()
        self._resumed = resumed
        self._offset = 0
        """Bytes of standard output that the reader has got."""
        self.begins_anew = False
        """The session has no conversation to continue, so this turn is the first one of a new conversation."""
        self._pending: list[Entry] = []
        """Masked entries that are not stored yet."""
        self._session_id: str | None = None
        """The agent's id of the conversation, as it is stored."""
        self.grown = threading.Event()
        self._over = threading.Event()
        self._log = log.bind(**structlog.contextvars.get_contextvars())
        self._thread = threading.Thread(target=self._follow, name=f"turn-{claimed.execution_id}", daemon=True)

    @property
    def reader(self) -> TurnReader:
        """The reader, with everything that it understood so far; complete after `finish`."""
        return self._reader

    @property
    def agent_session_id(self) -> str | None:
        """The agent's id of the session's conversation; None where it began another conversation instead.

        None also for an id that contains a secret: once it is masked, it names no conversation.
        """
        said = self._reader.agent_session_id
        if said is not None and self._mask.text(said) != said:
            return None
        return said if self._resumed in {None, said} else None

    def start(self) -> None:
        """Follow the output on a thread of its own."""
        self.grown.set()  # the agent of an adopted turn has printed something already
        self._thread.start()

    def close(self) -> None:
        """Stop following the output; a second call does nothing."""
        self._over.set()
        self.grown.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._output.close()

    def finish(self, size: int, exit_code: int | None, *, stderr_size: int = 0, stopped: bool = False) -> Verdict:
        """Read a complete log to its end and judge how the turn ended.

        Args:
            size: bytes of standard output.
            exit_code: of the agent; None where it is not known.
            stderr_size: bytes of standard error.
            stopped: Relay ended the agent, for a kill or a cap.

        Raises:
            Stale: another worker owns the execution by now.
        """
        self.close()
        self._read_to(size)
        self._output.close()
        verdict = self._reader.verdict(exit_code, self._output.stderr_tail(stderr_size), stopped=stopped)
        self._store()
        said = self._reader.agent_session_id
        if said is not None and self._resumed not in {None, said}:
            message = f"the agent went on in another conversation ({said}) than the one it was to resume"
            return Verdict.failed(Reason.CANNOT_RESUME, message)
        return verdict

    def _follow(self) -> None:
        try:
            self._read_on()
        except Exception:  # noqa: BLE001 - a thread's top: `finish` reads on from here and raises the error
            self._log.exception("a conversation cannot be followed")

    def _read_on(self) -> None:
        while not self._over.is_set():
            self.grown.wait()
            self.grown.clear()
            if self._over.is_set():
                return
            try:
                self._read_to(self._output.size())
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
        for piece in self._output.pieces(self._offset, size):
            if self._over.is_set() and threading.current_thread() is self._thread:
                break  # `finish` reads on
            self._reader.feed(piece)
            self._offset += len(piece)
            unstored += len(piece)
            if unstored >= STORE_BYTES:
                self._store()
                unstored = 0
        self._store()

    def _store(self) -> None:
        """Store the reader's new entries; they stay in `_pending` until they are stored, so an outage loses none."""
        self._pending += [masked(self._mask, entry) for entry in self._reader.entries()]
        session = self.agent_session_id
        if not self._pending and session == self._session_id:
            return
        with self._database.begin() as connection:
            claimed = self._claimed
            conversations.store(connection, claimed.execution_id, claimed.fence, self._pending, session)
        self._pending, self._session_id = [], session


def masked(mask: SecretMask, entry: Entry) -> Entry:
    """The entry without secrets.

    An agent's protocol may split a secret over two messages or encode it in its own way; the entry has it in plain.
    """
    tool = entry.tool
    if tool is not None:
        paths = tuple(mask.text(path) for path in tool.paths)
        tool = replace(
            tool, name=mask.text(tool.name), input=mask.text(tool.input), result=mask.text(tool.result), paths=paths
        )
    shown = replace(entry, text=mask.text(entry.text), tool=tool, agent=entry.agent and mask.text(entry.agent))
    return entry if shown == entry else replace(shown, masked=True)
