"""A step whose script is understood by both a shell and the fake engine, so that one test runs on both."""

import json
import shlex
from dataclasses import asdict, dataclass

_MARK = b"# scripted step: "
FLED_GID = 54000
"""The gid that a root step's background process switches to if `ScriptedStep.flees` is set."""


@dataclass(frozen=True)
class ScriptedStep:
    """The behaviour of one step; it does things in the order of the fields.

    Only these things can be scripted. A script without the marker line is read as ``ScriptedStep()``.
    """

    stdout: str = ""
    """Text that the step writes to standard output first."""
    stderr: str = ""
    """Text that the step writes to standard error next."""
    exit_code: int | None = 0
    """The code with which the step exits at once; None: it runs until it is killed, as ``sleep`` does."""
    ignores_term: bool = False
    """Whether the step ignores TERM."""
    code_on_term: int | None = None
    """The code with which the step exits when TERM arrives; None: TERM kills it (exit code 143)."""
    leaves: tuple[str, ...] = ()
    """Programs that the step leaves running in the background when it exits. None of them holds the log open."""
    leaves_log_held: bool = False
    """Whether a ``sleep`` stays in the background and holds the log open."""
    flees: bool = False
    """Whether a ``sleep`` with the gid `FLED_GID` stays in the background; only a root step can do this."""
    listens: bool = False
    """Whether the step listens on port ``$PORT`` of any address until it exits; `exit_code` must be None."""

    def script(self) -> str:
        """Return the script for a POSIX shell; the fake engine reads the behaviour from its first line."""
        lines = [_MARK.decode() + json.dumps(asdict(self))]
        if self.ignores_term:
            lines.append("trap '' TERM")
        if self.code_on_term is not None:
            lines.append(f"trap 'exit {self.code_on_term}' TERM")
        for text, target in ((self.stdout, ""), (self.stderr, " >&2")):
            if text:
                lines.append(f"printf %s {shlex.quote(text)}{target}")
        lines += [f"setsid {program} 1000 >/dev/null 2>&1 &" for program in self.leaves]
        if self.leaves_log_held:
            lines.append("setsid sleep 1000 &")
        if self.flees:
            lines.append(f"setpriv --regid {FLED_GID} --clear-groups setsid sleep 1000 >/dev/null 2>&1 &")
        return "\n".join([*lines, self._last_line(), ""])

    def _last_line(self) -> str:
        if self.exit_code is not None:
            return f"exit {self.exit_code}"
        if self.listens:
            return 'exec python3 -m http.server "$PORT" --bind "$HOST" >/dev/null 2>&1'
        if self.code_on_term is not None:  # a shell runs no trap while it waits for a foreground process
            return "while :; do sleep 0.05; done"
        return "exec sleep 1000"

    @classmethod
    def read(cls, script: bytes) -> "ScriptedStep":
        """Return the behaviour from which ``script`` was generated."""
        for line in script.splitlines():
            if line.startswith(_MARK):
                fields = json.loads(line.removeprefix(_MARK))
                return cls(**{**fields, "leaves": tuple(fields["leaves"])})
        return cls()
