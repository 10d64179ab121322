"""Follow a run: show the log of each step as it arrives, until the API reports how the run ended."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any

from relay_cli.client import Api
from relay_cli.clone_view import CloneView, Lines, PlainLines
from relay_cli.conversation import ConversationWriter
from relay_cli.log_stream import LineWriter, LogPositions, Writer, follow_conversation, follow_log, logs_command
from relay_cli.outage import until_answered
from relay_cli.output import say
from relay_cli.rendering.names import step_name, waiting
from relay_cli.rendering.style import Style, style_of
from relay_cli.rendering.units import duration, seconds_between
from relay_cli.side_by_side import PrefixedWriter, show_side_by_side
from relay_core.console.output import log_writers
from relay_core.domain.agents.executors import EXECUTORS
from relay_core.domain.vocabulary import FINAL
from relay_core.quick_start import load
from relay_core.retry import Backoff

QUEUED_BACKOFF = Backoff(first_seconds=0.05, last_seconds=2.0)
"""Pauses between two requests that check whether a queued step has started, or whether a run goes on."""
END = "end"
"""Value in `LogPositions` for a log that was shown to its end, in place of an event id."""
STDERR_BYTES = 4096
"""Bytes at the end of an agent's stderr that are shown after its conversation."""


@dataclass
class View:
    """Where a followed run is shown, and how far it has been shown.

    Attributes:
        writers: a writer for each of the streams `stdout` and `stderr` of logs; conversations go to `stdout`.
        style: colours of what goes to the writer `stdout`.
        notes: colours of what the command itself says on standard error.
        bars: whether progress is shown as bars.
    """

    writers: Mapping[str, Writer]
    style: Style = field(default_factory=Style)
    notes: Style = field(default_factory=Style)
    bars: bool = False
    positions: LogPositions = field(default_factory=dict)

    def end_lines(self) -> None:
        """End a line that a log left open, before the command says something; a piped stdout keeps the exact bytes."""
        for name, writer in self.writers.items():
            exact = isinstance(writer, LineWriter) and name == "stdout" and not sys.stdout.isatty()
            if isinstance(writer, LineWriter | PrefixedWriter) and not exact:
                writer.end_line()


def view_of_terminal(*, as_json: bool = False) -> View:
    """Return the view for this process. With ``as_json``, logs go to standard error: JSON goes to standard output."""
    writers = {name: LineWriter(writer) for name, writer in log_writers().items()}
    notes = style_of(sys.stderr)
    if as_json:
        writers["stdout"] = writers["stderr"]
    return View(
        writers, notes if as_json else style_of(sys.stdout), notes, bars=notes.width is not None and notes.colour
    )


def follow_run(api: Api, run_id: str, view: View, shown: Iterable[str] = ()) -> dict[str, Any]:
    """Show the logs of all steps of a run, one after the other, until the run has ended; return the run.

    Steps that run at the same time are shown side by side, unless they have ended before.

    Args:
        api: client of the API.
        run_id: id of the run.
        view: where it is shown, and from which position on.
        shown: ids of executions that are not shown.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    seen = set(shown)
    pauses = QUEUED_BACKOFF.pauses()
    while True:
        run = get_run(api, run_id)  # before its steps: none can follow those of a run that has ended
        fresh = [step for step in steps_of(api, run) if step["id"] not in seen]
        for group in _groups(fresh):
            seen.update(step["id"] for step in group)
            if len(group) == 1 or all(step["status"] in FINAL for step in group):
                for step in group:
                    show_step(api, step, view)
            else:
                styles = {"stdout": view.style, "stderr": view.notes}
                show_side_by_side(group, view.writers, styles, partial(_show_beside, api, view))
        if fresh:
            pauses = QUEUED_BACKOFF.pauses()
            continue
        if run["status"] == "completed":
            return run
        time.sleep(next(pauses))


def _groups(steps: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the steps by their step group; a server of an earlier version names none, so each step is its own."""
    return [list(group) for _, group in groupby(steps, lambda step: step.get("group_id") or step["id"])]


def _show_beside(api: Api, view: View, step: dict[str, Any], writers: Mapping[str, Writer]) -> None:
    show_step(api, step, replace(view, writers=writers))


