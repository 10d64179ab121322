"""The executor that runs any command line, for agents without an executor of their own, for scripts, and for tests."""

from typing import Final

from relay_core.domain.agents.executors import SHELL
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.port import StepPlan, TurnRequest, prompt_bytes
from relay_workers.agents.shell.reader import ShellReader


class Shell:
    """Runs ``command`` as a script of /bin/sh with the prompt on standard input; exit code 0 is success."""

    name: Final = SHELL.name

    def required_programs(self, request: TurnRequest) -> tuple[str, ...]:
        """Return no programs: it is not known which programs the command line runs.

        Raises:
            InvalidInput: the request has no ``command``, or its text is not valid Unicode.
        """
        _command(request)
        return ()

    def plan(self, request: TurnRequest) -> StepPlan:
        """Return the unchanged command line as the script, and the prompt as standard input."""
        return StepPlan(_command(request) + b"\n", prompt_bytes(request))

    def reader(self, request: TurnRequest) -> ShellReader:  # noqa: ARG002 - required by the interface
        """Return a reader whose summary is the last line of the output."""
        return ShellReader()


def _command(request: TurnRequest) -> bytes:
    if not request.command or not request.command.strip():
        raise InvalidInput("executor.command is required for shell: the command line to run", field="executor.command")
    try:
        return request.command.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("executor.command is not valid Unicode", field="executor.command") from error
