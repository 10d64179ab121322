"""Creates, starts, restarts and removes containers on a Docker engine.

A silent engine is handled by the caller (`RetryWhileSilent`), not here.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import structlog
from docker.errors import APIError, NotFound

from relay_core.domain.errors import Conflict
from relay_workers.containers.docker.channels import Channels, make_dirs
from relay_workers.containers.docker.create_request import create_request
from relay_workers.containers.docker.failure import refuses_file_limit, start_was_interrupted, translated
from relay_workers.containers.docker.host_view import HostView
from relay_workers.containers.docker.network import ensure_network
from relay_workers.containers.docker.passwd import add_account
from relay_workers.containers.port import ContainerSpec

_IPV6 = Path("/proc/sys/net/ipv6")
_RESTART_TRIES = 3
_STALE_TASK_SECONDS, _STALE_TASK_PAUSE_SECONDS = 10.0, 0.2

log = structlog.get_logger(__name__)


class ContainerLifecycle:
    """Creates, starts, restarts and removes the containers of one engine; usable from many threads.

    Args:
        api: a client of the engine.
        channels: bootstraps relay-pid1 of a container that was started.
        host: unblocks an engine that hangs on a file of a container.
    """

    def __init__(self, api: docker.APIClient, channels: Channels, host: HostView) -> None:
        self._api = api
        self._channels = channels
        self._host = host
        self._limit_files = True

    def ensure(self, spec: ContainerSpec) -> str:
        """Return the id of the running container named ``spec.name``; create or start it if needed.

        Implements `Containers.ensure_container`. An engine that may not raise its own limit of open files refuses to
        start a container with a larger limit. The container is then created again without that limit, and so are all
        later ones. This also holds for a container that was created with the limit and never started, because the
        engine or the worker died in between.
        """
        with translated():
            spec = replace(spec, network=ensure_network(self._api, spec.network))
            try:
                return self._create_and_start(spec)
            except APIError as error:
                if not refuses_file_limit(str(error.explanation)):
                    raise
            self._limit_files = False
            log.warning("this engine may not set the number of open files; its own limit holds", action="start")
            self._remove_unstarted(spec.name)
            return self._create_and_start(spec)

    def restart(self, container_id: str) -> None:
        """Stop a container if it runs, then start it (`Containers.restart`).

        Tries up to `_RESTART_TRIES` times, because Docker Engine 20.10 leaves a container stopped if its execs write
        output all the time.
        """
        self._host.unblock(container_id)
        with translated():
            for _ in range(_RESTART_TRIES):
                self._start(container_id, lambda: self._api.restart(container_id, timeout=0))
                if self._api.inspect_container(container_id)["State"]["Running"]:
                    return

    def remove(self, container_id: str) -> None:
        """Remove a container and its volumes; do nothing if its removal is already in progress.

        Raises:
            docker.errors.APIError: the engine refused, or the container is gone.
        """
        try:
            self._channels.remove(container_id, lambda: self._api.remove_container(container_id, force=True, v=True))
        except APIError as error:
            if "already in progress" not in str(error.explanation):
                raise

    def _create_and_start(self, spec: ContainerSpec) -> str:
        container_id, is_new = self._create(spec)
        try:
            if spec.account is not None and (is_new or self._never_ran(container_id)):
                add_account(self._api, container_id, spec.image, spec.account)
            self._start(container_id, lambda: self._api.start(container_id))
        except APIError as error:
            if is_new or (start_was_interrupted(str(error.explanation)) and self._never_ran(container_id)):
                self._api.remove_container(container_id, force=True, v=True)
            raise
        return container_id

    def _create(self, spec: ContainerSpec) -> tuple[str, bool]:
        """Return the container's id, and whether this call created it."""
        make_dirs(spec.channel_dir)
        body = create_request(spec, limit_files=self._limit_files, ipv6=_IPV6.exists())
        api: Any = self._api
        try:
            return str(api.create_container_from_config(body, spec.name)["Id"]), True
        except APIError as error:
            if error.status_code != 409:
                raise
        found = self._api.inspect_container(spec.name)
        labels = found["Config"].get("Labels") or {}
        if any(labels.get(name) != value for name, value in spec.labels.items()):
            message = f"a container named {spec.name!r} exists and is not this workspace's; remove or rename it"
            raise Conflict(message, code="container_name_taken")
        return str(found["Id"]), False

    def _start(self, container_id: str, start: Callable[[], object]) -> None:
        """Call ``start``; if an earlier start was interrupted by the engine's death, clean up and try again."""
        deadline = time.monotonic() + _STALE_TASK_SECONDS
        while True:
            try:
                self._channels.start(container_id, start)
            except APIError as error:
                if not start_was_interrupted(str(error.explanation)) or time.monotonic() > deadline:
                    raise
                if self._host.end_stale_shim(container_id):
                    log.warning("ended the processes of an interrupted start", container_id=container_id)
                time.sleep(_STALE_TASK_PAUSE_SECONDS)  # containerd forgets the task shortly after its shim has exited
            else:
                return

    def _never_ran(self, container_id: str) -> bool:
        """Return whether the container was created but never started, because a worker died in between."""
        return bool(self._api.inspect_container(container_id)["State"]["Status"] == "created")

    def _remove_unstarted(self, name: str) -> None:
        """Remove a container of this name that was created with the larger limit of open files and never started."""
        try:
            found = self._api.inspect_container(name)
        except NotFound:
            return
        if self._never_ran(found["Id"]):
            self._api.remove_container(found["Id"], v=True)
