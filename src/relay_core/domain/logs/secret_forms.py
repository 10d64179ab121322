"""The forms in which programs print a secret: unchanged, base64, URL-escaped, JSON-escaped, hexadecimal."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MIN_SECRET_BYTES = 8
"""Least bytes of a masked value: shorter ones occur by chance, and masking them would make a log unreadable."""

ANY_COLUMN_BYTES = 16 << 10
"""Total length of secrets for which base64 text is found wherever its lines are wrapped.

The shortest secrets come first. For those beyond the total, only the usual wrapping is found: every line, from the
first on, has one of `BASE64_COLUMNS` characters.
"""

PIECE_BYTES = 1024
"""Longest byte string to look for.

Longer forms are cut into pieces, which bounds the number of bytes that a masker holds back.
"""

BASE64_COLUMNS = (76, 64)
"""Columns at which programs wrap base64 text: `base64` of coreutils and MIME at 76, PEM and OpenSSL at 64."""

_URL_SAFE = str.maketrans("+/", "-_")
_PERCENT = re.compile("%[0-9A-F]{2}")
_LEFT_ALONE = ("", "/", "!*'()", "*", ";,/?:@&=+$!*'()#")
"""Characters that URL escapers do not escape, in addition to letters, digits and `-._~`.

In order: escapers that leave no others, path escapers, encodeURIComponent, HTML forms, encodeURI.
"""


def maskable(values: Iterable[str]) -> tuple[bytes, ...]:
    """Return the byte strings to mask for some secret values: each value and each of its lines, in every form.

    Lines are masked one by one because programs print keys line by line. Values, lines and forms shorter than
    `MIN_SECRET_BYTES` are left out. The result has no duplicates; the longest strings come first.
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
    """Return a text in every form, forms shorter than `MIN_SECRET_BYTES` included.

    Args:
        text: a secret; lone surrogates in it stand for bytes that are not UTF-8.
        any_column: whether to add base64 text whose first line is broken at any column, as in the middle of a longer
            text. If not, only text is added whose first line is as long as the others.
    """
    data = _bytes(text)
    made = {data, data.hex().encode(), data.hex().upper().encode()}
    made.update(_bytes(form) for form in (*_base64(data, any_column=any_column), *_url(data), *_json(text)))
    return made


def _pieces(form: bytes) -> Iterator[bytes]:
    """Yield the form in pieces of `PIECE_BYTES`.

    The last piece overlaps the one before it, so that it is not shorter.
    """
    for at in range(0, len(form), PIECE_BYTES):
        yield form[max(0, min(at, len(form) - PIECE_BYTES)) :][:PIECE_BYTES]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _base64(data: bytes, *, any_column: bool) -> Iterator[str]:
    """Yield the base64 texts that the data can have inside longer data.

    Base64 encodes groups of three bytes, so there are three texts: the data begins at the first, second or third byte
    of a group. A character at the edge that also encodes bits of a neighbouring byte is left out, as it depends on that
    byte. At the end of all data these bits are zero, so the text with that last character is yielded as well.
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
    """Return the text in lines, the first with ``column`` characters and the others with ``width``."""
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
    """Yield the text as it stands inside a JSON string, and inside a JSON string within a JSON string."""
    for once in _json_once(text):
        yield once
        yield from _json_once(once)


def _json_once(text: str) -> set[str]:
    """Return the text as it stands inside a JSON string, in the spellings of several encoders.

    They are Python, JavaScript, Go and Gson (which escape characters of HTML) and PHP (which escapes slashes).
    """
    plain = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    html = {form.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") for form in plain}
    gson = {form.replace("=", "\\u003d").replace("'", "\\u0027") for form in html}
    return {escaped for form in plain | html | gson for escaped in (form, form.replace("/", "\\/"))}
