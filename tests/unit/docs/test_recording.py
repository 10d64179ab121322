"""The recording of README's commands: it has all of them, and nothing of the machine it was made on."""

import re

import pytest

from tests.support.docs_commands import ROOT, script_of
from tests.support.recording import PAGE, commands_of, neutral, recorded, shown, skeleton, telling

SCRIPT = "a 'b'  # why\ncat <<END\nc  # no comment of the shell\nEND\n\nif true\nthen d\nfi\n"


def test_each_command_of_readme_is_recorded_in_its_order():
    at = 0
    text = recorded()
    for command in commands_of(script_of(ROOT / "README.md")):
        at = text.find(shown(command), at)
        assert at >= 0, f"scripts/record writes it anew: {command}"


def test_nothing_of_the_machine_is_recorded():
    assert re.findall(r"(?<!v1)/(?:tmp|root|work|home/(?!you/))\S*|relay-docs-\S*", PAGE.read_text()) == []


def test_commands_of_several_lines_are_whole():
    assert commands_of(SCRIPT) == [
        "a 'b'  # why",
        "cat <<END\nc  # no comment of the shell\nEND",
        "if true\nthen d\nfi",
    ]
    assert telling("a 'b'  # why\n").splitlines()[1:] == ["a 'b'  # why", "echo"]
    assert shown("a 'b'  # why") == "$ a 'b'"


def test_the_machine_is_replaced_and_progress_left_out():
    said = "in /tmp/x/relay at /tmp/x\nReceiving objects:  10% (1/9)\rReceiving objects: 100% (9/9)\n\n"
    assert neutral(said, {"/tmp/x": "/home/you", "/tmp/x/relay": "/home/you/relay"}) == (
        "in /home/you/relay at /home/you\n"
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("run 3b1e74cc took 2m05s", "run ae41aaaf took 0.4s", True),
        ("ab12cd34  title    -     success  1s   2.0s", "ffffffff  title  clone  running  12s  -", True),
        ("Branch vk-22250e5c-x at f5a7089af75a", "Branch vk-00000000-x at 0123456789ab", True),
        ("cloning x\nremote: Total 9 (delta 1)\nready\n", "cloning x\nready\n", True),
        ("run 3b1e74cc succeeded", "run 3b1e74cc failed", False),
        ("STEP  STATUS", "STEP  STATE", False),
    ],
)
def test_ids_times_and_widths_need_not_be_the_same(one: str, other: str, *, same: bool):
    assert (skeleton(one) == skeleton(other)) is same
