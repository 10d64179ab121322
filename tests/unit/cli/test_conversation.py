"""The look of a conversation: prompt and model, text that grows, kinds of calls, edits, exit codes, subagents."""

import io
import json

import pytest

from relay_cli.conversation import PROMPT_LINES, ConversationWriter
from relay_cli.rendering.style import Style
from relay_cli.rendering.tool_calls import EDIT_LINES, RESULT_LINES, call_lines, edit_lines, exit_code, kind_of
from relay_core.console.output import LogWriter


def entry(number=0, kind="assistant", text="", **more):
    defaults = {"tool": None, "usage": None, "truncated": False, "agent": None}
    return {"entry": number, "kind": kind, "text": text, **defaults, **more}


def call(name="Bash", given=None, **more):
    text = given if isinstance(given, str) else json.dumps(given or {"command": "ls"})
    return {"name": name, "input": text, "status": "completed", "result": "", "paths": [], **more}


def shown(*entries, style=None, execution=None):
    out = io.BytesIO()
    writer = ConversationWriter(out, style)
    if execution:
        writer.begin(execution)
    for one in entries:
        writer.show(one)
    writer.end()
    return out.getvalue().decode()


def test_it_begins_with_agent_model_and_prompt():
    execution = {
        "executor": "claude-code",
        "action": {"executor": {"model": "opus"}},
        "turn": {"prompt": "mend it\nand test it\n"},
    }
    assert shown(entry(text="Done."), execution=execution) == (
        "claude-code · opus\nprompt:\n  mend it\n  and test it\n\nDone.\n"
    )
    long = {**execution, "turn": {"prompt": "x\n" * (PROMPT_LINES + 3)}}
    assert "  … 3 more lines\n" in shown(execution=long)
    assert shown(execution={"executor": "codex", "action": {}, "turn": None}) == "codex\n"


def test_text_grows_and_is_written_once():
    first, second = entry(text="I lo"), entry(text="I look\nat it")
    assert shown(first, second, second, entry(1, text="Next")) == "I look\nat it\nNext\n"
    dim = shown(entry(kind="reasoning", text="so"), entry(kind="reasoning", text="so it"), style=Style(colour=True))
    assert dim == "\x1b[2m(thinking) so\x1b[0m\x1b[2m it\x1b[0m\n"


def test_a_call_that_ends_adds_its_result():
    running, ended = call(status="running"), call(result="a\nb\n")
    made = shown(entry(kind="tool_call", tool=running), entry(kind="tool_call", tool=ended))
    assert made == "> run (Bash): ls\n  a\n  b\n"
    aside = shown(
        entry(kind="tool_call", tool=running), entry(1, text="meanwhile"), entry(kind="tool_call", tool=ended)
    )
    assert aside == "> run (Bash): ls\nmeanwhile\n  a\n  b\n"


def test_a_long_result_is_cut():
    lines = call_lines(call(result="x\n" * (RESULT_LINES + 2)), Style())
    assert (len(lines), lines[-1]) == (RESULT_LINES + 2, "  … 2 more lines")


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ("Exit code 2\nno such file", 2),
        ("output\nmore\nand more\nand more\nExit Code: 1", 1),
        ("<returncode>3</returncode>\n", 3),
        ("it mentions exit code 7 here", None),
        ("exit codes are 3", None),
        ("", None),
    ],
)
def test_the_exit_code_of_a_call(result, code):
    assert exit_code(call(result=result)) == code


def test_a_failed_call_is_marked_with_its_exit_code():
    failed = call(status="failed", result="Exit code 2\nwrong")
    assert call_lines(failed, Style()) == ["> run (Bash): ls", "  (failed, exit code 2)", "  wrong"]
    assert "\x1b[31m  (failed, exit code 2)\x1b[0m" in call_lines(failed, Style(colour=True))
    assert call_lines(call(status="interrupted"), Style())[1:] == ["  (interrupted)"]


