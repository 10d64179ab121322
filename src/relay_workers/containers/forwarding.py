"""The port through which servers inside containers are reached from this node."""

from typing import Protocol


class PortForwarder(Protocol):
    """Forwards loopback ports of this node to ports in containers, by key; usable from any thread."""

    def open(self, key: str, container_id: str, port: int, *, local_port: int = 0) -> int:
        """Forward a port of 127.0.0.1 to ``port`` of a container; one that is open for ``key`` already is kept.

        Args:
            key: the owner of the forwarding, which `close` names; the id of an execution.
            container_id: each new connection goes to this container, under the address that it has then.
            port: the port of the server in the container.
            local_port: taken if it is free, else any other; 0: any.

        Returns:
            The port of 127.0.0.1.

        Raises:
            OSError: no port can be opened.
        """

    def close(self, key: str) -> None:
        """Stop forwarding for ``key`` and end its connections; nothing happens where none is open."""

    def probe(self, container_id: str, port: int) -> bool:
        """Whether a server in the container accepts connections on ``port``, on any of its addresses.

        Raises:
            EngineUnavailable: the engine is silent or failed.
            StepFailed: ``container_missing``.
        """

    def shutdown(self) -> None:
        """Close all forwardings and end the threads; nothing may be called afterwards."""
