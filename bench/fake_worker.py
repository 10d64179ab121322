"""A worker whose container engine, git and port forwarder are fakes, as a process: ``python -m bench.fake_worker``.

All else is the product's: Celery, claims, leases, clocks, log pump, log files, Postgres and Valkey. The fake engine is
the one that `tests/conformance` compares with Docker. It runs no process, so one machine can have a worker with many
executions. Its containers and steps live in the worker's memory, and a step holds its log files open there.
"""

import dataclasses
import threading
from typing import Any

from relay_core.domain.git.url import parse_git_url
from relay_workers import bootstrap, service
from relay_workers.containers.tool import ToolResult, ToolRun
from relay_workers.execution.context import WorkerContext
from relay_workers.testing.fake_containers import FakeContainers, make_image
from relay_workers.testing.fake_forwarder import FakeForwarder
from relay_workers.testing.fake_git import FakeGit

REMOTE = "file:///bench/remote"
"""URL of the only remote that the fake git has; its branch is `main`."""

connected = bootstrap.make_context
"""Makes the context of a worker on a real engine."""


class NoTools:
    """Implements `ToolRunner`: every tool succeeds at once and prints nothing."""

    def run(self, spec: ToolRun, cancelled: threading.Event | None = None) -> ToolResult:  # noqa: ARG002 - the port's
        """Return a success."""
        return ToolResult(0, b"", b"")

    def sweep(self, is_dead: Any) -> int:  # noqa: ARG002 - the port's
        """Return 0: there are no containers of tools."""
        return 0


def on_fakes(*given: Any, **named: Any) -> WorkerContext:
    """Return the context of a worker, with fakes in place of engine, git and forwarder."""
    context = connected(*given, **named)
    settings = context.settings
    containers = FakeContainers({name: make_image(name) for name in (settings.default_image, settings.git_image)})
    git = FakeGit(settings.data_dir, settings.remote_policy)
    git.add_remote(parse_git_url(REMOTE, settings.remote_policy).text, "main", {"README.md": b"# sample\n"})
    fakes = {"containers": containers, "git": git, "tool": NoTools(), "forwarder": FakeForwarder(containers)}
    return dataclasses.replace(context, **fakes)  # type: ignore[arg-type]


def main() -> None:
    """Run the worker until a signal stops it."""
    bootstrap.make_context = on_fakes
    bootstrap.check_data_dir = lambda *_: None  # the fake engine sees every directory
    bootstrap.check_once = lambda *_: False  # and has no process that could be reached
    service.main()


if __name__ == "__main__":
    main()
