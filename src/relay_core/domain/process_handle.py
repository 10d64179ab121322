"""Where to find the process of a running execution: stored with the row, read by a worker that takes it over."""

from dataclasses import dataclass

VERSION = 1
"""Format of handles. It is raised when a field changes its meaning, not when a field is added."""


@dataclass(frozen=True)
class ProcessHandle:
    """The place of one process in the workspace's container.

    It is stored three times: with the claim (only `gid`), before the process starts (with the run directory), and after
    the start (with `exec_id`; for a dev server also with the ports, once it answers).

    Attributes:
        gid: group id of all processes of the execution, and of no other process in the workspace.
        fence: fence of the owner that made the run directory; part of the directory's name.
        run_dir: path of the run directory in the container. None: no process was prepared yet.
        exec_id: the container engine's id of the exec that started the process. None: not started yet, or the engine
            did not confirm the start.
        port: port in the container on which a dev server answers. None: it does not answer yet, or is no dev server.
        forward_port: port on the node's loopback address that is forwarded to ``port``.
        version: format of the handle; a worker does not take over an execution whose handle is newer than its
            `VERSION`.
    """

    gid: int
    fence: int | None = None
    run_dir: str | None = None
    exec_id: str | None = None
    port: int | None = None
    forward_port: int | None = None
    version: int = VERSION
