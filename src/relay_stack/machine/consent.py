"""Whether the local stack may change the machine: install packages, start a service."""

import os
import sys
from dataclasses import dataclass
from enum import Enum

from relay_core.console.output import note


class Answer(Enum):
    """What to do about a change."""

    GO = "go"
    ASK = "ask"
    EXPLAIN = "explain"


def decide(*, is_root: bool, yes: bool, terminal: bool) -> Answer:
    """Without root a change is only explained; as root it is asked about on a terminal, unless told `--yes`."""
    if not is_root:
        return Answer.EXPLAIN
    return Answer.ASK if terminal and not yes else Answer.GO


@dataclass(frozen=True)
class Consent:
    """How this call of the command line may change the machine."""

    yes: bool = False

    def given(self, change: str) -> bool:
        """True where the change may be made; asks on a terminal."""
        answer = decide(is_root=os.geteuid() == 0, yes=self.yes, terminal=sys.stdin.isatty() and sys.stderr.isatty())
        if answer is Answer.ASK:
            print(f"relay: {change}? [Y/n] ", end="", file=sys.stderr, flush=True)
            return sys.stdin.readline().strip().lower() in {"", "y", "yes"}
        if answer is Answer.GO:
            note(change)
        return answer is Answer.GO
