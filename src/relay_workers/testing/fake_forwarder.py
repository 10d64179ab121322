"""A fake of port forwarding: it hands out port numbers and opens no socket."""

from itertools import count

from relay_workers.testing.fake_containers import FakeContainers


class FakeForwarder:
    """Implements `PortForwarder` on a `FakeContainers`. It copies no bytes.

    `probe` asks the fake containers whether a step listens; the test can plan faults for it there (verb ``probe``).
    """

    def __init__(self, containers: FakeContainers) -> None:
        self.ports: dict[str, int] = {}
        """The forwarded local ports, by key."""
        self._containers = containers
        self._numbers = count(40000)

    def open(self, key: str, container_id: str, port: int, *, local_port: int = 0) -> int:  # noqa: ARG002 - the port's
        """Return the local port of ``key``; assign one if it has none (`PortForwarder.open`)."""
        if key not in self.ports:
            self.ports[key] = local_port or next(self._numbers)
        return self.ports[key]

    def close(self, key: str) -> None:
        """Forget the local port of ``key`` (`PortForwarder.close`)."""
        self.ports.pop(key, None)

    def probe(self, container_id: str, port: int) -> bool:
        """Return whether a step of the container listens on ``port`` (`PortForwarder.probe`)."""
        return self._containers.listens(container_id, port)

    def shutdown(self) -> None:
        """Forget all local ports (`PortForwarder.shutdown`)."""
        self.ports.clear()