@pytest.mark.parametrize(
    ("given", "paths", "kind"),
    [
        ({"command": "ls"}, [], "run"),
        ({"cmd": ["ls", "-l"]}, [], "run"),
        ({"pattern": "x", "path": "src"}, [], "search"),
        ({"url": "https://example.org"}, [], "fetch"),
        ({"file_path": "a"}, [], "read"),
        ({"file_path": "a"}, ["a"], "edit"),
        ({"todos": []}, [], "call"),
        ("plain text", [], "call"),
    ],
)
def test_kinds_of_calls(given, paths, kind):
    assert kind_of(call(given=given, paths=paths)) == kind


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"old_string": "a\nb", "new_string": "a\nc"}, [" a", "-b", "+c"]),
        ({"oldString": "", "newString": "new"}, ["+new"]),
        ({"content": "one\ntwo\n"}, ["+one", "+two"]),
        (
            {"edits": [{"old_string": "a", "new_string": "b"}, {"old_string": "c", "new_string": ""}]},
            ["-a", "+b", "-c"],
        ),
        ({"changes": {"f": {"unified_diff": "@@ -1 +1 @@\n-a\n+b"}}}, ["@@ -1 +1 @@", "-a", "+b"]),
        ({"patchText": "*** Begin Patch\n+x"}, ["*** Begin Patch", "+x"]),
        ({"changes": [{"path": "f", "kind": "add"}]}, []),
        ({"input": "words"}, []),
        (None, []),
    ],
)
def test_the_lines_of_an_edit(given, lines):
    assert edit_lines(given) == lines


def test_an_edit_is_shown_as_a_diff():
    edit = call(
        "Edit", {"file_path": "src/a.py", "old_string": "a", "new_string": "b"}, paths=["src/a.py"], result="ok"
    )
    assert call_lines(edit, Style()) == ["> edit (Edit): src/a.py", "  -a", "  +b"]
    assert call_lines(edit, Style(colour=True))[1:] == ["  \x1b[31m-a\x1b[0m", "  \x1b[32m+b\x1b[0m"]
    refused = call("Edit", {"old_string": "a", "new_string": "b"}, paths=["f"], status="failed", result="not found")
    assert call_lines(refused, Style())[-2:] == ["  (failed)", "  not found"]
    whole = call("Write", {"content": "x\n" * 100}, paths=["f"])
    assert call_lines(whole, Style())[-1] == f"  … {100 - EDIT_LINES} more lines"


def test_subagents_stand_apart():
    made = shown(
        entry(text="I ask."),
        entry(1, text="Found\nit.", agent="explore: find it"),
        entry(2, kind="tool_call", tool=call(result="x"), agent="explore: find it"),
        entry(3, text="Good."),
    )
    assert made == ("I ask.\n  | [explore: find it]\n  | Found\n  | it.\n  | > run (Bash): ls\n  |   x\nGood.\n")


def test_notices_errors_and_usage():
    usage = {"input_tokens": 1368, "output_tokens": 10, "cost_usd": 0.00055, "duration_ms": 1368}
    made = shown(
        entry(kind="notice", text="again"),
        entry(1, kind="error", text="no key", truncated=True),
        entry(2, kind="usage", usage=usage),
        entry(3, kind="usage", usage={"turns": 1}),
    )
    assert made == (
        "notice: again\nerror: no key […]\nused 1,368 tokens in, 10 out · $0.0006\nused no tokens that the agent tells of\n"
    )


def test_hostile_text_stays_text_on_a_terminal():
    out = io.BytesIO()
    writer = ConversationWriter(LogWriter(out, terminal=True), Style(colour=True))
    evil = "a\x1b]52;c;aGk=\x07\x1b[2J\x9b2J\u202e"
    writer.begin({"executor": evil, "action": {"executor": {"model": evil}}, "turn": {"prompt": evil}})
    writer.show(entry(text=evil, agent=evil))
    writer.show(entry(1, kind="tool_call", tool=call(evil, evil, result=evil, paths=[evil])))
    writer.end()
    text = out.getvalue().decode()
    assert "<U+202E>" in text
    assert all(bad not in text for bad in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"))
