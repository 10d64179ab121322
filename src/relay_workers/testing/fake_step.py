"""A step in a fake container: its processes, its log and its end."""

from dataclasses import dataclass

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.pid1.answers import EndFlag, ExecutionStatus, How, State
from relay_workers.containers.pid1.answers import Stream as LogStream
from relay_workers.containers.pid1.messages import Stage
from relay_workers.containers.pid1.watcher import EndListener
from relay_workers.containers.port import StepStart
from relay_workers.testing.fake_record import NO_FLAGS, FakeRecord
from relay_workers.testing.fake_terminal import FakeTerminal
from relay_workers.testing.scripted_step import FLED_GID, ScriptedStep

TERM_CODE, KILL_CODE = 143, 137
_SIGNALLED = 128


@dataclass(eq=False)
class FakeProcess:
    """One process of a step, other than its supervisor."""

    name: str
    gid: int
    ignores_term: bool = False
    code_on_term: int | None = None
    """The code with which it exits when TERM arrives; None: TERM kills it."""
    is_step: bool = False
    """Whether this is the script itself, whose exit code is the step's exit code."""
    holds_log: bool = False
    """Whether it has the step's output open."""


class FakeStep:
    """A started step of a fake container. `FakeContainers` creates it and holds a lock around every call.

    Args:
        start: the request to start it.
    """

    def __init__(self, start: StepStart) -> None:
        self.start = start
        self.key = start.files.key
        self.gid = start.gid
        self.over = False
        """Whether no process of the step is left."""
        self.heard: list[EndListener] = []
        """Functions that are called about the end of the step."""
        self._how, self._value, self._flags = How.NOT_YET, 0, NO_FLAGS
        self._record = FakeRecord(start.files)
        self._script = script = ScriptedStep.read(start.script)
        name = "python3" if script.listens else "sh" if script.code_on_term is not None else "sleep"
        own = FakeProcess(name, self.gid, script.ignores_term, script.code_on_term, is_step=True, holds_log=True)
        self.processes = [own]
        self.processes += [FakeProcess(program, self.gid) for program in script.leaves]
        if script.leaves_log_held:
            self.processes.append(FakeProcess("sleep", self.gid, holds_log=True))
        if script.flees:
            self.processes.append(FakeProcess("sleep", FLED_GID))
        self._record.start()
        self.terminal = FakeTerminal(start.terminal, self._record.write_stdout) if start.terminal else None
        for stream, text in ((Stream.STDOUT, script.stdout), (Stream.STDERR, script.stderr)):
            if text:
                self.write(text.encode(), stream)
        if script.exit_code is not None:
            self.exit(script.exit_code)

    @property
    def running(self) -> bool:
        """Whether a process of the step is left."""
        return not self.over

    @property
    def leftovers(self) -> list[FakeProcess]:
        """The processes of the step besides the script."""
        return [process for process in self.processes if not process.is_step]

    @property
    def port(self) -> int | None:
        """The port that the step listens on now; None if it listens on none."""
        listens = self._script.listens and any(process.is_step for process in self.processes)
        return int(self.start.env["PORT"]) if listens else None

    def write(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Make the step write ``data`` to its output."""
        if self.terminal:
            self.terminal.write(data)
        else:
            self._record.write(stream, data)

    def exit(self, code: int) -> None:
        """Make the script exit by itself; processes that it started in the background survive."""
        for process in [process for process in self.processes if process.is_step]:
            self._remove(process, How.EXITED, code)

    def terminate(self, process: FakeProcess) -> None:
        """Send TERM to a process."""
        if process.code_on_term is not None:
            self._remove(process, How.EXITED, process.code_on_term, EndFlag.KILL_ASKED)
        elif not process.ignores_term:
            self._remove(process, How.SIGNALLED, TERM_CODE - _SIGNALLED, EndFlag.KILL_ASKED)

    def kill(self, process: FakeProcess) -> None:
        """Send KILL to a process."""
        self._remove(process, How.SIGNALLED, KILL_CODE - _SIGNALLED, EndFlag.KILL_ASKED | EndFlag.KILL_SENT)

    def lose_supervisor(self) -> None:
        """Kill the supervisor of the step, as another step of root can; relay-pid1 then ends the execution.

        Recorded: tests/integration/workers/containers/pid1/test_kill.py.
        """
        self._note_end(How.SUPERVISOR_LOST, 0, NO_FLAGS)
        self.processes.clear()
        self._end()

    def status(self) -> ExecutionStatus:
        """Return the state of the step, as relay-pid1 tells it."""
        ended = self._how is not How.NOT_YET
        state = State.DRAINED if self.over else State.ENDED if ended else State.RUNNING
        stream = LogStream(0, 0, 0, ended=not any(process.holds_log for process in self.processes))
        return ExecutionStatus(
            key=self.key,
            state=state,
            pid=1,
            how=self._how,
            value=self._value,
            stage=Stage.NONE,
            flags=self._flags,
            oom_kills_before=0,
            oom_kills_after=0 if ended else None,
            started_ns=1,
            ended_ns=2 if ended else 0,
            stdout=stream,
            stderr=stream,
        )

    def vanish(self) -> None:
        """Kill all processes of the step because its container was stopped; no end is recorded."""
        self.processes.clear()
        self.over = True
        self._close_terminal()
        self._record.close()

    def _remove(self, process: FakeProcess, how: How, value: int, flags: EndFlag = NO_FLAGS) -> None:
        self.processes.remove(process)
        if process.is_step:
            self._note_end(how, value, flags)
        if not self.processes:
            self._end()

    def _end(self) -> None:
        self._close_terminal()
        self._record.drain()
        self.over = True
        self._tell()

    def _close_terminal(self) -> None:
        if self.terminal:
            self.terminal.close()

    def _note_end(self, how: How, value: int, flags: EndFlag) -> None:
        self._how, self._value, self._flags = how, value, flags
        self._tell()
        self._record.end(how, value, flags)

    def _tell(self) -> None:
        for heard in self.heard:
            heard(self.status())
