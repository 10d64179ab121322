"""The interface for reaching servers inside containers from this node."""

from typing import Protocol


class PortForwarder(Protocol):
    """Forwards loopback TCP ports of this node to ports in containers. May be used from any thread.

    Each forwarding has a key, by which it is closed again.
    """

    def open(self, key: str, container_id: str, port: int, *, local_port: int = 0) -> int:
        """Forward a TCP port of 127.0.0.1 to ``port`` of a container.

        If ``key`` already has a forwarding, that one is kept unchanged and its local port is returned.

        Args:
            key: identifies the forwarding for `close`; the id of the execution that it is for.
            container_id: the container to connect to. Its address is looked up again for each connection.
            port: the port of the server in the container.
            local_port: the preferred port of 127.0.0.1; if it is taken, or 0, any free port is used.

        Returns:
            The port of 127.0.0.1.

        Raises:
            OSError: no port can be opened.
        """

    def close(self, key: str) -> None:
        """Stop the forwarding of ``key`` and close its connections. Do nothing if there is none."""

    def probe(self, container_id: str, port: int) -> bool:
        """Return whether a server in the container accepts connections on ``port``, on loopback or on the bridge.

        Raises:
            EngineUnavailable: the engine did not answer, or failed.
            StepFailed: ``container_missing``: the container is gone or does not run.
        """

    def shutdown(self) -> None:
        """Close all forwardings and stop the threads. No method may be called afterwards."""
