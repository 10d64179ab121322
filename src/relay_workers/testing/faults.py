"""Faults that a test plans for the calls of a port, each recorded from the real engine before it was scripted."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from relay_core.domain.errors import RelayError
from relay_workers.containers.docker.failure import classify_failure


class Moment(Enum):
    """The side of a call on which a planned act happens."""

    BEFORE = auto()
    """The request has not arrived: nothing was carried out."""
    AFTER = auto()
    """The request was carried out, and its answer is under way."""


@dataclass(frozen=True)
class _Planned:
    verb: str
    call: int
    """The number of the call since the start of the fake, from 1."""
    moment: Moment
    act: Callable[[], None]


class Faults:
    """The plan of one fake port; usable from many threads.

    A call is one request: a verb that the adapter repeats while the engine is silent counts each try. ``call`` is
    always relative: 1 is the next call of that verb.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._planned: list[_Planned] = []
        self._silent = threading.Event()

    def fall_silent(self) -> None:
        """From now on no request arrives and each call fails at once.

        Recorded: dockerd ended under a step, tests/faults/test_engines.py; a cut socket,
        tests/conformance/test_containers_silence.py. The text is that of a socket file which is gone.
        """
        self._silent.set()

    def answer_again(self) -> None:
        """Let requests arrive again, after `fall_silent`."""
        self._silent.clear()

    def lose_request(self, verb: str, call: int = 1) -> None:
        """One call fails as silent, and nothing of it was carried out.

        Recorded: tests/conformance/test_containers_silence.py, a line cut before the engine had the request.
        """
        self.at(verb, Moment.BEFORE, _raise_silence, call)

    def lose_answer(self, verb: str, call: int = 1) -> None:
        """One call fails as silent, though it was carried out.

        Recorded: tests/conformance/test_containers_silence.py, a line cut once the engine had the request.
        """
        self.at(verb, Moment.AFTER, _raise_silence, call)

    def refuse(self, verb: str, status: int, text: str, call: int = 1) -> None:
        """One call is answered with a failure of the Docker API and not carried out.

        Recorded: the texts and statuses in tests/unit/workers/containers, from Docker Engine 20.10 and 28.2.
        """
        self.raise_error(verb, classify_failure(status, text), call)

    def raise_error(self, verb: str, error: RelayError, call: int = 1) -> None:
        """One call raises ``error`` and is not carried out; for ports whose failures are no answers of Docker."""

        def act() -> None:
            raise error

        self.at(verb, Moment.BEFORE, act, call)

    def at(self, verb: str, moment: Moment, act: Callable[[], None], call: int = 1) -> None:
        """Run ``act`` in the caller's thread, before or after one call is carried out.

        This is how a test brings events of other threads into an exact order: a kill that arrives during a start, a
        lease that is lost while git runs.
        """
        with self._lock:
            self._planned.append(_Planned(verb, self._calls[verb] + call, moment, act))

    def enter(self, verb: str) -> int:
        """Count a call and run what is planned before it; the number of the call, for `leave`.

        Raises:
            RelayError: the call is planned to fail.
        """
        with self._lock:
            self._calls[verb] += 1
            number = self._calls[verb]
        if self._silent.is_set():
            _raise_silence()
        self._run(verb, number, Moment.BEFORE)
        if self._silent.is_set():  # an act has made it so
            _raise_silence()
        return number

    def leave(self, verb: str, number: int) -> None:
        """Run what is planned after a call was carried out.

        Raises:
            RelayError: the answer is planned to be lost.
        """
        self._run(verb, number, Moment.AFTER)

    def calls(self, verb: str) -> int:
        """The number of calls of a verb so far."""
        with self._lock:
            return self._calls[verb]

    def _run(self, verb: str, number: int, moment: Moment) -> None:
        with self._lock:
            due = [plan for plan in self._planned if (plan.verb, plan.call, plan.moment) == (verb, number, moment)]
            self._planned = [plan for plan in self._planned if plan not in due]
        for plan in due:
            plan.act()


def _raise_silence() -> None:
    raise classify_failure(None, "('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))")
