"""The exit codes of the commands that follow a run; docs/cli.md lists them."""

from collections.abc import Mapping
from typing import Any, Final

from relay_core.domain.vocabulary import Reason

SUCCESS: Final = 0
FAILURE: Final = 1
"""The command itself failed; also a step of the run whose own exit code is no number from 1 to 255."""
LOST_CONTACT: Final = 75
"""The API stayed away while the run went on, so its outcome is unknown. 75 is EX_TEMPFAIL of sysexits.h."""
TIMED_OUT: Final = 124
"""A limit of time ended the run; `timeout` of coreutils uses the same code."""
RELAY_FAILED: Final = 125
"""Relay could not run the command to its end; `docker run` uses the same code when docker itself fails."""
CANCELLED: Final = 130
"""A person cancelled the run; shells use the same code for a program that Ctrl-C ended."""

_OWN_EXITS = frozenset({Reason.EXIT_CODE, Reason.AGENT_ERROR, Reason.CANNOT_RESUME})
"""Reasons for which the process of the step ended by itself, so that its exit code is the answer."""
_BY_REASON = {
    Reason.USER: CANCELLED,
    Reason.TIMEOUT: TIMED_OUT,
    Reason.CLONE_TIMEOUT: TIMED_OUT,
    Reason.NO_OUTPUT: TIMED_OUT,
}
_BY_CONCLUSION = {"success": SUCCESS, "cancelled": CANCELLED, "timed_out": TIMED_OUT, "lost": RELAY_FAILED}


def of_run(run: Mapping[str, Any]) -> int:
    """Return the exit code for a run that has ended: by its conclusion, for a failure by the step that decided it."""
    known = _BY_CONCLUSION.get(run["conclusion"])
    return _of_failure(run.get("reason"), run.get("exit_code")) if known is None else known


def of_execution(execution: Mapping[str, Any]) -> int:
    """Return the exit code for an execution that has ended."""
    if execution["status"] == "completed":
        return SUCCESS
    return _of_failure(execution.get("reason"), execution.get("exit_code"))


def _of_failure(reason: str | None, code: int | None) -> int:
    if reason in _OWN_EXITS:
        return code if code is not None and code in range(1, 256) else FAILURE
    return _BY_REASON.get(Reason(reason), RELAY_FAILED) if reason in list(Reason) else RELAY_FAILED
