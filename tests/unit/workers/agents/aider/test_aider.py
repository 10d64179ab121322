"""The plan for aider; and what 0.86.2 prints."""

import os
import subprocess
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.aider.answer import tokens
from relay_workers.agents.aider.reader import AiderReader
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor
from relay_workers.agents.shared.text_lines import MAX_LINE_BYTES, TextLines

SID = "a309ccce-483a-4fef-91d3-92fadd397d97"
HEAD = f"""\
Conversation {SID}
Warning: Input is not a terminal (fd=0).
Analytics have been permanently disabled.

Aider v0.86.2
Model: openai/stub-model with diff edit format
Git repo: .git with 1 files
Repo-map: using 1024 tokens, auto refresh

"""
EDIT = """\
I will add it.

hello.txt
```
<<<<<<< SEARCH
=======
grüße, litellm.X: is no error here
>>>>>>> REPLACE
```
"""
TOKENS = "Tokens: 2.5k sent, 22 received. Cost: $0.0096 message, $0.01 session.\n"
APPLIED = "Applied edit to hello.txt\n"
REPORT = """\
The LLM did not conform to the edit format.
https://aider.chat/docs/troubleshooting/edit-errors.html

# 1 SEARCH/REPLACE block failed to match!

## SearchReplaceNoExactMatch: This SEARCH block failed to exactly match lines in hello.txt
<<<<<<< SEARCH
nonesuch line
=======
new
>>>>>>> REPLACE

The SEARCH section must exactly match an existing block of lines including all white space, comments, indentation, docstrings, etc

"""


def plan_of(**given):
    return get_executor("aider").plan(TurnRequest(**{"prompt": "fix it", **given}))


