"""A step in a fake container: its processes, its log and its exit."""

from dataclasses import dataclass
from pathlib import Path

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.port import ExecState, StepStart
from relay_workers.testing.scripted_step import FLED_GID, ScriptedStep
from relay_workers.testing.supervisor import NOT_STARTED_CODE, FakeSupervisor

TERM_CODE, KILL_CODE = 143, 137


@dataclass(eq=False)
class FakeProcess:
    """One process of a step, other than its supervisor and copiers."""

    name: str
    gid: int
    ignores_term: bool = False
    code_on_term: int = TERM_CODE
    is_step: bool = False
    """Whether this is the script itself, whose exit code is the step's exit code."""
    holds_log: bool = False


class FakeStep:
    """A started step of a fake container. `FakeContainers` creates it and holds a lock around every call.

    Args:
        start: the request to start it.
        directory: the step's run directory on the host.
    """

    def __init__(self, start: StepStart, directory: Path) -> None:
        self.start = start
        self.gid = int(start.user.partition(":")[2])
        self.processes: list[FakeProcess] = []
        self.exit_code: int | None = None
        """The exit code of the supervisor, which equals the step's; None while the supervisor runs."""
        self._code: int | None = None
        self._supervisor = FakeSupervisor(directory)
        self._script = ScriptedStep.read(_script(directory))

    @property
    def running(self) -> bool:
        """Whether the step's supervisor is alive."""
        return self.exit_code is None

    @property
    def state(self) -> ExecState:
        """The step's state, as the engine reports it."""
        return ExecState(self.running, self.exit_code)

    @property
    def leftovers(self) -> list[FakeProcess]:
        """The processes that the script left behind when it exited.

        Empty while the script runs, because its processes are its children until then.
        """
        return [] if any(process.is_step for process in self.processes) else self.processes

    @property
    def port(self) -> int | None:
        """The port that the step listens on now; None if it listens on none."""
        listens = self._script.listens and any(process.is_step for process in self.processes)
        return int(self.start.env["PORT"]) if listens else None

    def begin(self) -> bool:
        """Start the supervisor and do what the script says.

        Returns:
            False if the start was ruled out (the step was already started, or declared never started); no process
                exists then.
        """
        if not self._supervisor.start():
            self.exit_code = NOT_STARTED_CODE
            return False
        script = self._script
        term = TERM_CODE if script.code_on_term is None else script.code_on_term
        name = "python3" if script.listens else "sh" if script.code_on_term is not None else "sleep"
        self.processes = [FakeProcess(name, self.gid, script.ignores_term, term, is_step=True)]
        self.processes += [FakeProcess(program, self.gid) for program in script.leaves]
        if script.leaves_log_held:
            self.processes.append(FakeProcess("sleep", self.gid, holds_log=True))
        if script.flees:
            self.processes.append(FakeProcess("sleep", FLED_GID))
        for stream, text in ((Stream.STDOUT, script.stdout), (Stream.STDERR, script.stderr)):
            if text:
                self._supervisor.write(stream, text.encode())
        if script.exit_code is not None:
            self.exit(script.exit_code)
        return True

    def write(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Make the step write ``data`` to its output."""
        self._supervisor.write(stream, data)

    def exit(self, code: int) -> None:
        """Make the script exit by itself; processes that it started in the background survive."""
        for process in [process for process in self.processes if process.is_step]:
            self.end_process(process, code)

    def end_process(self, process: FakeProcess, code: int = KILL_CODE) -> None:
        """End one process with ``code`` as its exit code.

        If it is the script, the step's exit is recorded. The supervisor exits once the script has exited and no process
        holds the log open any more.
        """
        self.processes.remove(process)
        if process.is_step and self.running:
            self._code = code
            self._supervisor.record(code)
        if self._code is not None and self.running and not any(other.holds_log for other in self.processes):
            self._supervisor.drain()
            self._supervisor.end()
            self.exit_code = self._code

    def lose_supervisor(self) -> None:
        """Kill the supervisor and the script with KILL, so that no exit record is written.

        Recorded: tests/integration/workers/containers/test_container_step.py, test_a_killed_supervisor_is_lost. This
        also happens to a script that ignores TERM, because kill.sh mistakes it for a copier and kills it together with
        its supervisor: tests/conformance/test_containers.py,
        test_a_step_that_ignores_term_is_killed_with_its_supervisor.
        """
        self.processes = [process for process in self.processes if not process.is_step]
        self._supervisor.end()
        self.exit_code = KILL_CODE

    def vanish(self) -> None:
        """Kill all processes of the step because its container was stopped; no exit record is written."""
        self.processes.clear()
        self._supervisor.end()
        if self.running:
            self.exit_code = KILL_CODE


def _script(directory: Path) -> bytes:
    return (directory / "step").read_bytes()
