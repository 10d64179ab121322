"""Decide whether the local stack may change the machine: install packages, start a service."""

import os
import sys
from dataclasses import dataclass
from enum import Enum

from relay_core.console.output import note


class Answer(Enum):
    """How to proceed with a change of the machine."""

    GO = "go"
    """Make the change."""
    ASK = "ask"
    """Ask the person at the terminal."""
    EXPLAIN = "explain"
    """Do not make the change; print the command that the person can run."""


def decide(*, is_root: bool, yes: bool, terminal: bool) -> Answer:
    """Return how to proceed with a change of the machine.

    Args:
        is_root: True if this process runs as root; if not, the answer is EXPLAIN.
        yes: True if the person allowed every change with `--yes`.
        terminal: True if a person can answer on a terminal; they are asked, unless `yes` is True.
    """
    if not is_root:
        return Answer.EXPLAIN
    return Answer.ASK if terminal and not yes else Answer.GO


@dataclass(frozen=True)
class Consent:
    """Permission of one command to change the machine.

    Attributes:
        yes: True if the person allowed every change with `--yes`.
    """

    yes: bool = False

    def given(self, change: str) -> bool:
        """Return whether a change may be made. Ask the person if necessary, else print a note with the change.

        Args:
            change: the change, as the beginning of a sentence ("Installing …").
        """
        answer = decide(is_root=os.geteuid() == 0, yes=self.yes, terminal=sys.stdin.isatty() and sys.stderr.isatty())
        if answer is Answer.ASK:
            print(f"relay: {change}? [Y/n] ", end="", file=sys.stderr, flush=True)
            return sys.stdin.readline().strip().lower() in {"", "y", "yes"}
        if answer is Answer.GO:
            note(change)
        return answer is Answer.GO
