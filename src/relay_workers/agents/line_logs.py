"""The files in which agents keep their conversations, one JSON object per line, below the home directory."""

from collections.abc import Mapping, Sequence

_CLAUDE = (".claude", "projects", "*", "{id}.jsonl")
_PATTERNS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "claude-code": (_CLAUDE,),
    "acp": (_CLAUDE,),  # the adapter of Claude Code; other agents that speak the protocol have files of their own
    "gemini": ((".gemini", "tmp", "*", "chats", "session-*-{short}.jsonl"),),
    "codex": ((".codex", "sessions", "*", "*", "*", "rollout-*-{id}.jsonl"),),
    "qwen": ((".qwen", "projects", "*", "chats", "{id}.jsonl"),),
}
"""Names of directories and, last, of the file.

`*` stands for any text, `{id}` for the id of the conversation, `{short}` for its first `_SHORT` characters.
"""
_SHORT = 8


def line_logs(executor: str, conversation: str) -> list[tuple[str, ...]]:
    """Return where the files of a conversation are, as patterns of names (`fnmatch`); empty if it has no such file.

    Args:
        executor: name of the executor.
        conversation: the agent's own id of the conversation.
    """
    if not conversation.replace("-", "").replace("_", "").isalnum():
        return []  # it could be a pattern, or a path
    names = {"id": conversation, "short": conversation[:_SHORT]}
    return [tuple(part.format(**names) for part in pattern) for pattern in _PATTERNS.get(executor, ())]
