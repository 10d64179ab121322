"""A kill in a container that another client of the engine is removing."""

from typing import Any

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker import process_killer
from relay_workers.containers.docker.killer import KillStage
from relay_workers.containers.docker.process_killer import ProcessKiller
from relay_workers.containers.docker.process_table import ContainerProcess
from relay_workers.containers.port import EngineUnavailable, KillResult

GONE = StepFailed(Reason.CONTAINER_MISSING, "container is marked for removal and cannot be started")
ALIVE = ContainerProcess(12, 1, (20001,) * 4, "sleep")


class Host:
    """Shows what the host would see at each look; the last look repeats."""

    def __init__(self, *looks: list[ContainerProcess] | StepFailed) -> None:
        self.looks = list(looks)

    def end(self, _container_id: str) -> bool:
        return False

    def processes(self, _container_id: str) -> list[ContainerProcess]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, StepFailed):
            raise look
        return look


class Killer(ProcessKiller):
    """One whose helper in the container dies with the container."""

    def _run_killer(self, *_arguments: Any) -> Any:
        raise EngineUnavailable("a helper in the container answered before it was asked", retryable=True)


def kill(host: Host) -> KillResult:
    def restart(_container_id: str) -> None:
        raise GONE

    api: Any = None
    seen: Any = host
    return Killer(api, seen, restart).end("c", ["only", "20001"], 0, KillStage.STOP)


def test_it_ends_when_the_container_has_no_process_left() -> None:
    """Found by faults/test_divergence.py: the execution ended as `engine_error`."""
    assert kill(Host([ALIVE], [ALIVE], GONE)) == KillResult(0, 0, restarted=False)
    assert kill(Host([ALIVE], [])) == KillResult(0, 0, restarted=False)


def test_a_container_that_is_not_removed_is_a_failure_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_killer, "_REMOVAL_SECONDS", 0.0)
    with pytest.raises(EngineUnavailable, match="still has processes"):
        kill(Host([ALIVE]))
