"""The forms in which programs print a secret: as it is, base64, URL-escaped, JSON-escaped, hexadecimal."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MIN_SECRET_BYTES = 8
"""Shorter values are not registered: they occur by chance, and masking them would only make a log unreadable."""

ANY_COLUMN_BYTES = 16 << 10
"""Of so many bytes of secrets, the shortest first, base64 text is also found wrapped in the middle of a line."""

PIECE_BYTES = 1024
"""Longer forms are looked for in pieces, which bounds what is held back until it is decided."""

BASE64_COLUMNS = (76, 64)
"""Where `base64` of coreutils and MIME wrap, and where PEM and OpenSSL do."""

_URL_SAFE = str.maketrans("+/", "-_")
_PERCENT = re.compile("%[0-9A-F]{2}")
_LEFT_ALONE = ("", "/", "!*'()", "*", ";,/?:@&=+$!*'()#")
"""What URL escapers leave beside letters, digits and `-._~`: none, path, encodeURIComponent, forms, encodeURI."""


def maskable(values: Iterable[str]) -> tuple[bytes, ...]:
    """What to register for some secret values: each value and each of its lines, in every form.

    A line counts of its own because programs print keys line by line. Values, lines and forms shorter than
    `MIN_SECRET_BYTES` are left out; the result is unique and has the longest first.
    """
    found: set[bytes] = set()
    left = ANY_COLUMN_BYTES
    for value in sorted(set(values), key=lambda each: (len(each), each)):
        left -= len(value)
        for text in {value, *(line.removesuffix("\r") for line in value.split("\n"))}:
            if len(_bytes(text)) >= MIN_SECRET_BYTES:
                found.update(forms(text, any_column=left >= 0))
    pieces = {piece for form in found if len(form) >= MIN_SECRET_BYTES for piece in _pieces(form)}
    return tuple(sorted(pieces, key=lambda each: (-len(each), each)))


def forms(text: str, *, any_column: bool = True) -> set[bytes]:
    """A text in every form, short ones included.

    Args:
        text: lone surrogates are bytes that are no UTF-8.
        any_column: base64 may be wrapped at any of its characters, else only as a text that begins a line is.
    """
    data = _bytes(text)
    made = {data, data.hex().encode(), data.hex().upper().encode()}
    made.update(_bytes(one) for one in (*_base64(data, any_column=any_column), *_url(data), *_json(text)))
    return made


def _pieces(form: bytes) -> Iterator[bytes]:
    """Together they are the whole; the last one overlaps, so as not to be short."""
    for at in range(0, len(form), PIECE_BYTES):
        yield form[max(0, min(at, len(form) - PIECE_BYTES)) :][:PIECE_BYTES]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _base64(data: bytes, *, any_column: bool) -> Iterator[str]:
    """At every place in a group of three bytes, the characters that depend on the data alone; and to the data's end.

    A character at the edge that also has bits of a neighbour differs with every neighbour, and is left out, except at
    the end of the text, where the bits behind are zero.
    """
    for before in range(3):
        begin = (before * 8 + 5) // 6
        whole = base64.b64encode(bytes(before) + data).decode()[begin:]
        core = whole[: (before + len(data)) * 8 // 6 - begin]
        for text in {core, whole, whole.rstrip("=")}:
            columns = range(1, BASE64_COLUMNS[0] + 1) if any_column and text == core else BASE64_COLUMNS
            for one in {text, text.translate(_URL_SAFE)}:
                yield one
                yield from (_wrapped(one, column, BASE64_COLUMNS[0]) for column in columns)
                yield _wrapped(one, BASE64_COLUMNS[1], BASE64_COLUMNS[1])


def _wrapped(text: str, column: int, width: int) -> str:
    """The text with its first line ``column`` long and the others ``width``."""
    rest = (text[at : at + width] for at in range(column, len(text), width))
    return "\n".join((text[:column], *rest))


def _url(data: bytes) -> Iterator[str]:
    upper = {"".join(f"%{byte:02X}" for byte in data)}
    for left_alone in _LEFT_ALONE:
        escaped = quote(data, safe=left_alone)
        for one in (escaped, escaped.replace("~", "%7E")):
            upper |= {one, one.replace("%20", "+")}
    for one in upper:
        yield one
        yield _PERCENT.sub(lambda found: found[0].lower(), one)


def _json(text: str) -> Iterator[str]:
    """Inside of a JSON string, and of one that is the text of a JSON string itself."""
    for once in _json_once(text):
        yield once
        yield from _json_once(once)


def _json_once(text: str) -> set[str]:
    """As Python, JavaScript, Go and Gson (which escape what HTML would read) and PHP (slashes) write it."""
    plain = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    html = {one.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") for one in plain}
    gson = {one.replace("=", "\\u003d").replace("'", "\\u0027") for one in html}
    return {each for one in plain | html | gson for each in (one, one.replace("/", "\\/"))}
