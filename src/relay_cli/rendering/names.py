"""Short names of runs, steps and repositories, safe for a terminal."""

from collections.abc import Mapping
from typing import Any

from relay_core.console.terminal_text import safe_line

SHORT_ID = 8
"""Characters of an id that people see; commands and the API take such a prefix."""


def short(identity: str | None) -> str:
    """Return the first characters of an id; `-` for None."""
    return identity[:SHORT_ID] if identity else "-"


def step_name(step: Mapping[str, Any]) -> str:
    """Return the kind of a step, with its repository if it belongs to one: `setup_script of app`."""
    of = f" of {step['repo']}" if step.get("repo") else ""
    return safe_line(f"{step['run_reason']}{of}")


def repo_names(run: Mapping[str, Any]) -> str:
    """Return the name of a run's first repository and the number of further ones: `app +1`; `-` without any."""
    names = [repo["name"] for repo in run.get("repos") or []]
    if not names:
        return "-"
    return safe_line(names[0]) + (f" +{len(names) - 1}" if len(names) > 1 else "")


def state_word(run: Mapping[str, Any]) -> str:
    """Return the conclusion of a run that has ended, else its status."""
    return safe_line(str(run.get("conclusion") or run["status"]))


def waiting(queue: Mapping[str, Any] | None) -> str | None:
    """Return what a queued step waits for, as a clause; None if a worker is about to take it."""
    if not queue:
        return None
    if queue.get("waits"):
        return safe_line(str(queue["waits"]))
    if queue.get("ahead"):
        count = queue["ahead"]
        return f"{count} earlier {'step' if count == 1 else 'steps'} of the workspace must end first"
    if queue.get("waits_for"):
        return f"another step of the workspace must end first: {', '.join(map(short, queue['waits_for']))}"
    return None
