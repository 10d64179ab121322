"""Where to find the process of a running execution: stored with the row, read by a worker that takes it over."""

from dataclasses import dataclass

VERSION = 2
"""Format of handles. It is raised when a field changes its meaning, not when a field is added.

Since version 2, `relay-pid1` starts processes. Before, the container engine did, in a way that no worker follows now.
"""
NO_GID = -1
"""Group id in the handle of an execution that has no process in a container; no process can have it."""
REBASE_BEGUN, REBASE_DONE = "begun", "done"
FIRST_OF_PID1 = 2
"""The first version whose processes relay-pid1 starts."""


@dataclass(frozen=True)
class ProcessHandle:
    """The place of one process in the workspace's container.

    It is stored with the claim (only `gid`), before the process starts (with `fence`), for a dev server once its port
    answers, for a forced push before it (with `replaces`), and for a rebase before the clone changes (with `rebase`).

    Attributes:
        gid: group id of all processes of the execution, and of no other process in the workspace.
        fence: fence of the owner that starts the process. With the execution's id it names this start for relay-pid1,
            and the directory of its log and record on the node. None: no process was prepared yet.
        port: port in the container on which a dev server answers. None: it does not answer yet, or is no dev server.
        forward_port: port on the node's loopback address that is forwarded to ``port``.
        replaces: commit of the remote's branch that a forced push may replace, found by its first owner; empty: there
            was none. None: it was not asked, or the execution is no forced push.
        rebase: `REBASE_BEGUN` once a rebase may have changed the clone, `REBASE_DONE` once the base is stored, too.
        version: format of the handle; a worker does not take over an execution whose handle is newer than its
            `VERSION`.
    """

    gid: int
    fence: int | None = None
    port: int | None = None
    forward_port: int | None = None
    replaces: str | None = None
    rebase: str | None = None
    version: int = VERSION

    @property
    def of_first_edition(self) -> bool:
        """Whether the process was prepared by a version of Relay whose processes this version cannot follow."""
        return self.fence is not None and self.version < FIRST_OF_PID1
