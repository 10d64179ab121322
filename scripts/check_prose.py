"""Report words that hide who acts, and names that were replaced: `python scripts/check_prose.py [PATH…]`.

It checks all lines of Python, Markdown and shell files, and docstrings and names in Python files. The exit code is 1 if
a line is reported.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

HIDDEN_SUBJECT = re.compile(r"\b(whoever|whomever|somebody|nobody|anybody|everybody)\b", re.IGNORECASE)
"""Words that hide who acts. Name the actor instead: the worker, the client, the agent, the operator."""
BEGINS_WITH_WHAT = re.compile(r"\s*What\b")
REPLACED = {
    "Ring": "QueueMessage",
    "Doorbell": "Dispatcher",
    "doorbell": "dispatcher",
    "rings": "messages",
    "unrung": "undispatched",
    "Bell": "ApiDispatcher",
    "make_engine": "make_database",
    "DockerEngine": "DockerContainers",
    "ContainerEngine": "Containers",
    "LetGo": "OwnershipLost",
    "LiveRuns": "LiveExecutions",
    "RunRequest": "TaskRequest",
    "RunTask": "ExecutionTask",
    "Teller": "StartReporter",
    "Beside": "DetachedTaskReporter",
    "tells_for_this_thread": "TaskRequest, given to Runner.run",
    "Ears": "FileWatcher",
    "Heard": "WatchEvents",
    "awake_and_asleep": "boottime_seconds",
}
"""Old names of Python objects that must not be used again → the name to use."""
CHECKED = ("src", "bench", "scripts", "docs", "README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md")
NOT_CHECKED = ("scripts/check_prose.py", "src/relay_core/store/schema/migrations/versions/")


def main(paths: list[str]) -> int:
    """Check the given paths, or `CHECKED`; print each finding as `path:line: text` and return the exit code."""
    listed = subprocess.run(["git", "ls-files", *(paths or CHECKED)], check=True, capture_output=True, text=True)
    found = [
        f"{name}:{line}: {problem}"
        for name in listed.stdout.split("\n")
        if name.endswith((".py", ".md", ".sh")) and not name.startswith(NOT_CHECKED) and Path(name).exists()
        for line, problem in problems(name, Path(name).read_text())
    ]
    print("\n".join(found))
    return 1 if found else 0


def problems(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of each line with a finding, and a text that says what to change."""
    for number, line in enumerate(text.splitlines(), 1):
        if word := HIDDEN_SUBJECT.search(line):
            yield number, f"'{word[0]}' hides the subject: say who acts"
    if name.endswith(".py"):
        yield from _docstrings(text)
        yield from _names(text)


def _docstrings(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        text_of = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
        if isinstance(text_of, str) and BEGINS_WITH_WHAT.match(text_of):
            yield node.lineno, "a docstring that begins with 'What': begin with the noun or the verb"


def _names(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string in REPLACED:
            yield token.start[0], f"the name {token.string} was replaced by {REPLACED[token.string]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
