"""What may be appended to a log, decided without a database."""

from uuid import UUID

from relay_core.domain.logs.append import Append, RefusedAppends, StreamState, decide
from relay_core.domain.vocabulary import Stream

A, B = UUID(int=1), UUID(int=2)


def _state(fence: int = 1, out: int = 0, err: int = 0, closed: bool = False) -> StreamState:
    return StreamState(fence, closed, {Stream.STDOUT: out, Stream.STDERR: err, Stream.ALL: out + err})


def _append(execution_id: UUID = A, stream: str = "stdout", start: int = 0, data: bytes = b"abc", fence: int = 1):
    return Append(execution_id, fence, stream, start, data)


def test_chunks_of_a_run_follow_each_other_in_all() -> None:
    batch = [_append(), _append(stream="stderr", data=b"e"), _append(start=3, data=b"defg")]
    decision = decide(batch, {A: _state()})
    assert [one.all_offset for one in decision.written] == [0, 3, 4]
    assert decision.sizes == {A: {"stdout": 7, "stderr": 1, "all": 8}}
    assert [one.append for one in decision.result.stored] == batch


def test_another_owner_or_a_closed_log_takes_nothing() -> None:
    for state in (_state(fence=2), _state(closed=True), None):
        decision = decide([_append()], {A: state} if state else {})
        assert decision.result.refused == {A: RefusedAppends(None)}
        assert not decision.written


def test_one_bad_offset_refuses_the_whole_run_and_no_other() -> None:
    batch = [_append(), _append(B, start=5), _append(stream="stderr", start=9)]
    decision = decide(batch, {A: _state(), B: _state(out=5)})
    assert [one.append for one in decision.written] == [batch[1]]
    assert decision.result.refused == {A: RefusedAppends({"stdout": 0, "stderr": 0, "all": 0})}


def test_a_batch_that_is_there_already_is_stored_but_not_written_again() -> None:
    batch = [_append(start=4), _append(stream="stderr", start=1, data=b"xy"), _append(start=7, data=b"!")]
    decision = decide(batch, {A: _state(out=8, err=3)})
    assert decision.written == []
    assert [one.all_offset for one in decision.result.stored] == [5, 8, 10]
    assert decision.result.refused == {}


def test_a_batch_that_is_there_in_part_is_refused_with_the_sizes() -> None:
    batch = [_append(start=4), _append(stream="stderr", start=1, data=b"xy")]
    decision = decide(batch, {A: _state(out=7, err=1)})
    assert decision.result.refused == {A: RefusedAppends({"stdout": 7, "stderr": 1, "all": 8})}
