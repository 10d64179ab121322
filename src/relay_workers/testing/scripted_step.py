"""A step whose script is understood by a shell and by the fake engine, so that one test runs on both."""

import json
import shlex
from dataclasses import asdict, dataclass

_MARK = b"# scripted step: "
FLED_GID = 54000
"""The gid that a child of a step of root takes where `ScriptedStep.flees` is set."""


@dataclass(frozen=True)
class ScriptedStep:
    """The behaviour of one step, in the order of its fields.

    Only what is listed here is scripted; a script without the marking line is taken for ``ScriptedStep()``.
    """

    stdout: str = ""
    """Text that the step writes to standard output first."""
    stderr: str = ""
    """Text that the step writes to standard error next."""
    exit_code: int | None = 0
    """The code it exits with at once; None: it runs until it is ended, as ``sleep`` does."""
    ignores_term: bool = False
    """Only KILL ends it, and its supervisor with it."""
    code_on_term: int | None = None
    """The code it exits with when TERM arrives; None: TERM ends it (143)."""
    leaves: tuple[str, ...] = ()
    """Programs that it leaves running in the background when it exits, each without a hold on the log."""
    leaves_log_held: bool = False
    """A ``sleep`` stays in the background and holds the log open."""
    flees: bool = False
    """A ``sleep`` with the gid `FLED_GID` stays in the background; only a step of root may do so."""
    listens: bool = False
    """It accepts connections on ``$PORT`` of any address, until it ends; `exit_code` must be None."""

    def script(self) -> str:
        """The script for a POSIX shell; its first line is what the fake engine reads."""
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
        if self.code_on_term is not None:  # a shell that waits in the foreground runs no trap
            return "while :; do sleep 0.05; done"
        return "exec sleep 1000"

    @classmethod
    def read(cls, script: bytes) -> "ScriptedStep":
        """The behaviour that ``script`` was made from."""
        for line in script.splitlines():
            if line.startswith(_MARK):
                fields = json.loads(line.removeprefix(_MARK))
                return cls(**{**fields, "leaves": tuple(fields["leaves"])})
        return cls()
