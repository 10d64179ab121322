"""A recording of README's commands with what they print: `docs/recording.md`, written by `scripts/record`."""

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.docs_commands import ROOT

PAGE = ROOT / "docs/recording.md"
_HEAD = """# A recording

The commands of [README](../README.md), from the first call on, with what they print into a file of 80 columns; on a terminal there are colours and
bars as well. `scripts/record` makes this page. A test compares it with what the commands print now: the words must be the same, ids, numbers and
times need not.

```text
"""
_TAIL = "```\n"
_PROGRESS = re.compile(r"(?:remote: )?[A-Z][A-Za-z ]+: +\d+% \(.*|relay: waits: .*")
_SAME = (
    (re.compile(r"^remote: .*\n", re.MULTILINE), ""),  # in whichever of two runs at the same time fetches first
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{7,64}\b"), "ID"),
    (re.compile(r"\bvk-[0-9a-f]{4}-"), "vk-ID-"),
    (re.compile(r"\b\d+(?:\.\d+)?(?:ms|[smhd])(?:\d\d[smh])?\b"), "TIME"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "N"),
    (re.compile(r"[ ]{2,}|-{2,}"), " "),
    (re.compile(r" (?:-|clone|setup_script|coding_agent) (?:success|running|queued) .*"), " STATUS"),
)


def commands_of(script: str) -> list[str]:
    """Return the commands of a script of bash, those of several lines whole."""
    found: list[str] = []
    lines = ""
    for line in script.splitlines(keepends=True):
        lines += line
        read = subprocess.run(["bash", "-n"], input=lines, capture_output=True, text=True, check=False)
        if read.returncode == 0 and not read.stderr:  # a here-document without its end is a warning
            found += [lines.rstrip("\n")] if lines.strip() else []
            lines = ""
    assert not lines, f"no command: {lines}"
    return found


def shown(command: str) -> str:
    """Return a command as the page shows it: after a prompt, and without its comment."""
    return "$ " + re.sub(r" {2,}# [^\n]*", "", command).replace("\n", "\n> ")


def telling(script: str) -> str:
    """Return a script that prints each command of ``script``, without its comment, before it runs it."""
    return "".join(
        f"printf '%s\\n' {shlex.quote(shown(command))}\n{command}\necho\n" for command in commands_of(script)
    )


def neutral(text: str, names: Mapping[str, str]) -> str:
    """Return what commands printed, with names of this machine replaced by those of ``names``, as the page has it."""
    for own, common in sorted(names.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(own, common)
    lines = (line.rpartition("\r")[2].rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if not _PROGRESS.fullmatch(line)).strip() + "\n"


def skeleton(text: str) -> str:
    """Return the words of a recording: ids, numbers, times and widths of columns are all the same, and no remote tells."""
    for pattern, same in _SAME:
        text = pattern.sub(same, text)
    return text


def recorded() -> str:
    """Return what the page has of the recording."""
    return PAGE.read_text().removeprefix(_HEAD).removesuffix(_TAIL)


def write(text: str, page: Path = PAGE) -> None:
    """Write the page."""
    page.write_text(_HEAD + text + _TAIL)
