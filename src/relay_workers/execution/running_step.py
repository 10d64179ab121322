"""A step's process while a worker watches it, and the capture of its output."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import Stream
from relay_core.store.executions.claim import Claimed
from relay_core.store.logs.log_store import LogStore
from relay_core.store.transaction import Database
from relay_workers.agents.registry import reader_of
from relay_workers.capture.pump import CaptureHandle, CaptureRequest, LogPump
from relay_workers.execution.agent_output import AgentOutput
from relay_workers.execution.agent_turn import AgentTurn
from relay_workers.execution.raw_output import RawOutput
from relay_workers.execution.step_place import StepPlace
from relay_workers.execution.step_plan import executor_choice, turn_request
from relay_workers.ownership.live_executions import ExecutionControl
from relay_workers.ownership.live_secrets import LiveSecrets


@dataclass
class RunningStep:
    """A process that runs or is about to start, with the capture of its output."""

    place: StepPlace
    capture: CaptureHandle
    turn: AgentTurn | None
    """Parses the output of a coding agent; None for every other step."""
    unwatch: Callable[[], None] = lambda: None
    """Ends the watch of the step's end by its container."""
    began: float = field(default_factory=time.monotonic)
    """Start of the process on the monotonic clock, in seconds."""
    answered: bool = False
    """Whether the port of a dev server has answered."""


class StepOutputs:
    """Starts and stops the capture of a step's output.

    Args:
        pump: moves the output to Postgres.
        logs: the stored output, from which the parser of an agent's output reads.
        database: stores the conversations of agents.
    """

    def __init__(self, pump: LogPump, logs: LogStore, database: Database) -> None:
        self._pump = pump
        self._logs = logs
        self._database = database

    def attach(self, claimed: Claimed, control: ExecutionControl, place: StepPlace, *, started: bool) -> RunningStep:
        """Start to capture the output of a step, after the last byte that is already stored. Call `detach` to stop.

        Args:
            claimed: the execution.
            control: the execution's control.
            place: where the step runs.
            started: whether the step has started.

        Raises:
            FileNotFoundError: the log files are gone.
            TamperedFile: they are not as Relay made them.
        """
        turn = self._turn(claimed, place)
        capture = self._pump.attach(
            CaptureRequest(
                execution_id=claimed.execution_id,
                fence=claimed.fence,
                files=place.files,
                secrets=place.mask.secrets,
                log_bytes=place.workspace.row.limits.log_bytes,
                wake=control.wake,
                lost=control.lost,
                stored=threading.Event() if turn is None else turn.grown,
                first_owner=claimed.fence == 1,
                started=started,
            )
        )
        if turn is not None and _has_conversation(claimed):
            turn.start()
        if place.workspace.row.used_secrets:
            control.secrets = LiveSecrets(claimed.workspace_id, place.mask, capture.set_secrets)
        return RunningStep(place, capture, turn)

    def detach(self, step: RunningStep) -> None:
        """Stop the capture. A process that still runs goes on and writes to its log files."""
        step.unwatch()
        if step.turn is not None:
            step.turn.close()
        self._pump.detach(step.capture)

    def _turn(self, claimed: Claimed, place: StepPlace) -> AgentTurn | None:
        if not isinstance(claimed.step, AgentStep):
            return None
        request = turn_request(self._database, claimed, claimed.step, place.workspace)
        reader = reader_of(executor_choice(claimed.step).name, request)
        raw = RawOutput(partial(place.files.open_log, Stream.STDOUT))
        output = AgentOutput(self._logs, claimed.execution_id, raw)
        turn = AgentTurn(self._database, claimed, reader, output, place.mask, resumed=request.resume_session_id)
        turn.begins_anew = request.begins_anew
        return turn


def _has_conversation(claimed: Claimed) -> bool:
    """Return whether the executor prints its conversation while it runs."""
    return isinstance(claimed.step, AgentStep) and executor_choice(claimed.step).kind.conversation
