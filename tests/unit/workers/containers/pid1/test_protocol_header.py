"""The numbers of the client are those of the C program's header."""

import re
from enum import IntEnum
from pathlib import Path

import pytest

from relay_workers.containers.pid1.answers import EndFlag, How, State
from relay_workers.containers.pid1.messages import (
    ANSWER,
    HEADER,
    MOST_BYTES,
    MOST_DESCRIPTORS,
    VERSION,
    Error,
    Stage,
    StartFlag,
    Verb,
)

ROOT = Path(__file__).parents[5]
HEADER_FILE = (ROOT / "src/relay_workers/containers/pid1/src/protocol.h").read_text()
OTHER_NAMES = {"HOW_NONE": "HOW_NOT_YET", "END_DEADLINE": "END_DEADLINE_PASSED"}


def numbers(prefix: str) -> dict[str, int]:
    found = re.findall(
        rf"^\s+((?:{prefix})_\w+) = (\w+),?$|(?<!\w)((?:{prefix})_\w+) = (\w+)[, ]", HEADER_FILE, re.MULTILINE
    )
    pairs = [(a or c, int(b or d, 0)) for a, b, c, d in found]
    return {OTHER_NAMES.get(name, name).partition("_")[2]: number for name, number in pairs}


@pytest.mark.parametrize(
    ("words", "prefix", "left_out"),
    [
        (Verb, "VERB|EVENT", set()),
        (Error, "ERROR", set()),
        (Stage, "STAGE", set()),
        (StartFlag, "START", {"FLAGS"}),
        (State, "STATE", {"NONE"}),
        (How, "HOW", set()),
        (EndFlag, "END", set()),
    ],
)
def test_words_have_the_numbers_of_the_header(words: type[IntEnum], prefix, left_out):
    expected = {name: number for name, number in numbers(prefix).items() if name not in left_out}
    assert {word.name: word.value for word in words} == expected


def test_sizes_are_those_of_the_header():
    found = dict(re.findall(r"^\s+(\w+) = (\d+),$", HEADER_FILE, re.MULTILINE))
    sizes = {
        "PROTOCOL_VERSION": VERSION,
        "MESSAGE_MAX": MOST_BYTES,
        "DESCRIPTORS_MAX": MOST_DESCRIPTORS,
        "HEADER_SIZE": HEADER.size,
    }
    assert {name: int(found[name]) for name in sizes} == sizes
    assert f"#define ANSWER_BIT {ANSWER:#x}u" in HEADER_FILE