def get_run(api: Api, run_id: str) -> dict[str, Any]:
    """Return a run; wait while the API is away.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    return _asked(api, f"/v1/runs/{run_id}", logs_command(run_id))


def steps_of(api: Api, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the executions of a run in the order of their creation; wait while the API is away.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    path = f"/v1/runs/{run['id']}/executions"
    return until_answered(api, logs_command(run["id"]), lambda: list(api.items(path)))


def show_step(api: Api, execution: dict[str, Any], view: View) -> dict[str, Any]:
    """Wait until a step starts, show its log to the end, and return the ended execution.

    If the view's positions say that the log was shown to its end before, return ``execution`` at once.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    identity = execution["id"]
    if view.positions.get(identity) == END:
        return execution
    name = step_name(execution)
    if identity not in view.positions:
        say(f"{name} …")
        view.positions[identity] = ""
    started = await_start(api, execution, view.notes)
    if execution["run_reason"] == "clone":
        _show_clone(api, identity, view)
    elif has_conversation(execution):
        _show_conversation(api, started, view)
    else:
        follow_log(api, identity, view.writers, positions=view.positions)
    view.positions[identity] = END
    view.end_lines()
    ended = _execution(api, identity)
    took = seconds_between(ended["started_at"] or ended["created_at"], ended["completed_at"], datetime.now(UTC))
    status = view.notes.paint_status(ended["status"], ended["status"])
    say(f"{name} {status} after {duration(took)}")
    return ended


def await_start(api: Api, execution: dict[str, Any], style: Style) -> dict[str, Any]:
    """Wait until a step is no longer queued, and return it; print what it waits for whenever that changes.

    Raises:
        WatchLost: the API stayed unavailable for longer than GIVE_UP_SECONDS.
    """
    told: str | None = None
    pauses = QUEUED_BACKOFF.pauses()
    while execution["status"] == "queued":
        execution = _execution(api, execution["id"])
        why = waiting(execution.get("queue"))
        if why and why != told:
            say(style.paint(f"waits: {why}", "yellow"))
            told = why
        if execution["status"] == "queued":
            time.sleep(next(pauses))
    return execution


def has_conversation(execution: Mapping[str, Any]) -> bool:
    """Return whether an execution has a conversation: its executor is an agent whose output Relay can read."""
    kind = EXECUTORS.get(execution.get("executor") or "")
    return kind is not None and kind.conversation


def show_stderr(api: Api, execution: Mapping[str, Any], view: View) -> None:
    """Show the end of what an agent wrote to stderr, which its conversation does not have."""
    stored = execution["logs"]["stderr"]["bytes"]
    if not stored:
        return
    say(f"the agent wrote to stderr{' (its end)' if stored > STDERR_BYTES else ''}:")
    span = {"Range": f"bytes=-{STDERR_BYTES}"} if stored > STDERR_BYTES else {}
    path = f"/v1/executions/{execution['id']}/logs"
    for piece in api.body(path, params={"stream": "stderr"}, headers=span):
        view.writers["stderr"].write(piece)
    view.end_lines()


def _show_clone(api: Api, identity: str, view: View) -> None:
    bars: Lines | None = load("relay_cli.clone_bars:bar_lines")() if view.bars else None
    lines = bars or PlainLines(view.writers["stderr"])
    clone = CloneView(lines)
    error: str | None = None
    try:
        ending = follow_log(api, identity, {"stdout": clone, "stderr": clone}, positions=view.positions)
        error = ending.get("error_reason")
    finally:
        clone.end(error)


def _show_conversation(api: Api, execution: dict[str, Any], view: View) -> None:
    conversation = ConversationWriter(view.writers["stdout"], view.style)
    if not view.positions.get(execution["id"]):
        conversation.begin(_execution(api, execution["id"]))
    follow_conversation(api, execution["id"], conversation, view.positions)
    show_stderr(api, _execution(api, execution["id"]), view)


def _execution(api: Api, execution_id: str) -> dict[str, Any]:
    return _asked(api, f"/v1/executions/{execution_id}", logs_command(execution_id))


def _asked(api: Api, path: str, see_also: str) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        found: dict[str, Any] = api.call("GET", path)
        return found

    return until_answered(api, see_also, ask)
