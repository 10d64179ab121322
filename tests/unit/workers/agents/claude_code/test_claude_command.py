"""The command line of Claude Code where a conversation goes on at an earlier message."""

import pytest

from relay_core.domain.errors import InvalidInput
from relay_workers.agents.claude_code.command import ClaudeCode
from relay_workers.agents.port import TurnRequest

SESSION, MESSAGE = "5e0b7c94-3a2d-4f1e-8c6b-9d7a5e3f1b20", "0d9c8b7a-6f5e-4d3c-8b1a-2f3e4d5c6b7a"


def test_a_conversation_goes_on_after_the_message():
    script = ClaudeCode().plan(TurnRequest("x", resume_session_id=SESSION, resume_message_id=MESSAGE)).script.decode()
    assert f"--resume {SESSION} --resume-session-at {MESSAGE}" in script
    assert "--resume-session-at" not in ClaudeCode().plan(TurnRequest("x", resume_session_id=SESSION)).script.decode()


@pytest.mark.parametrize("bad", ["--dangerously-skip-permissions", "", "a title", f"{MESSAGE}\n"])
def test_an_id_that_could_be_read_as_an_option_is_refused(bad: str):
    with pytest.raises(InvalidInput) as caught:
        ClaudeCode().plan(TurnRequest("x", resume_session_id=SESSION, resume_message_id=bad))
    assert caught.value.field == "session_id"
