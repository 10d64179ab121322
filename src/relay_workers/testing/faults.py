"""Faults that a test plans for the calls of a fake, each observed on the real engine before it was scripted."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from relay_workers.containers.docker.failure import classify_failure


class Moment(Enum):
    """Whether a planned act happens before or after the call is carried out."""

    BEFORE = auto()
    """Before the request arrives: nothing was carried out."""
    AFTER = auto()
    """After the request was carried out, before its answer arrives."""


@dataclass(frozen=True)
class _Planned:
    verb: str
    call: int
    """The number of the call of this verb since the fake was created, from 1."""
    moment: Moment
    act: Callable[[], None]


class Faults:
    """The planned faults of one fake; usable from many threads.

    A verb is the name of one of the fake's methods. A call is one request: if a method repeats its request while the
    engine is silent, each try counts. ``call`` counts from now on: 1 is the next call of that verb.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._planned: list[_Planned] = []
        self._silent = threading.Event()
        self._containers_silent = threading.Event()

    def fall_silent(self, *, containers: bool = True) -> None:
        """From now on, let no request arrive: each call fails at once as if the engine were away.

        Args:
            containers: whether the containers' first processes give no answer either, as in a frozen control group.

        Recorded: dockerd stopped during a step, tests/faults/test_engines.py; a cut socket,
        tests/conformance/test_containers_silence.py. The error text is that of a socket file that does not exist.
        """
        self._silent.set()
        if containers:
            self._containers_silent.set()

    def answer_again(self) -> None:
        """Let requests arrive again after `fall_silent`."""
        self._silent.clear()
        self._containers_silent.clear()

    def lose_request(self, verb: str, call: int = 1) -> None:
        """Make one call fail without an answer and without having been carried out.

        Recorded: tests/conformance/test_containers_silence.py, a connection cut before the engine received the request.
        """
        self.at(verb, Moment.BEFORE, _raise_silence, call)

    def lose_answer(self, verb: str, call: int = 1) -> None:
        """Make one call fail without an answer although it was carried out.

        Recorded: tests/conformance/test_containers_silence.py, a connection cut after the engine received the request.
        """
        self.at(verb, Moment.AFTER, _raise_silence, call)

    def at(self, verb: str, moment: Moment, act: Callable[[], None], call: int = 1) -> None:
        """Plan that ``act`` runs once, before or after a later call of ``verb`` is carried out; return at once.

        ``act`` then runs in the thread that makes the call. A test uses this to bring events of other threads into an
        exact order: a kill that arrives during a start, or a lease that is lost while git runs.

        Args:
            verb: the fake's method.
            moment: whether ``act`` runs before or after the call is carried out.
            act: the function to run; an error that it raises becomes the error of the call.
            call: which call: 1 is the next call of ``verb``.
        """
        with self._lock:
            self._planned.append(_Planned(verb, self._calls[verb] + call, moment, act))

    def enter(self, verb: str, *, by_channel: bool = False) -> int:
        """Count a call and run the acts planned before it; return the call's number, which `leave` needs.

        Args:
            verb: the fake's method.
            by_channel: whether a container's first process answers, and not the engine.

        Raises:
            RelayError: the call is planned to fail.
        """
        with self._lock:
            self._calls[verb] += 1
            number = self._calls[verb]
        silent = self._containers_silent if by_channel else self._silent
        if silent.is_set():
            _raise_silence()
        self._run(verb, number, Moment.BEFORE)
        if silent.is_set():  # an act has called fall_silent
            _raise_silence()
        return number

    def leave(self, verb: str, number: int) -> None:
        """Run the acts that are planned after a call was carried out.

        Raises:
            RelayError: the answer is planned to be lost.
        """
        self._run(verb, number, Moment.AFTER)

    def calls(self, verb: str) -> int:
        """Return the number of calls of a verb so far."""
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
