"""The words of a step, and the memory files in which they travel."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.errors import InvalidInput
from relay_workers.containers.pid1.memfd import encode_words, sealed

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1, max_size=10)


@given(text.map("/".__add__), st.lists(text, min_size=1, max_size=5), st.dictionaries(names, text, max_size=5))
def test_words_can_be_split_again(cwd, argv, env):
    content = encode_words(cwd, argv, env)
    magic, version, arguments, variables = struct.unpack_from("<4sIII", content)
    assert (magic, version, arguments, variables) == (b"WORD", 1, len(argv), len(env))
    assert content.endswith(b"\0")
    assert content[16:-1].split(b"\0") == [
        os.fsencode(each) for each in [cwd, *argv, *(f"{name}={value}" for name, value in env.items())]
    ]


@pytest.mark.parametrize(
    ("cwd", "argv", "env", "message"),
    [
        ("/", [], {}, "at least one argument"),
        ("workspace", ["true"], {}, "'workspace' is not absolute"),
        ("/", ["true", "a\0b"], {}, "NUL"),
        ("/", ["true"], {"A": "a\0b"}, "NUL"),
        ("/", ["true"], {"A=B": "c"}, "'A=B' is no name"),
        ("/", ["true"], {"": "c"}, "'' is no name"),
        ("/", ["true"] * 16_385, {}, "at most 16384 words in argv, not 16385"),
        ("/", ["true", "x" * 2**22], {}, "at most 4194304 are possible"),
    ],
    ids=range(8),
)
def test_words_that_no_program_can_get_are_refused(cwd, argv, env, message):
    with pytest.raises(InvalidInput, match=message):
        encode_words(cwd, argv, env)


def test_a_sealed_file_is_read_from_its_beginning_and_cannot_be_changed():
    fd = sealed("prompt", b"text")
    try:
        assert os.read(fd, 10) == b"text"
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        for change in (
            lambda: os.pwrite(again, b"X", 0),
            lambda: os.ftruncate(again, 2),
            lambda: os.ftruncate(again, 9),
        ):
            with pytest.raises(PermissionError):
                change()
        os.close(again)
        assert os.pread(fd, 10, 0) == b"text"
    finally:
        os.close(fd)