def run(plan, home, cwd):
    """Runs the script; what the program was given."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "OPENAI_BASE_URL": "http://x/v1"}
    command = ["sh", "-c", plan.script.decode()]
    return subprocess.run(command, check=False, env=env, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path / "clone"], check=True)
    return tmp_path / "clone"


def test_it_begins_a_conversation_that_it_names_and_keeps_out_of_the_clone(tmp_path, clone):
    plan = plan_of(command="echo", model="openai/m", args=("--edit-format", "diff"))
    assert plan.stdin == b"fix it"
    said = run(plan, tmp_path, clone).stdout.splitlines()
    named = said[0].removeprefix("Conversation ")
    assert uuid.UUID(named)
    assert "--no-auto-commits --no-dirty-commits --model openai/m --chat-history-file" in said[1]
    assert said[1].endswith(f"{named}.input --message-file /dev/stdin --edit-format diff")
    run(plan, tmp_path, clone)
    (clone / ".aider.tags.cache.v4").mkdir()
    (clone / ".aider.tags.cache.v4/x").touch()
    assert subprocess.check_output(["git", "status", "--short"], cwd=clone) == b""
    assert (clone / ".git/info/exclude").read_text().count("aider") == 1


def test_it_resumes_only_what_there_is(tmp_path, clone):
    plan = plan_of(command="echo", resume_session_id=SID)
    ended = run(plan, tmp_path, clone)
    reader = AiderReader()
    reader.feed(ended.stdout.encode())
    assert reader.verdict(ended.returncode).reason is Reason.CANNOT_RESUME
    (tmp_path / f".aider/relay/{SID}.md").write_text("# aider chat started at …")
    said = run(plan, tmp_path, clone).stdout.splitlines()
    assert said[0] == f"Conversation {SID}"
    assert "--restore-chat-history" in said[1]


def test_one_base_url_is_as_good_as_the_other(tmp_path, clone):
    script = plan_of(command="env").script.replace(b"exec env ", b"exec env #")
    assert "OPENAI_API_BASE=http://x/v1" in run(type("P", (), {"script": script}), tmp_path, clone).stdout


def test_plan_edits_nothing():
    assert b" --chat-mode ask " in plan_of(permission_mode="plan").script


@pytest.mark.parametrize("given", [{"prompt": ""}, {"resume_session_id": "../x"}])
def test_it_refuses_what_would_mean_something_else(given):
    with pytest.raises(InvalidInput):
        plan_of(**given)


def read(*pieces, **given):
    reader = AiderReader(**given)
    for piece in pieces:
        reader.feed(piece.encode())
    return reader


def test_a_turn_that_edits():
    reader = read(HEAD, EDIT, TOKENS, APPLIED)
    assert reader.verdict(0).success
    assert (reader.agent_session_id, reader.summary) == (SID, "I will add it.")
    assert reader.usage == {"input_tokens": 2500, "output_tokens": 22, "cost_usd": 0.01}
    answer, edit, usage = reader.entries()
    assert (answer.kind, answer.text) == (EntryKind.ASSISTANT, EDIT)
    assert (edit.kind, edit.tool.paths, edit.tool.status) == (
        EntryKind.FILE_EDIT,
        ("hello.txt",),
        ToolStatus.COMPLETED,
    )
    assert usage.kind is EntryKind.USAGE


@given(st.lists(st.integers(1, 200), max_size=30))
def test_pieces_do_not_matter(sizes):
    stream = (HEAD + EDIT + TOKENS + APPLIED + "Commit c59d867 Add it").encode()
    reader = AiderReader()
    for size in sizes:
        reader.feed(stream[:size])
        stream = stream[size:]
    reader.feed(stream)
    assert reader.verdict(0).success
    assert reader.summary == "I will add it."
    assert [entry.kind for entry in reader.entries()] == [
        EntryKind.ASSISTANT,
        EntryKind.FILE_EDIT,
        EntryKind.NOTICE,
        EntryKind.USAGE,
    ]


def test_what_it_asked_itself_is_not_the_answer():
    assert read(HEAD, "\nhello.txt\n", EDIT, TOKENS, "\nhello.txt\n", APPLIED).summary == "I will add it."
    only_a_block = EDIT.split("\n", 2)[2]
    assert read(HEAD, only_a_block, TOKENS).summary.startswith("hello.txt\n```\n")
    assert read(HEAD, only_a_block, TOKENS, APPLIED).summary == "Edited hello.txt"


def test_an_answer_that_could_not_be_carried_out_is_asked_for_again():
    reader = read(HEAD, EDIT, TOKENS, REPORT, "Better.\n", EDIT, TOKENS, APPLIED)
    assert reader.verdict(0).success
    assert reader.summary == "Better.\nI will add it."
    assert reader.usage["input_tokens"] == 5000
    kinds = [entry.kind for entry in reader.entries()]
    assert kinds == [
        EntryKind.ASSISTANT,
        EntryKind.NOTICE,
        EntryKind.ASSISTANT,
        EntryKind.FILE_EDIT,
        EntryKind.USAGE,
    ]
    given_up = "Only 3 reflections allowed, stopping.\n"
    verdict = read(HEAD, EDIT, TOKENS, REPORT, EDIT, TOKENS, REPORT, given_up).verdict(0)
    assert verdict.reason is Reason.AGENT_ERROR
    assert "Only 3 reflections allowed" in verdict.message


def test_an_error_of_the_model_hides_behind_exit_code_0():
    reader = read(HEAD, "litellm.BadRequestError: OpenAIException - scripted error 400\n\n")
    verdict = reader.verdict(0)
    assert verdict.reason is Reason.AGENT_ERROR
    assert verdict.message == "litellm.BadRequestError: OpenAIException - scripted error 400"
    assert [entry.kind for entry in reader.entries()] == [EntryKind.ERROR]
    denied = read(HEAD, "litellm.AuthenticationError: AuthenticationError: no\n").verdict(0)
    assert "OPENAI_API_KEY" in denied.message


def test_an_error_in_the_middle_of_a_block_is_one():
    half = EDIT.partition("=======")[0]
    gone = "litellm.APIConnectionError: peer closed connection\n"
    assert read(HEAD, half, gone).verdict(0).reason is Reason.AGENT_ERROR
    again = read(HEAD, half, gone, "Retrying in 0.2 seconds...\n", "undropped\n", TOKENS)
    assert again.verdict(0).success
    assert again.summary == "undropped"


@pytest.mark.parametrize(
    ("exit_code", "reason"), [(0, Reason.AGENT_ERROR), (143, Reason.EXIT_CODE), (66, Reason.EXIT_CODE)]
)
def test_without_an_answer(exit_code, reason):
    assert read(HEAD).verdict(exit_code).reason is reason


CUT = "<<<<<<< SElitellm.APIConnectionError: peer closed connection\n"
DOWN = "The API provider's servers are down or overloaded.\n"


def test_a_stream_that_breaks_off_is_an_error_behind_words():
    half = EDIT.partition("<<<<<<<")[0]
    reader = read(HEAD, EDIT, TOKENS, REPORT, half, CUT, DOWN, "Retrying in 0.2 seconds...\n", half, CUT)
    verdict = reader.verdict(0)
    assert (verdict.reason, verdict.message) == (
        Reason.AGENT_ERROR,
        "litellm.APIConnectionError: peer closed connection",
    )
    kinds = {entry.text.strip(): entry.kind for entry in reader.entries()}
    assert kinds[DOWN.strip()] is EntryKind.NOTICE
    assert "APIConnectionError" not in (reader.summary or "")
    quoted = read(HEAD, "It prints litellm.APIConnectionError: x\nwhere the net is gone.\n", TOKENS)
    assert quoted.verdict(0).success
    assert EntryKind.ERROR not in {entry.kind for entry in quoted.entries()}


def test_a_turn_of_which_every_edit_failed_is_no_success():
    verdict = read(HEAD, EDIT, TOKENS, REPORT, "I cannot do better.\n", TOKENS).verdict(0)
    assert (verdict.reason, "every edit" in verdict.message) == (Reason.AGENT_ERROR, True)
    assert read(HEAD, EDIT, TOKENS, REPORT, EDIT, TOKENS, APPLIED).verdict(0).success


def test_an_answer_that_broke_off_may_be_carried_out_and_fail():
    half = EDIT.partition("<<<<<<<")[0]
    reader = read(HEAD, half, CUT, "\n", REPORT, "A side note.\n", TOKENS)
    verdict = reader.verdict(0)
    assert (verdict.reason, "every edit" in verdict.message) == (Reason.AGENT_ERROR, True)
    assert reader.summary == "A side note."
    assert [entry.kind for entry in reader.entries() if REPORT[:20] in entry.text] == [EntryKind.NOTICE]


def test_the_first_line_of_an_answer_may_be_a_path_and_its_only_one_a_word():
    reader = read(HEAD, EDIT.split("\n", 2)[2], TOKENS, APPLIED)
    assert reader.entries()[0].text.startswith("hello.txt\n```")
    for only in ("Done.", "node.js"):
        short = read(HEAD, f"\n{only}\n", TOKENS)
        assert (short.verdict(0).success, short.summary) == (True, only)


def test_what_it_asks_itself_is_no_entry():
    reader = read(HEAD, EDIT, TOKENS, "\nsrc/new.py\n", APPLIED)
    reader.verdict(0)
    assert [entry.text for entry in reader.entries() if entry.kind is EntryKind.NOTICE] == []


def test_a_conversation_counts_once_the_model_has_answered():
    assert read(HEAD).agent_session_id is None
    assert read(HEAD, "I").agent_session_id is None
    assert read(HEAD, "litellm.BadRequestError: no\n").agent_session_id == SID
    assert read(HEAD, "I will\n").agent_session_id == SID


def test_an_error_that_the_model_quotes_is_none():
    ended = read(HEAD, "It says\nlitellm.BadRequestError: no\nbut that is old.\n", TOKENS)
    assert ended.verdict(0).success


def test_a_token_limit_after_an_answer_is_an_error():
    ended = read(HEAD, "First.\n", TOKENS, "Model openai/m has hit a token limit!\n")
    assert ended.verdict(0).reason is Reason.AGENT_ERROR


def test_odd_numbers_are_no_numbers():
    assert read(HEAD, "Hi.\n", "Tokens: 1.2.3 sent, 4 received. Cost: $1.2.3 message, $1.2.3 session.\n").verdict(0)


@pytest.mark.parametrize("prompt", ["/srv/app.py crashes", "!important: fix it"])
def test_a_prompt_is_never_one_of_its_commands(prompt):
    plan = get_executor("aider").plan(TurnRequest(prompt))
    assert plan.stdin == b"\n" + prompt.encode()


def test_tokens_are_read_whatever_is_told():
    line = "Tokens: 6.2k sent, 1.5k cache write, 500 cache hit, 112 received. Cost: $0.12 message, $1.50 session."
    assert tokens(line) == {
        "input_tokens": 4200,
        "cache_creation_input_tokens": 1500,
        "cache_read_input_tokens": 500,
        "output_tokens": 112,
        "cost_usd": 1.5,
    }
    assert tokens("Tokens: are words") is None


def test_lines_are_bounded():
    lines = TextLines()
    long = b"x" * (3 * MAX_LINE_BYTES)
    assert [len(line) for line in [*lines.feed(long), *lines.feed(b"\r\nshort\r\nend"), *lines.finish()]] == [
        MAX_LINE_BYTES,
        5,
        3,
    ]
