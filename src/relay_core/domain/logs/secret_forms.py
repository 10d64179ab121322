"""The forms in which programs print a secret: as it is, base64, URL-escaped, JSON-escaped, hexadecimal."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MIN_SECRET_BYTES = 8
"""Least length of a masked value: shorter values occur by chance, and masking them would make a log unreadable."""

ANY_COLUMN_BYTES = 16 << 10
"""Bytes of secrets, the shortest first, whose base64 text is also found when it is wrapped in the middle of a line."""

PIECE_BYTES = 1024
"""Longest byte string to look for: longer forms are cut into pieces, which bounds what a masker holds back."""

BASE64_COLUMNS = (76, 64)
"""Columns at which base64 text is wrapped: by `base64` of coreutils and MIME, and by PEM and OpenSSL."""

_URL_SAFE = str.maketrans("+/", "-_")
_PERCENT = re.compile("%[0-9A-F]{2}")
_LEFT_ALONE = ("", "/", "!*'()", "*", ";,/?:@&=+$!*'()#")
"""Characters that URL escapers keep beside letters, digits and `-._~`.

In order: no others, a path, encodeURIComponent, forms, encodeURI.
"""


def maskable(values: Iterable[str]) -> tuple[bytes, ...]:
    """The byte strings to mask for some secret values: each value and each of its lines, in every form.

    Lines are masked one by one because programs print keys line by line. Values, lines and forms shorter than
    `MIN_SECRET_BYTES` are left out; the result has no doubles and the longest first.
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
    """A text in every form, short forms included.

    Args:
        text: a secret; lone surrogates in it stand for bytes that are no UTF-8.
        any_column: whether base64 text is also made with its first line broken at any column; else it is made only as
            a text at the beginning of a line is wrapped.
    """
    data = _bytes(text)
    made = {data, data.hex().encode(), data.hex().upper().encode()}
    made.update(_bytes(form) for form in (*_base64(data, any_column=any_column), *_url(data), *_json(text)))
    return made


def _pieces(form: bytes) -> Iterator[bytes]:
    """The form in pieces of `PIECE_BYTES`; the last piece overlaps the one before, so that it has full length."""
    for at in range(0, len(form), PIECE_BYTES):
        yield form[max(0, min(at, len(form) - PIECE_BYTES)) :][:PIECE_BYTES]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _base64(data: bytes, *, any_column: bool) -> Iterator[str]:
    """The base64 texts of the data at each of the three places in a group of three bytes.

    A character at an edge that also encodes bits of a neighbouring byte is left out, as it differs with the neighbour;
    at the end of the text the bits behind are zero, so a text with that character is made as well.
    """
    for before in range(3):
        begin = (before * 8 + 5) // 6
        whole = base64.b64encode(bytes(before) + data).decode()[begin:]
        core = whole[: (before + len(data)) * 8 // 6 - begin]
        for text in {core, whole, whole.rstrip("=")}:
            columns = range(1, BASE64_COLUMNS[0] + 1) if any_column and text == core else BASE64_COLUMNS
            for line in {text, text.translate(_URL_SAFE)}:
                yield line
                yield from (_wrapped(line, column, BASE64_COLUMNS[0]) for column in columns)
                yield _wrapped(line, BASE64_COLUMNS[1], BASE64_COLUMNS[1])


def _wrapped(text: str, column: int, width: int) -> str:
    """The text in lines, the first with ``column`` characters and the others with ``width``."""
    rest = (text[at : at + width] for at in range(column, len(text), width))
    return "\n".join((text[:column], *rest))


def _url(data: bytes) -> Iterator[str]:
    upper = {"".join(f"%{byte:02X}" for byte in data)}
    for left_alone in _LEFT_ALONE:
        escaped = quote(data, safe=left_alone)
        for form in (escaped, escaped.replace("~", "%7E")):
            upper |= {form, form.replace("%20", "+")}
    for form in upper:
        yield form
        yield _PERCENT.sub(lambda found: found[0].lower(), form)


def _json(text: str) -> Iterator[str]:
    """The text inside a JSON string, and inside a JSON string that is in a JSON string."""
    for once in _json_once(text):
        yield once
        yield from _json_once(once)


def _json_once(text: str) -> set[str]:
    """The text inside a JSON string as Python, JavaScript, Go and Gson (HTML escaped) and PHP (slashes) write it."""
    plain = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    html = {form.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") for form in plain}
    gson = {form.replace("=", "\\u003d").replace("'", "\\u0027") for form in html}
    return {escaped for form in plain | html | gson for escaped in (form, form.replace("/", "\\/"))}
