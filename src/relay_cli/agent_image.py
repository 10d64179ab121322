"""Offers, before a run is posted to the local stack, to build the image with the run's agent."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relay_core.console.output import note
from relay_core.domain.job_file import PATHS, JobFile, JobFileInvalid, parse
from relay_core.domain.job_settings import DEFAULT_EXECUTOR
from relay_core.quick_start import load


def agent_without_image(given: Mapping[str, Any]) -> str | None:
    """Return the agent of a run for which neither the request nor the job file of a local repository names an image.

    None: an image is named, or may be named by the project; or no agent runs.

    Args:
        given: value of each option of `relay run`, by the name of its parameter.
    """
    if given["image"] or given["project"] or given["command"]:
        return None
    file = None if given["no_job_file"] else _job_file((given["repo"] or ["."])[0])
    if file is not None and file.image:
        return None
    chosen = file.executor.get("name") if file is not None else None
    return str(given["executor"] or chosen or DEFAULT_EXECUTOR)


def offer(agent: str, stack_dir: Path) -> None:
    """Build the image of an agent, if the engine of this machine has none and the person at the terminal agrees.

    Without a terminal, print how to build it. The run is posted in any case: its clone says what is missing.

    Args:
        agent: name of the executor.
        stack_dir: data directory of the local stack.
    """
    # Imported only now: the library of the engine takes 0.2 s, and most runs name an image or have one.
    load("relay_cli.agent_image_build:offer_build")(agent, stack_dir, ask=_agrees)


def _agrees(agent: str, tag: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        note(f"{agent} runs in {tag}, which is not on this machine; build it with `relay image build {agent}`")
        return False
    question = f"relay: {agent} runs in {tag}, which is not on this machine. Build it now (about a minute)? [Y/n] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"", "y", "yes"}


def _job_file(repo: str) -> JobFile | None:
    """Return the job file of a repository on this machine; None if there is none, or if it has a fault."""
    start = Path(repo).expanduser()
    if "://" in repo or not start.is_dir():
        return None
    start = start.resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), start)
    for path in PATHS:
        if (root / path).is_file():
            try:
                return parse((root / path).read_bytes(), path)
            except (JobFileInvalid, OSError):
                return None
    return None
