"""Where agents keep their conversations as lines."""

import pytest

from relay_workers.agents.line_logs import line_logs

ID = "0b6f0c5e-7a51-4ab5-9d0c-2f3d8c1b2a10"


def test_the_file_is_named_by_the_conversation() -> None:
    assert line_logs("claude-code", ID) == [(".claude", "projects", "*", f"{ID}.jsonl")]
    assert line_logs("codex", ID)[0][-1] == f"rollout-*-{ID}.jsonl"
    assert line_logs("gemini", ID)[0][-1] == f"session-*-{ID[:8]}.jsonl"
    assert line_logs("aider", ID) == line_logs("shell", ID) == []


@pytest.mark.parametrize("odd", ["*", "../x", "a/b", "[a]", "", "a.b", "a\0"])
def test_an_id_is_no_pattern(odd: str) -> None:
    assert line_logs("codex", odd) == []
