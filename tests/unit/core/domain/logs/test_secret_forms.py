"""No byte of a secret is left of what programs make of it, whatever is around it and however it is cut."""

import base64
import itertools
import json
import re
import subprocess
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from relay_core.domain.logs.masking import Masker
from relay_core.domain.logs.secret_forms import ANY_COLUMN_BYTES, MIN_SECRET_BYTES, forms, maskable

ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
SECRET = st.one_of(
    ANY_TEXT.filter(lambda text: len(text.encode()) >= MIN_SECRET_BYTES),
    st.text("abcXYZ019+/=_-\"\\<>&' \n~*%", min_size=8, max_size=120),
)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def masked(data: bytes, secret: str, cuts: list[int]) -> bytes:
    masker = Masker(maskable([secret]))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    out = b"".join(masker.feed(data[a:b]) for a, b in itertools.pairwise(edges)) + masker.finish()
    assert len(out) == len(data)
    return out


def lower_percent(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text)


def json_ascii(text: str) -> str:
    return json.dumps(text)[1:-1]


def json_plain(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def go(text: str) -> str:
    return json_plain(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


ESCAPES: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "quote": quote,
    "quote everything but letters": lambda text: quote(text, safe=""),
    "quote_plus": quote_plus,
    "encodeURIComponent": lambda text: quote(text, safe="!*'()"),
    "a form": lambda text: quote_plus(text, safe="*").replace("~", "%7E"),
    "lower hex": lambda text: lower_percent(quote(text, safe="")),
    "every byte": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "every byte, lower": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "json": json_ascii,
    "json, not only ascii": json_plain,
    "json of php": lambda text: json_ascii(text).replace("/", "\\/"),
    "json of go": go,
    "json of gson": lambda text: go(text).replace("=", "\\u003d").replace("'", "\\u0027"),
    "json in json": lambda text: json_ascii(json_ascii(text)),
    "json in json, not only ascii": lambda text: json_plain(json_plain(text)),
    "php in json": lambda text: json_ascii(json_ascii(text).replace("/", "\\/")),
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
@settings(max_examples=60, deadline=None)
@given(SECRET, ANY_TEXT, ANY_TEXT, CUTS)
def test_escaped(escape: Callable[[str], str], secret: str, before: str, after: str, cuts: list[int]) -> None:
    whole = [escape(part).encode() for part in (before, secret, after)]
    out = masked(b"".join(whole), secret, cuts)
    begin = len(whole[0])
    assert out[begin : begin + len(whole[1])] == b"*" * len(whole[1])


def own_characters(before: int, length: int) -> range:
    """Those of a base64 text that no byte around the secret has a bit in."""
    return range(-(-before * 8 // 6), (before + length) * 8 // 6)


@settings(max_examples=150, deadline=None)
@given(SECRET, st.binary(max_size=130), st.binary(max_size=130), st.booleans(), st.sampled_from([None, 76]), CUTS)
@example("0123456789abcdef" * 8, b"x" * 70, b"y", False, 76, [])
def test_base64(secret: str, before: bytes, after: bytes, safe: bool, width: int | None, cuts: list[int]) -> None:
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    text = encode(before + secret.encode() + after).decode()
    own = own_characters(len(before), len(secret.encode()))
    place = list(range(len(text)))
    if width:
        text = "\n".join(text[at : at + width] for at in range(0, len(text), width))
        place = [at + at // width for at in place]
    out = masked(text.encode(), secret, cuts)
    assert {out[place[at] : place[at] + 1] for at in own} == {b"*"}


@settings(max_examples=60, deadline=None)
@given(SECRET, st.binary(max_size=5), st.booleans())
def test_base64_that_ends_with_the_secret_shows_nothing_of_its_end(secret: str, before: bytes, padded: bool) -> None:
    text = base64.b64encode(before + secret.encode())
    out = masked(text if padded else text.rstrip(b"="), secret, [])
    assert set(out[own_characters(len(before), 1).start :]) == {ord("*")}


@pytest.mark.parametrize("size", [8, 57, 58, 4000, ANY_COLUMN_BYTES * 2])
@pytest.mark.parametrize("columns", ["76", "64"])
def test_base64_as_coreutils_prints_it(size: int, columns: str) -> None:
    secret = "".join(f"{number:x}~" for number in range(size))[:size]
    printed = subprocess.run(["base64", "-w", columns], input=secret.encode(), stdout=subprocess.PIPE, check=True)
    assert masked(printed.stdout, secret, []).strip(b"*\n") == b""


@settings(max_examples=40, deadline=None)
@given(SECRET, SECRET)
def test_text_that_is_no_form_of_it_stays(secret: str, other: str) -> None:
    data = other.encode()
    assume(not any(form in data for form in maskable([secret])))
    assert masked(data, secret, []) == data


def test_each_line_counts_and_short_ones_do_not() -> None:
    key = "-----BEGIN KEY-----\r\nAAAABBBBCCCC\r\nshort\r\n"
    found = maskable(["short", "long enough", key, "long enough"])
    assert {key.encode(), b"-----BEGIN KEY-----", b"AAAABBBBCCCC", b"long enough", b"long+enough"} < set(found)
    assert {base64.b64encode(b"AAAABBBBCCCC"), json_ascii(key).encode(), b"AAAABBBBCCCC".hex().encode()} < set(found)
    assert not {b"short", base64.b64encode(b"short"), b"short".hex().encode()} & set(found)
    assert list(found) == sorted(set(found), key=lambda each: (-len(each), each))


def test_bytes_that_are_no_utf_8_have_forms_too() -> None:
    raw = bytes(range(128, 160))
    assert {raw, base64.b64encode(raw), raw.hex().encode()} < forms(raw.decode("utf-8", "surrogateescape"))


def test_how_much_there_is_to_look_for_is_bounded() -> None:
    lines = "\n".join(f"{number:063d}" for number in range(1024))
    assert sum(map(len, maskable([lines]))) < 100 * len(lines)
