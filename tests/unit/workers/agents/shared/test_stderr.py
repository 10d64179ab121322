"""What agents say on standard error when they cannot start, or try for ever."""

import pytest

from relay_workers.agents.shared.stderr import MAX_CHARACTERS, TAIL_BYTES, failure_cause

CODEX = b"""\
WARNING: proceeding, even though we could not create PATH aliases: x
error: unexpected argument '--no-such-flag' found

  tip: to pass '--no-such-flag' as a value, use '-- --no-such-flag'

Usage: codex exec [OPTIONS] [PROMPT]
"""
GEMINI = b"""\
Warning: 256-color support not detected. Using a terminal with at least 256-color support is recommended.
YOLO mode is enabled. All tool calls will be automatically approved.
[STARTUP] Cannot measure phase 'cleanup_ops': start mark not found
Attempt 3 failed with status 429. Retrying with backoff... _ApiError: {"error":{"message":"scripted error 429"}}
    at throwErrorIfNotOK (file:///opt/x.js:1:2)
    at process.processTicksAndRejections (node:internal/process/task_queues:90:21) {
  status: 429
}
"""
MINI = "╭─ Error ──────────────────────╮\n│ No such option: --no-such-flag │\n╰──────────────────╯\n".encode()
TRACEBACK = b"""\
Traceback (most recent call last):
  File "/opt/x.py", line 1, in <module>
    main()
ModuleNotFoundError: No module named 'mcp'
"""


@pytest.mark.parametrize(
    ("stderr", "begins"),
    [
        (CODEX, "error: unexpected argument '--no-such-flag' found tip:"),
        (GEMINI, "Attempt 3 failed with status 429."),
        (MINI, "No such option: --no-such-flag"),
        (TRACEBACK, "ModuleNotFoundError: No module named 'mcp'"),
        (b"\x1b[91m\x1b[1mError: \x1b[0mSession not found\n", "Error: Session not found"),
        (b"it goes\nwithout reason\n", "it goes without reason"),
    ],
)
def test_the_cause_is_its_last_words_of_failure(stderr, begins):
    assert (failure_cause(stderr) or "").startswith(begins)


def test_what_is_printed_in_every_run_is_no_cause():
    quiet = b"Ripgrep is not available. Falling back to GrepTool.\nYOLO mode is enabled.\n"
    assert failure_cause(quiet) is None
    assert failure_cause(b"thinking\n", certain=True) is None


def test_it_is_short_whatever_is_printed():
    assert len(failure_cause(b"error " + b"x" * TAIL_BYTES) or "") <= MAX_CHARACTERS
    assert failure_cause(b"\xff\x00\xfe") is not None
