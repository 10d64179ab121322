"""The use case of `relay up`: prepare the machine, start the stack, run the sample job, wait until the stack stops."""

import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from relay_core.console.output import note
from relay_stack.errors import StackProblem
from relay_stack.files.data_dir import stack_is_up
from relay_stack.files.local_settings import data_dir_of_settings
from relay_stack.files.stack_state import StackState
from relay_stack.machine.consent import Consent
from relay_stack.page_link import page_link
from relay_stack.sample.sample_job import run_sample
from relay_stack.start import RunningStack, hold, prepare_machine, start_stack, stop_supervisor
from relay_stack.status import current_state
from relay_stack.summary import sample_summary, where_everything_is


@dataclass(frozen=True)
class UpOptions:
    """Options of `relay up`."""

    detach: bool = False
    """Return when the stack is up; it stays in the background."""
    yes: bool = False
    """Install packages and start services without asking."""
    sample: bool | None = None
    """Run the sample job. None runs it until it has succeeded once in this data directory."""


def bring_up(options: UpOptions) -> int:
    """Start the stack and print the progress.

    With `detach`, return when the stack is up; otherwise, when it has stopped. If it is up already, print its
    addresses and return.

    Returns:
        The exit code: 0, or 1 if the sample job failed or the stack stopped without being asked to.

    Raises:
        StackProblem: the stack cannot be started; the message says why, and what to do.
    """
    data_dir = data_dir_of_settings()
    if stack_is_up(data_dir):
        return _already_up(data_dir)
    machine = prepare_machine(data_dir, Consent(options.yes))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the stack as Ctrl-C does
    stack = start_stack(data_dir, machine, attached=not options.detach)
    try:
        succeeded = _sample(data_dir, stack, options)
        print(f"\n{_where(stack.state, data_dir)}\n", flush=True)
    except BaseException as error:  # also Ctrl-C: an unfinished start must leave no process running
        if isinstance(error, KeyboardInterrupt):
            note("Stopping")
        stop_supervisor(stack.supervisor)
        raise
    if options.detach:
        note("Running in the background; `relay down` ends it")
        return 0 if succeeded else 1
    return _stay(stack, data_dir) if succeeded else max(1, _stay(stack, data_dir))


def _already_up(data_dir: Path) -> int:
    state = current_state(data_dir)
    if state is None:
        raise StackProblem(f"A Relay stack is starting or ending on {data_dir}. Try again in a moment.")
    note("The stack is up already")
    print(_where(state, data_dir), flush=True)
    return 0


def _where(state: StackState, data_dir: Path) -> str:
    programs = None if shutil.which("relay") else str(Path(sys.executable).parent)
    return where_everything_is(state, str(data_dir), page_link(state), programs)


def _sample(data_dir: Path, stack: RunningStack, options: UpOptions) -> bool:
    done = data_dir / "sample-done"
    if options.sample is False or (options.sample is None and done.exists()):
        return True
    result = run_sample(data_dir, stack.state)
    print(f"\n{sample_summary(result)}", flush=True)
    if result.page_url:
        print(f"  dev server      {result.page_url}", flush=True)
    if result.succeeded:
        done.touch()
    return result.succeeded


def _stay(stack: RunningStack, data_dir: Path) -> int:
    interrupted = hold(
        stack,
        announce=lambda: note("Running; Ctrl-C ends it"),
        on_interrupt=lambda: note("Stopping (runs in containers go on; the next start finds them again)"),
    )
    if interrupted:
        return 0
    note(f"The stack has ended; for the reason see {data_dir / 'logs' / 'supervisor.log'}")
    return 1
