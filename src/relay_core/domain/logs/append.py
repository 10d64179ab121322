"""Decides whether bytes may be appended to a log; the store writes what this pure code decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from relay_core.domain.vocabulary import Stream


@dataclass(frozen=True)
class Append:
    """Bytes to store at the end of one stream of an execution's log.

    Attributes:
        fence: fence of the sender's claim; a sender with a lower fence than the log's owner is refused.
    """

    execution_id: UUID
    fence: int
    stream: str
    """`stdout` or `stderr`."""
    start: int
    """Offset of the first byte; the append is accepted only if it equals the stored size of the stream."""
    data: bytes

    @property
    def end(self) -> int:
        """Offset after the last byte, in the same stream."""
        return self.start + len(self.data)


class StoredAppend(NamedTuple):
    """An append that is stored in Postgres, with its position in the stream `all` and in its batch."""

    append: Append
    all_offset: int
    """Offset of its first byte in the stream `all`."""
    position: int
    """Index of the append in its batch."""


class StreamState(NamedTuple):
    """The stored state of an execution's log streams, read from locked rows.

    Attributes:
        fence: fence of the present owner.
        closed: whether the log is complete and accepts no more bytes.
        sizes: stored bytes by stream.
    """

    fence: int
    closed: bool
    sizes: dict[str, int]


@dataclass(frozen=True)
class RefusedAppends:
    """The answer for an execution if its appends of a batch were refused; none of them was stored."""

    sizes: Mapping[str, int] | None
    """Stored bytes by stream, where the same owner continues. None: another owner has the log, or it is closed."""


@dataclass(frozen=True)
class AppendResult:
    """The result of a batch: its stored appends in the order of the batch, and the refusals by execution."""

    stored: Sequence[StoredAppend]
    refused: Mapping[UUID, RefusedAppends]


@dataclass
class BatchDecision:
    """The decision about a batch: the appends to write, the sizes afterwards, and the answer to the sender."""

    written: list[StoredAppend] = field(default_factory=list)
    """The appends that the store must write."""
    sizes: dict[UUID, dict[str, int]] = field(default_factory=dict)
    """Bytes of each stream after the write, by execution."""
    result: AppendResult = field(default_factory=lambda: AppendResult([], {}))


def decide(batch: Sequence[Append], state: Mapping[UUID, StreamState]) -> BatchDecision:
    """Decide about a batch: of each execution, all appends are accepted or none.

    The appends of an execution are accepted if their fence and offsets match the stored ones. If the stored sizes are
    already those after the appends, an earlier commit stored them and its answer was lost: they count as stored and are
    not written again.

    Args:
        batch: appends of any executions.
        state: the stored state by execution; an execution that is missing is refused.
    """
    decision = BatchDecision()
    stored: list[StoredAppend] = []
    refused: dict[UUID, RefusedAppends] = {}
    places = sorted(range(len(batch)), key=lambda place: batch[place].execution_id)  # stable: appends keep their order
    for execution_id, group in groupby(places, key=lambda place: batch[place].execution_id):
        mine = [place for place in group if batch[place].data]
        here = state.get(execution_id)
        if here is None or here.closed or any(batch[place].fence != here.fence for place in mine):
            refused[execution_id] = RefusedAppends(None)
        elif (after := _after([batch[place] for place in mine], here.sizes)) is not None:
            placed = _placed(batch, mine, here.sizes[Stream.ALL])
            stored += placed
            decision.written += placed
            decision.sizes[execution_id] = after
        elif _is_repeated([batch[place] for place in mine], here.sizes):
            before = here.sizes[Stream.ALL] - sum(len(batch[place].data) for place in mine)
            stored += _placed(batch, mine, before)
        else:
            refused[execution_id] = RefusedAppends(dict(here.sizes))
    stored.sort(key=lambda append: append.position)
    decision.result = AppendResult(stored, refused)
    return decision


def _after(appends: Sequence[Append], sizes: Mapping[str, int]) -> dict[str, int] | None:
    after = dict(sizes)
    for append in appends:
        if append.start != after[append.stream]:
            return None
        after[append.stream] += len(append.data)
        after[Stream.ALL] += len(append.data)
    return after


def _is_repeated(appends: Sequence[Append], sizes: Mapping[str, int]) -> bool:
    ends = {append.stream: append.end for append in appends}
    return all(sizes[stream] == end for stream, end in ends.items())


def _placed(batch: Sequence[Append], places: Sequence[int], all_offset: int) -> list[StoredAppend]:
    placed = []
    for place in places:
        placed.append(StoredAppend(batch[place], all_offset, place))
        all_offset += len(batch[place].data)
    return placed
