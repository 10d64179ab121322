"""Where the process of a running execution is found again: stored with the row, read by the worker that adopts it."""

from dataclasses import dataclass

VERSION = 1
"""Raised when a field changes its meaning; a field that is only added needs no new version."""


@dataclass(frozen=True)
class ProcessHandle:
    """The place of one process in the workspace's container.

    It is stored three times: with the claim (`gid`), before the start (the run directory), and after it (`exec_id`;
    for a dev server also the ports, once it answers).

    Attributes:
        gid: group of all processes of the execution, and of nothing else in the workspace.
        fence: the fence of the owner that made the run directory, which the directory is named after.
        run_dir: path of the run directory in the container. None: no process was prepared yet.
        exec_id: the engine's id of the exec. None: not started yet, or the engine did not confirm the start.
        port: port in the container on which a dev server answers. None: it does not answer yet, or is no dev server.
        forward_port: port on the node's loopback that is forwarded to ``port``.
        version: format of the handle; an adopter refuses a higher one than its own `VERSION`.
    """

    gid: int
    fence: int | None = None
    run_dir: str | None = None
    exec_id: str | None = None
    port: int | None = None
    forward_port: int | None = None
    version: int = VERSION
