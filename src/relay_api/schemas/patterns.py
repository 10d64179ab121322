"""Patterns of texts in requests, and what they allow in words: an error has the words, never the pattern."""

from relay_core.domain import short_id
from relay_core.domain.attachment import PROTOCOL_PATTERN
from relay_core.domain.tags import TAG_NAME

NO_NUL = r"^[^\u0000]*$"
"""A text without NUL, which Postgres cannot store. Pydantic itself refuses lone surrogates."""
IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"
CAPABILITY = r"^[a-z0-9][a-z0-9._-]{0,63}$"
NODE = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
POOL = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
PROTOCOL = PROTOCOL_PATTERN
KEY = r"^[A-Za-z0-9._~:/+=-]+$"
PAGE = r"^[A-Za-z0-9_-]+$"
CURSOR = r"^[0-9]{1,18}$"
GLOBAL_CURSOR = r"^([0-9]{1,18}-)?[0-9]{1,18}$"
"""A position; or two numbers, the second of which is an event's id: a cursor of an earlier version."""
COMMIT = r"^[0-9a-f]{7,40}$"
FULL_COMMIT = r"^[0-9a-f]{40}([0-9a-f]{24})?$"
SHA256 = r"^[0-9a-f]{64}$"
PART = r"^[0-9]{1,18}-[0-9]{1,18}-[0-9]{1,18}$"
NOW = "now"
DELEGATION_NAME = r"^([^./\u0000][^/\u0000]*|\.[^./\u0000][^/\u0000]*|\.\.[^/\u0000]+)$"
WEB_URL = r"^https?://[^\s\u0000]+$"
GLOBAL_START = rf"^({NOW}|([0-9]{{1,18}}-)?[0-9]{{1,18}})$"

_LAST_ID = "must be the id of an event of this stream, a number of up to 18 digits"
WORDS = {
    NO_NUL: "must not have the character NUL",
    IMAGE: "must be the name of an image: letters, digits and . _ : / @ -, and first a letter or digit",
    VARIABLE: "must be a name of letters, digits and _ that does not begin with a digit",
    LABEL: "must have 1 to 63 letters, digits and . _ / -, and first a letter or digit",
    TAG_NAME: "must have 1 to 63 letters, digits, _ and -, and first a letter or digit",
    WEB_URL: "must begin with http:// or https://, and have no blanks",
    CAPABILITY: "must have 1 to 64 lower-case letters, digits and . _ -, and first a letter or digit",
    NODE: "must be the name of a node: letters, digits and . _ -, and first a letter or digit",
    POOL: "must be the name of a pool: letters, digits and . _ -, and first a letter or digit",
    PROTOCOL: "must be a version MAJOR.MINOR, such as 1.1",
    KEY: "must have only letters, digits and . _ ~ : / + = -",
    PAGE: "must be the `next_cursor` of an answer",
    CURSOR: _LAST_ID,
    DELEGATION_NAME: "must not be `.` or `..`, and must have no slash and no NUL",
    FULL_COMMIT: "must be the whole id of a commit: 40 or 64 digits and letters a to f",
    SHA256: "must be a SHA-256 in hex: 64 digits and letters a to f",
    PART: "must be the `next_cursor` of the part before",
    COMMIT: "must be the id of a commit, or its first 7 characters or more: digits and the letters a to f",
    GLOBAL_CURSOR: _LAST_ID,
    GLOBAL_START: f"must be `{NOW}`, `0`, or a cursor: `next_after` of an answer, or the id of an event in a stream",
    short_id.PATTERN: "must be an id, or its first 4 characters or more: digits, the letters a to f, and dashes",
}
"""Words that say how a text must look, by the pattern that it does not match."""
