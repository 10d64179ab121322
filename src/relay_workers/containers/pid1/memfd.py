"""Sealed memory files: the words, the script and the stdin of a step."""

import fcntl
import os
import struct
from collections.abc import Mapping, Sequence

from relay_core.domain.errors import InvalidInput

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MAGIC, _VERSION = 0x44524F57, 1
_MOST_WORDS = 16_384
_MOST_BYTES = 4 * 1024 * 1024


def sealed(name: str, content: bytes) -> int:
    """Return the descriptor of a memory file that no process can change; its position is 0. The caller closes it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def encode_words(cwd: str, argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    """Return the working directory, the arguments and the environment of a step as relay-pid1 reads them.

    Raises:
        InvalidInput: there is no argument, the directory is not absolute, a word contains a NUL, the name of a variable
            is empty or contains ``=``, or there are more than 16,384 arguments or variables, or 4 MiB.
    """
    if not argv:
        raise InvalidInput("A step needs at least one argument, the program", field="argv")
    if not cwd.startswith("/"):
        raise InvalidInput(f"The working directory {cwd!r} is not absolute", field="cwd")
    for words, field in ((argv, "argv"), (env, "env")):
        if len(words) > _MOST_WORDS:
            raise InvalidInput(f"A step has at most {_MOST_WORDS} words in {field}, not {len(words)}", field=field)
    if wrong := [name for name in env if not name or "=" in name]:
        raise InvalidInput(f"{wrong[0]!r} is no name of an environment variable", field="env")
    strings = [cwd, *argv, *(f"{name}={value}" for name, value in env.items())]
    encoded = [os.fsencode(each) for each in strings]
    if any(b"\0" in each for each in encoded):
        raise InvalidInput("A NUL character cannot be passed to a program", field="argv")
    header = struct.pack("<IIII", _MAGIC, _VERSION, len(argv), len(env))
    content = header + b"".join(each + b"\0" for each in encoded)
    if len(content) > _MOST_BYTES:
        raise InvalidInput(f"Arguments and environment have {len(content)} bytes; at most {_MOST_BYTES} are possible")
    return content
