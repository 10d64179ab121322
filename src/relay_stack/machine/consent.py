"""Decides whether the local stack may change the machine: install packages, start a service."""

import os
import sys
from dataclasses import dataclass
from enum import Enum

from relay_core.console.output import note


class Answer(Enum):
    """How to proceed with a change."""

    GO = "go"
    """Make the change."""
    ASK = "ask"
    """Ask the person at the terminal."""
    EXPLAIN = "explain"
    """Do not make it, and tell the person the command."""


def decide(*, is_root: bool, yes: bool, terminal: bool) -> Answer:
    """How to proceed with a change: without root explain; on a terminal without `--yes` ask; else go."""
    if not is_root:
        return Answer.EXPLAIN
    return Answer.ASK if terminal and not yes else Answer.GO


@dataclass(frozen=True)
class Consent:
    """Permission of one command to change the machine.

    Attributes:
        yes: the person allowed every change with `--yes`.
    """

    yes: bool = False

    def given(self, change: str) -> bool:
        """Whether a change may be made; asks the person on a terminal, else notes the change.

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
