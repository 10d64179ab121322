"""Loopback ports that are free."""

import socket
from collections.abc import Callable, Mapping

from relay_stack.errors import StackProblem


def free_port(preferred: int = 0) -> int:
    """`preferred` if nobody listens there on 127.0.0.1, else any free port. Another process may still take it first."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
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
    tell: Callable[[str], None],
    last: Mapping[str, str] | None = None,
) -> int:
    """The port that a variable demands, else the one of the last time, else the usual one, else a free one.

    Args:
        variable: a demanded port's.
        usual: where the stack has none of its own yet.
        environment: of this start.
        tell: gets a line where it becomes another port than usual.
        last: what the stack's processes were given the last time: who watches it finds it again.

    Raises:
        StackProblem: the demanded port is taken.
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
        tell(f"Port {wanted} is taken; using {port}")
    return port
