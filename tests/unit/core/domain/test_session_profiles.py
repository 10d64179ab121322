"""Session profiles in a TOML file."""

import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.session_profiles import SessionProfile, find, parse

FILE = """
[review]
description = "Reads"
image = "relay-claude-code:latest"
executor = { name = "claude-code", variant = "plan" }

[shell]
shell = "bash"
columns = 120
rows = 40
"""


def test_profiles_are_read_in_the_order_of_the_file():
    found = parse(FILE)
    assert list(found) == ["review", "shell"]
    executor = {"name": "claude-code", "variant": "plan"}
    assert found["review"] == SessionProfile("review", "Reads", "relay-claude-code:latest", executor)
    assert found["shell"] == SessionProfile("shell", shell="bash", columns=120, rows=40)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[", "profiles"),
        ("a = 1", "a"),
        ("['a b']", "a b"),
        ("[a]\nmore = 1", "a.more"),
        ("[a]\nimage = '-x'", "a.image"),
        ("[a]\nimage = 1", "a.image"),
        ("[a]\nshell = '/bin/fish'", "a.shell"),
        ("[a]\ncolumns = 0", "a.columns"),
        ("[a]\nrows = true", "a.rows"),
        ("[a]\nexecutor = 'codex'", "a.executor"),
        ("[a]\nexecutor = { name = 'codex', env = {} }", "a.executor.env"),
        ("[a]\nexecutor = { name = 'unknown' }", "a.executor.name"),
        ("[a]\nexecutor = { model = 'x' }", "a.executor.name"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_place(text: str, place: str):
    with pytest.raises(InvalidInput) as refused:
        parse(text)
    assert refused.value.field == place


def test_an_unknown_profile_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidInput, match="there are: review, shell"):
        find(parse(FILE), "other")
    with pytest.raises(InvalidInput, match="this server has none"):
        find({}, "review")
