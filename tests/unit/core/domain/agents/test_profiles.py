"""Profiles: what a file may say, how layers overlay, what a request means."""

import pytest

from relay_core.domain.agents.profiles import BUILT_IN, check, choose, overlay, parse
from relay_core.domain.errors import InvalidInput
from relay_core.profile_file import load_profiles
from relay_core.settings import Settings

FILE = """
[claude-code.default]
model = "sonnet"

[claude-code.deep]
model = "opus"
args = ["--verbose"]
env = { ANTHROPIC_BASE_URL = "https://gateway.example.org" }
"""


def test_later_layers_win_field_by_field():
    project = check({"claude-code": {"deep": {"model": "haiku"}, "own": {"permission_mode": "plan"}}})
    merged = overlay(BUILT_IN, parse(FILE), project)
    deep = choose(merged, {"name": "claude-code", "variant": "deep"})
    assert (deep.model, deep.args, dict(deep.env)) == (
        "haiku",
        ("--verbose",),
        {"ANTHROPIC_BASE_URL": "https://gateway.example.org"},
    )
    assert choose(merged, {"name": "claude-code"}).model == "sonnet"
    assert choose(merged, {"name": "claude-code", "variant": "own"}).permission_mode == "plan"
    assert choose(merged, {"name": "claude-code", "variant": "plan"}).permission_mode == "plan"
    assert "deep" not in BUILT_IN["claude-code"]


def test_a_request_wins_over_its_variant():
    merged = overlay(BUILT_IN, parse(FILE))
    chosen = choose(merged, {"name": "claude-code", "variant": "deep", "model": "fable", "command": None})
    assert (chosen.variant, chosen.model, chosen.args) == ("deep", "fable", ("--verbose",))


def test_an_unknown_variant_lists_those_there_are():
    with pytest.raises(InvalidInput, match="there are: default, plan, deep") as caught:
        choose(overlay(BUILT_IN, parse(FILE)), {"name": "claude-code", "variant": "yolo"})
    assert caught.value.field == "executor.variant"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("x = ", "profiles", "not TOML"),
        ("[clod.default]", "clod", "is no executor; there are: shell, claude-code"),
        ("claude-code = 1", "claude-code", "must hold tables"),
        ("[claude-code]\ndefault = 1", "claude-code.default", "must be a table"),
        ("[claude-code.'a b']", "claude-code", "cannot be a variant's name"),
        ("[claude-code.a]\nmodle = 'x'", "claude-code.a.modle", "not a field; there are: command, model"),
        ("[claude-code.a]\nmodel = 3", "claude-code.a.model", "claude-code.a.model must be a text"),
        ("[claude-code.a]\npermission_mode = 'x'", "claude-code.a.permission_mode", "there are: auto, plan"),
        ("[claude-code.a]\nargs = 'x'", "claude-code.a.args", "list"),
        ("[shell.a]\nmodel = 'x'", "shell.a.model", "no model"),
    ],
)
def test_a_wrong_file_says_where_and_what(text, place, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        parse(text)
    assert caught.value.field == place


def test_a_file_is_named_in_its_error(tmp_path):
    file = tmp_path / "agents.toml"
    with pytest.raises(InvalidInput, match=r"RELAY_AGENTS_FILE .*agents.toml: .*No such file"):
        load_profiles(Settings(agents_file=file))
    file.write_text("[codex")
    with pytest.raises(InvalidInput, match=r"agents\.toml: not TOML"):
        load_profiles(Settings(agents_file=file))
    file.write_text(FILE)
    assert "deep" in load_profiles(Settings(agents_file=file))["claude-code"]
    assert load_profiles(Settings()) is BUILT_IN
