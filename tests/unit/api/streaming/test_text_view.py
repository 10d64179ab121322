"""Bytes as text for people, for every way in which they may be cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relay_api.streaming.log_frames import TextView


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode), st.lists(st.integers(0, 60), max_size=8))
def test_cuts_change_nothing(data: bytes, cuts: list[int]):
    view, text = TextView(), ""
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for begin, end in pairwise(places):
        text += view.decode("stdout", data[begin:end])[0]
    text += "".join(rest for _, rest in view.rest())
    assert text == data.decode("utf-8", "replace")


def test_what_is_held_back_is_said_so_that_it_can_be_read_again():
    view = TextView()
    assert view.decode("stdout", b"a\xe2\x82") == ("a", 2)
    assert view.decode("stderr", b"x") == ("x", 0)
    assert view.decode("stdout", b"\xac") == ("€", 0)
    assert view.rest() == []
