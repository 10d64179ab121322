"""A kill in a container that another client of the engine is removing."""

from typing import Any
from uuid import UUID

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker import process_killer
from relay_workers.containers.docker.process_killer import ProcessKiller
from relay_workers.containers.docker.process_table import ContainerProcess
from relay_workers.containers.pid1.messages import Key
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


class Channels:
    """A relay-pid1 that takes too long."""

    def call(self, *_arguments: Any) -> Any:
        raise EngineUnavailable("the container's PID 1 gave no answer", retryable=True)


class Engine:
    """Takes every change of limits."""

    def inspect_container(self, _container_id: str) -> Any:
        return {"HostConfig": {"PidsLimit": 100}}

    def _url(self, *_arguments: Any) -> str:
        return ""

    def _post_json(self, *_arguments: Any, **_more: Any) -> None:
        """Take it."""

    def _result(self, *_arguments: Any) -> None:
        """Take it."""


def kill(host: Host) -> KillResult:
    def restart(_container_id: str) -> None:
        raise GONE

    api: Any = Engine()
    channels: Any = Channels()
    seen: Any = host
    return ProcessKiller(api, channels, seen, restart).end("c", Key(UUID(int=7), 1), 0)


def test_it_ends_when_the_container_has_no_process_left() -> None:
    """Found by faults/test_divergence.py: the execution ended as `engine_error`."""
    assert kill(Host([ALIVE], [ALIVE], GONE)) == KillResult(0, 0, restarted=False)
    assert kill(Host([ALIVE], [])) == KillResult(0, 0, restarted=False)


def test_a_container_that_is_not_removed_is_a_failure_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_killer, "_REMOVAL_SECONDS", 0.0)
    with pytest.raises(EngineUnavailable, match="still has processes"):
        kill(Host([ALIVE]))
