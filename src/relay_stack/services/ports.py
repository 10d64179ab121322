"""Choose loopback TCP ports on which no process listens."""

import socket
from collections.abc import Callable, Mapping

from relay_stack.errors import StackProblem


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if it is free on 127.0.0.1, else any free port. Another process may take the port first."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT counts as free
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            if not preferred:
                raise
            return free_port()
        port: int = probe.getsockname()[1]
        return port


def choose_port(
    variable: str,
    usual: int,
    environment: Mapping[str, str],
    report: Callable[[str], None],
    last: Mapping[str, str] | None = None,
) -> int:
    """Return the port for one process: the demanded port, else that of the last start, the usual one, or any free one.

    Args:
        variable: name of the environment variable that can demand a port.
        usual: port to use if none is demanded and there was no earlier start.
        environment: environment of this start.
        report: called with a message if the chosen port differs from the wanted one.
        last: environment of the stack's processes at the last start. Its port is used again, so that clients find the
            process.

    Raises:
        StackProblem: another process listens on the demanded port.
    """
    demanded = environment.get(variable)
    before = int((last or {}).get(variable) or usual)
    wanted = int(demanded) if demanded else before
    port = free_port(wanted)
    if port != wanted and demanded:
        raise StackProblem(f"Port {wanted}, which {variable} demands, is taken. Free it, or unset {variable}.")
    if port != wanted and before != usual:
        port = free_port(usual)
    if port != wanted:
        report(f"Port {wanted} is taken; using {port}")
    return port
