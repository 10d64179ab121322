"""Follows a coding agent's turn: reads its output while the agent runs, and stores its conversation.

The agent's `TurnReader` parses the output that is already stored in Postgres. Where that is masked, it gets the
original bytes (`raw_output`), because a protocol must be parsed before its texts are masked; the entries of the
conversation are then masked before they are stored.

Reading from Postgres has three advantages. A worker that takes over the turn reads the same bytes from the beginning
and numbers the entries in the same way. Memory stays bounded, however much the agent prints. And a slow reader does not
delay any other part.
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
"""Pause between two reads, so that many small pieces of output become one transaction."""
RETRY_SECONDS = 1.0
"""Pause between two attempts while Postgres does not answer."""
STORE_BYTES = 1 << 20
"""Entries are stored at the latest after this many bytes of output have been parsed."""

log = structlog.get_logger(__name__)


class AgentTurn:
    """Parses the output of one coding agent on its own thread and stores the agent's conversation.

    Args:
        database: stores the conversation.
        claimed: the agent's execution.
        reader: a new reader that has not parsed anything yet.
        output: the agent's stored output.
        mask: masks the texts of the conversation; the reader parses them from output that may not be masked.
        resumed: the agent's own id of the conversation that this turn continues; None starts a new conversation.

    Attributes:
        grown: an event that the log capture sets whenever it has stored more output.
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
        """Number of bytes of standard output that the reader has parsed."""
        self.begins_anew = False
        """Whether this follow-up starts a new conversation, as the session has none that it could continue."""
        self._pending: list[Entry] = []
        """Masked entries that are not stored yet."""
        self._session_id: str | None = None
        """The agent's id of the conversation that was stored last; None if no id is stored."""
        self.grown = threading.Event()
        self._over = threading.Event()
        self._log = log.bind(**structlog.contextvars.get_contextvars())
        self._thread = threading.Thread(target=self._follow, name=f"turn-{claimed.execution_id}", daemon=True)

    @property
    def reader(self) -> TurnReader:
        """The reader with all it has parsed so far; after `finish` it has parsed the whole output."""
        return self._reader

    @property
    def agent_session_id(self) -> str | None:
        """The agent's own id of the conversation; None if the agent has not reported one yet.

        It is also None if the agent started another conversation than the one that it was asked to resume, and if the
        id contains a secret: a masked id cannot be used to resume a conversation.
        """
        said = self._reader.agent_session_id
        if said is not None and self._mask.text(said) != said:
            return None
        return said if self._resumed in {None, said} else None

    def start(self) -> None:
        """Start the thread that follows the output."""
        self.grown.set()  # when a turn is taken over, output may be stored already
        self._thread.start()

    def close(self) -> None:
        """Stop following the output. Further calls do nothing."""
        self._over.set()
        self.grown.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._output.close()

    def finish(self, size: int, exit_code: int | None, *, stderr_size: int = 0, stopped: bool = False) -> Verdict:
        """Parse the complete output to its end and return how the turn ended.

        Args:
            size: length of standard output in bytes.
            exit_code: the agent's exit code; None if it is not known.
            stderr_size: length of standard error in bytes.
            stopped: whether Relay stopped the agent, because of a kill or an exceeded limit.

        Raises:
            Stale: another worker owns the execution now.
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
        """Mask and store the reader's new entries.

        If that fails, they stay in `_pending` and the next call stores them.
        """
        self._pending += [masked(self._mask, entry) for entry in self._reader.entries()]
        session = self.agent_session_id
        if not self._pending and session == self._session_id:
            return
        with self._database.begin() as connection:
            claimed = self._claimed
            conversations.store(connection, claimed.execution_id, claimed.fence, self._pending, session)
        self._pending, self._session_id = [], session


def masked(mask: SecretMask, entry: Entry) -> Entry:
    """Return a copy of the entry with all secrets masked.

    The log's mask does not find every secret: an agent's protocol may split one over two messages or encode it in its
    own way, and only the parsed entry contains it in plain text.
    """
    tool = entry.tool
    if tool is not None:
        paths = tuple(mask.text(path) for path in tool.paths)
        tool = replace(
            tool, name=mask.text(tool.name), input=mask.text(tool.input), result=mask.text(tool.result), paths=paths
        )
    shown = replace(entry, text=mask.text(entry.text), tool=tool, agent=entry.agent and mask.text(entry.agent))
    return entry if shown == entry else replace(shown, masked=True)
