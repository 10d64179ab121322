"""Forwarded ports that lead nowhere: they are numbers, and `probe` looks at the fake engine's steps."""

from itertools import count

from relay_workers.testing.fake_containers import FakeContainers


class FakeForwarder:
    """A `PortForwarder` on a `FakeContainers`, whose faults it shares (verb ``probe``). It copies no bytes."""

    def __init__(self, containers: FakeContainers) -> None:
        self.ports: dict[str, int] = {}
        """By key, the forwarded ports."""
        self._containers = containers
        self._numbers = count(40000)

    def open(self, key: str, container_id: str, port: int, *, local_port: int = 0) -> int:  # noqa: ARG002 - the port's
        """See `PortForwarder.open`."""
        if key not in self.ports:
            self.ports[key] = local_port or next(self._numbers)
        return self.ports[key]

    def close(self, key: str) -> None:
        """See `PortForwarder.close`."""
        self.ports.pop(key, None)

    def probe(self, container_id: str, port: int) -> bool:
        """See `PortForwarder.probe`."""
        return self._containers.listens(container_id, port)

    def shutdown(self) -> None:
        """See `PortForwarder.shutdown`."""
        self.ports.clear()
