"""Guesses which variables of a run's `env` are secret if the client does not say so: by name, then by value.

Masking an ordinary word (`NODE_ENV=production`) would make logs and diffs unreadable, so a value counts as secret only
if its name says so or if it looks like a credential. If the client sets `secret` to true or false, nothing is guessed.
"""

import itertools
import re

from relay_core.domain.logs.secret_forms import MIN_SECRET_BYTES

_WORDS = frozenset(
    (
        *("key", "keys", "token", "tokens", "secret", "secrets", "jwt", "bearer", "cookie", "cookies", "private"),
        *("password", "passwords", "passwd", "passphrase", "pass", "pwd", "auth", "authorization", "signature"),
        *("credential", "credentials", "cred", "creds", "pat", "dsn", "salt", "license"),
    )
)
_ENDINGS = ("apikey", "accesskey", "secretkey", "privatekey", "token", "secret", "password", "passwd", "passphrase")
"""Endings of names that are written as one word, such as `MYTOKEN` and `DBPASSWORD`."""
_NAME_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_NEVER = frozenset({"PWD", "OLDPWD"})
"""Names in which shells keep directories: they contain the word `pwd`, but are no passwords."""
_PATH = re.compile(r"(?:~|\.{1,2})?(?:/[\w.@-]+)+/?")
_NUMBER_OR_FLAG = re.compile(r"(?i)[0-9][0-9_.,]*|true|false|yes|no|on|off|none|null|enabled|disabled")

_CREDENTIAL = re.compile(
    r"sk-[\w-]{16,}|[rsp]k_(?:live|test)_\w{8,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{8,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|npm_\w{16,}|pypi-[\w-]{16,}|hf_\w{16,}|dop_v1_\w{16,}"
    r"|SG\.[\w-]{8,}\.[\w-]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web tokens
    r"|(?i:bearer|basic)\s+[\w.~+/=-]{8,}"
)
"""Matches the beginning of a value that has the key format of a well-known service."""
_WITHIN = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:://[^/?#\s@:]{0,256}:[^/?#\s@]{1,1024}@)"  # a URL with a password
    r"|(?i:[?&;](?:access_?token|token|api_?key|key|sig|signature|password|secret)=[^&\s]{8,})"
    r"|(?i:\b(?:password|pwd|accountkey|sharedaccesskey)=[^;\s]{4,};?)"  # connection strings
)

_SEARCHED = 16 << 10
"""Number of characters at the start of a value that are examined; bounds the work for many large values."""
_RANDOM = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_HEX = re.compile(r"[0-9a-fA-F-]+")
_RANDOM_CHANGES = 0.25
"""Least share of neighbouring pairs in random text that are a letter and a digit, or of lower and upper case.

Ordinary words have a smaller share.
"""


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable counts as secret if the client does not say so.

    By name: one of its words is KEY, TOKEN, SECRET, PASSWORD or similar, unless the value is a path, a flag, or a
    number of fewer than eight characters. By value: it begins like a key of a well-known service, contains a private
    key or a URL with a password, or is one word of twenty or more letters and digits that look random. Hexadecimal
    words do not count: most of them are commits and checksums.
    """
    value = value[:_SEARCHED].strip()
    if _CREDENTIAL.match(value) or _WITHIN.search(value):
        return True
    ordinary = _PATH.fullmatch(value) is not None and not _looks_random(value.replace("/", ""))
    if _says_secret(name):
        return not (ordinary or (_NUMBER_OR_FLAG.fullmatch(value) and len(value) < MIN_SECRET_BYTES))
    return not ordinary and _looks_random(value)


def _says_secret(name: str) -> bool:
    words = [word.lower() for word in _NAME_WORDS.findall(name)]
    return name not in _NEVER and any(word in _WORDS or word.endswith(_ENDINGS) for word in words)


def _looks_random(value: str) -> bool:
    if not _RANDOM.fullmatch(value) or _HEX.fullmatch(value) or not re.search("[0-9]", value):
        return False
    pairs = [(a, b) for a, b in itertools.pairwise(value) if a.isalnum() and b.isalnum()]
    changes = sum((_kind(a), _kind(b)) in _CHANGES for a, b in pairs)
    return bool(pairs) and changes >= _RANDOM_CHANGES * len(pairs)


_CHANGES = {("lower", "upper"), ("lower", "digit"), ("digit", "lower"), ("upper", "digit"), ("digit", "upper")}


def _kind(character: str) -> str:
    return "digit" if character.isdigit() else "upper" if character.isupper() else "lower"
