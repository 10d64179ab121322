"""A container of the fake container engine."""

from collections import Counter
from dataclasses import dataclass, field

from relay_workers.containers.pid1.messages import Key
from relay_workers.containers.port import ContainerSpec, ContainerState
from relay_workers.testing.fake_step import KILL_CODE, FakeStep


@dataclass(eq=False)
class FakeContainer:
    """A fake container and the steps in it."""

    id: str
    spec: ContainerSpec
    running: bool = False
    starts: int = 0
    exit_code: int | None = None
    steps: dict[Key, FakeStep] = field(default_factory=dict)
    """The steps since the container's last start."""
    forbidden: set[Key] = field(default_factory=set)
    """The starts that were ruled out since the container's last start."""
    has_shell: bool = True
    """False simulates a root step that removed /bin/sh: no script starts that needs it."""
    layer_bytes: int = 0
    begun: Counter[int] = field(default_factory=Counter)
    """The number of step starts that began a process, by gid."""

    @property
    def state(self) -> ContainerState:
        """The container's state, as the engine reports it."""
        return ContainerState(
            exists=True,
            running=self.running,
            started_at=f"2026-01-01T00:00:00.{self.starts:09}Z",
            exit_code=None if self.running else self.exit_code,
            address="172.30.0.2" if self.running else None,
            labels=self.spec.labels,
        )

    def start(self) -> None:
        """Start the container's first process, unless it runs already."""
        if not self.running:
            self.running, self.exit_code = True, None
            self.starts += 1

    def end(self) -> None:
        """Kill the container's first process and with it all others."""
        if self.running:
            self.running, self.exit_code = False, KILL_CODE
        for step in self.steps.values():
            step.vanish()
        self.steps.clear()
        self.forbidden.clear()
