"""The Range header, as RFC 9110 has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_api.http.byte_range import Span, Unsatisfiable, parse


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-", Span(2, 10)),
        ("bytes=2-99999999999", Span(2, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-30", Span(0, 10)),
        ("BYTES = 1-2", Span(1, 3)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("bytes=0x1-2", None),
        ("bytes=٣-4", None),
    ],
)
def test_of_ten_bytes(header: str | None, span: Span | None):
    assert parse(header, 10) == span


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_behind_the_end(header: str, size: int):
    with pytest.raises(Unsatisfiable):
        parse(header, size)


@given(st.text(max_size=30), st.integers(0, 100))
def test_whatever_comes_is_a_span_within_or_nothing(header: str, size: int):
    try:
        span = parse(header, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= size
