"""The container engine port on the Docker API (Engine 20.10 and later)."""

import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import requests
import structlog
from docker.errors import APIError, NotFound

from relay_core.domain.errors import Conflict, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.attached import HelperConnection
from relay_workers.containers.docker.create_request import create_request
from relay_workers.containers.docker.failure import refuses_file_limit, start_was_interrupted, translated
from relay_workers.containers.docker.host_view import (
    TOP,
    ContainerProcess,
    HostView,
    leftover_names,
    parse_top,
    processes_to_end,
)
from relay_workers.containers.docker.image import ensure_image
from relay_workers.containers.docker.killer import KillOutcome, KillStage, end_processes
from relay_workers.containers.docker.network import ensure_network
from relay_workers.containers.docker.passwd import add_account
from relay_workers.containers.in_container.install import pid1_command
from relay_workers.containers.port import (
    LABEL_NODE,
    LABEL_ROLE,
    MOST_IMAGES,
    SUPERVISOR,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    EngineUnavailable,
    ExecState,
    ImageInfo,
    KillResult,
    OurContainer,
    PullTerms,
    StepStart,
    Storage,
)
from relay_workers.containers.retry_while_silent import RetryWhileSilent

_ANSWER_SECONDS = 10.0
"""For one look at a container's process table, under any load."""
_KILLER_TRIES = 2
_RESTART_TRIES = 3
_STALE_TASK_SECONDS, _STALE_TASK_PAUSE_SECONDS = 10.0, 0.2
_AGAIN_SECONDS = 8.0
"""A killer that has failed after that and the grace is not tried again."""

log = structlog.get_logger()


class DockerContainers:
    """A `ContainerEngine`; one for a worker process, usable from many threads."""

    def __init__(
        self,
        api: docker.APIClient,
        retry: RetryWhileSilent | None = None,
        quick: docker.APIClient | None = None,
    ) -> None:
        self._api = api
        self._quick = quick or api
        """For kills, which must not wait long for an engine that a container has blocked."""
        self._retry = retry or RetryWhileSilent()
        self._host = HostView()
        self._limit_files = True
        self._platform: tuple[str, int] | None = None

    def info(self) -> EngineInfo:
        """See the port."""
        with translated():
            found = self._api.info()
            names = sorted(name for image in self._api.images() for name in image.get("RepoTags") or ())
        return EngineInfo(
            version=found["ServerVersion"],
            cgroup_version=str(found.get("CgroupVersion", "1")),
            cpus=found["NCPU"],
            memory_bytes=found["MemTotal"],
            images=tuple(name for name in names if not name.startswith("<none>"))[:MOST_IMAGES],
        )

    def ensure_image(self, ref: str, terms: PullTerms | None = None) -> ImageInfo:
        """See the port."""
        return self._retry.call(lambda: ensure_image(self._api, ref, terms))

    def platform(self) -> tuple[str, int]:
        """See the port; asked once."""
        if self._platform is None:
            found = self._ask(lambda: (self._api.version()["Arch"], self._api.info()["NCPU"]))
            self._platform = (str(found[0]), int(found[1]))
        return self._platform

    def ensure_container(self, spec: ContainerSpec) -> str:
        """See the port."""
        return self._retry.call(lambda: self._ensure_container(spec))

    def _ensure_container(self, spec: ContainerSpec) -> str:
        with translated():
            spec = replace(spec, network=ensure_network(self._api, spec.network))
            limit_files = self._limit_files  # others may find out at the same time
            try:
                return self._create_and_start(spec)
            except APIError as error:
                if not (limit_files and refuses_file_limit(str(error.explanation))):
                    raise
            self._limit_files = False
            log.warning("this engine may not set the number of open files; its own limit holds", action="start")
            self._remove_unstarted(spec.name)
            return self._create_and_start(spec)

    def _remove_unstarted(self, name: str) -> None:
        """A container with the limit that a worker before this one has made, and could not start either."""
        try:
            found = self._api.inspect_container(name)
        except NotFound:
            return
        if self._never_ran(found["Id"]):
            self._api.remove_container(found["Id"], v=True)

    def has_program(self, container_id: str, name: str, user: str, env: Mapping[str, str]) -> bool:
        """See the port."""
        command = ["/bin/sh", "-c", 'command -v -- "$1"', "sh", name]
        with translated():
            # With gid 0 it counts as a helper of Relay's own, which ends by itself (kill.sh).
            exec_id = self._exec(container_id, command, user=f"{user.partition(':')[0]}:0", env=env, attach="o")
            self._api.exec_start(exec_id)
            return bool(self._api.exec_inspect(exec_id)["ExitCode"] == 0)

    def start(self, container_id: str, step: StepStart) -> str:
        """See the port."""
        command = ["/bin/sh", f"{SUPERVISOR}/supervise.sh", step.run_dir, step.cwd]
        if step.deadline_seconds is not None:
            command.append(str(math.ceil(step.deadline_seconds)))
        with translated():
            exec_id = self._exec(container_id, command, user=step.user, env=step.env)
            self._api.exec_start(exec_id, detach=True)
            return exec_id

    def exec_state(self, exec_id: str) -> ExecState | None:
        """See the port."""
        found = self._ask(lambda: self._api.exec_inspect(exec_id))
        return found and ExecState(running=bool(found["Running"]), exit_code=found["ExitCode"])

    def leftover_names(self, container_id: str, gid: int) -> list[str]:
        """See the port."""
        return leftover_names(self._processes(container_id), gid)

    def kill_execution(self, container_id: str, gid: int, *, grace_seconds: float) -> KillResult:
        """See the port."""
        return self._retry.call(lambda: self._end(container_id, ["only", str(gid)], grace_seconds, KillStage.ASK))

    def end_leftovers(self, container_id: str, keep_gids: Collection[int]) -> KillResult:
        """See the port."""
        arguments = ["except", *(str(gid) for gid in sorted(keep_gids))]
        return self._retry.call(lambda: self._end(container_id, arguments, 0, KillStage.STOP))

    def inspect(self, container_id: str) -> ContainerState:
        """See the port."""
        found = self._ask_of(container_id, lambda: self._api.inspect_container(container_id))
        return _state(found) if found else ContainerState(exists=False)

    def storage(self, container_id: str) -> Storage:
        """See the port."""
        with translated():
            found = self._api.inspect_container(container_id)
        layer = ((found.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
        volumes = [mount["Source"] for mount in found.get("Mounts") or [] if mount["Type"] == "volume"]
        seen = [Path(path) for path in (layer, *volumes) if path and os.access(path, os.R_OK | os.X_OK)]
        return Storage(tuple(seen), layer_seen=bool(layer) and Path(str(layer)) in seen)

    def layer_bytes(self, container_id: str) -> int:
        """See the port."""
        with translated():
            found = self._api.containers(all=True, size=True, filters={"id": container_id})
        return sum(int(item.get("SizeRw") or 0) for item in found)

    def stop(self, container_id: str) -> None:
        """See the port."""
        self._host.unblock(container_id)
        self._ask_of(container_id, lambda: self._api.stop(container_id, timeout=0))

    def restart(self, container_id: str) -> None:
        """See the port."""
        self._retry.call(lambda: self._restart(container_id))

    def remove(self, container_id: str) -> None:
        """See the port."""
        self._host.unblock(container_id)
        self._ask_of(container_id, lambda: self._remove(container_id))

    def list_ours(self, node_id: str) -> list[OurContainer]:
        """See the port."""
        filters = {"label": [f"{LABEL_NODE}={node_id}", f"{LABEL_ROLE}=workspace"]}
        found = self._ask(lambda: self._api.containers(all=True, filters=filters))
        return [
            OurContainer(item["Id"], item["Names"][0].lstrip("/"), item["State"] == "running", item["Labels"])
            for item in found
        ]

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The engine's answer to what may be asked again; None where it does not know the thing."""

        def ask() -> Any:
            with translated():
                try:
                    return question()
                except NotFound:
                    return None

        return self._retry.call(ask)

    def _ask_of(self, container_id: str, question: Callable[[], Any]) -> Any:
        """As `_ask`; an engine that waits for a file of this container is freed of it before it is asked again."""

        def ask() -> Any:
            try:
                return question()
            except requests.ReadTimeout:
                self._host.unblock(container_id)
                raise

        return self._ask(ask)

    def _restart(self, container_id: str) -> None:
        """Once more where it was only stopped: so an engine (20.10) leaves it whose execs wrote all the time."""
        self._host.unblock(container_id)
        with translated():
            for _ in range(_RESTART_TRIES):
                self._run_up(container_id, lambda: self._api.restart(container_id, timeout=0))
                if self._api.inspect_container(container_id)["State"]["Running"]:
                    return

    def _remove(self, container_id: str) -> None:
        try:
            self._api.remove_container(container_id, force=True, v=True)
        except APIError as error:
            if "already in progress" not in str(error.explanation):
                raise

    def _create_and_start(self, spec: ContainerSpec) -> str:
        container_id, made = self._create(spec)
        try:
            if spec.account is not None and (made or self._never_ran(container_id)):
                add_account(self._api, container_id, spec.image, spec.account)
            self._run_up(container_id, lambda: self._api.start(container_id))
        except APIError as error:
            if made or (start_was_interrupted(str(error.explanation)) and self._never_ran(container_id)):
                self._api.remove_container(container_id, force=True, v=True)
            raise
        return container_id

    def _run_up(self, container_id: str, start: Callable[[], object]) -> None:
        """Start a container, also after an engine that died in the midst of an earlier start of it."""
        deadline = time.monotonic() + _STALE_TASK_SECONDS
        while True:
            try:
                start()
            except APIError as error:
                if not start_was_interrupted(str(error.explanation)) or time.monotonic() > deadline:
                    raise
                if self._host.end_stale_shim(container_id):
                    log.warning("ended what an interrupted start has left", container_id=container_id)
                time.sleep(_STALE_TASK_PAUSE_SECONDS)  # containerd forgets the task a moment after its shim
            else:
                return

    def _never_ran(self, container_id: str) -> bool:
        """Whether a worker before this one has made it and died before the start."""
        return bool(self._api.inspect_container(container_id)["State"]["Status"] == "created")

    def _create(self, spec: ContainerSpec) -> tuple[str, bool]:
        """The container's id, and whether it was made just now."""
        body = create_request(spec, pid1_command(), limit_files=self._limit_files)
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

    def _end(self, container_id: str, arguments: list[str], grace_seconds: float, first: KillStage) -> KillResult:
        looks = 0
        deadline = time.monotonic() + grace_seconds + _AGAIN_SECONDS
        for _ in range(_KILLER_TRIES):
            try:
                outcome = self._run_killer(container_id, arguments, grace_seconds, first)
                looks += outcome.looks
                unseen = self._remaining(container_id, arguments) if outcome.remaining == 0 else []
                if not (outcome.remaining or unseen):
                    return KillResult(0, looks, restarted=False)
                left = {"remaining": outcome.remaining, "unseen": len(unseen)}
                log.warning("a kill has left processes", action="kill", container=container_id, **left)
            except (EngineUnavailable, StepFailed) as error:
                if isinstance(error, StepFailed) and error.reason == Reason.CONTAINER_MISSING:  # nothing runs in it
                    return KillResult(0, looks, restarted=False)
                if isinstance(error, EngineUnavailable) and error.silent and not self._answers():
                    raise  # it is the engine that is away
                log.warning("the killer did not work", action="kill", container=container_id, error=str(error))
            if time.monotonic() > deadline:
                break
        self._end_all(container_id)
        return KillResult(0, looks, restarted=True)

    def _answers(self) -> bool:
        try:
            with translated():
                return bool(self._quick.ping())
        except (EngineUnavailable, StepFailed):
            return False

    def _end_all(self, container_id: str) -> None:
        """End all in a container, from outside first, as its files may keep the engine from it; then it runs again."""
        log.warning("restarting a container to end its processes", action="kill", container=container_id)
        ended = self._host.end(container_id)
        try:
            self._restart(container_id)
        except (EngineUnavailable, StepFailed) as error:
            if not ended:
                raise
            log.warning("a container was ended and stays so", container=container_id, error=str(error))

    def _run_killer(
        self, container_id: str, arguments: list[str], grace_seconds: float, first: KillStage
    ) -> KillOutcome:
        command = ["/bin/sh", f"{SUPERVISOR}/kill.sh", *arguments]
        with translated():
            created = self._quick.exec_create(container_id, command, stdin=True, stderr=False, user="0:0", workdir="/")
        with HelperConnection(self._quick, created["Id"], _ANSWER_SECONDS) as killer:
            return end_processes(killer.ask, grace_seconds, first)

    def _remaining(self, container_id: str, arguments: list[str]) -> list[ContainerProcess]:
        """What a kill was to end and has not, whatever the container's own shell says."""
        mode, *gids = arguments
        return processes_to_end(self._processes(container_id), mode, {int(gid) for gid in gids})

    def _processes(self, container_id: str) -> list[ContainerProcess]:
        seen = self._host.processes(container_id)
        if seen is None:
            with translated():
                seen = parse_top(self._quick.top(container_id, TOP))
        return seen

    def _exec(
        self,
        container_id: str,
        command: list[str],
        *,
        user: str,
        env: Mapping[str, str],
        attach: str = "",
    ) -> str:
        created = self._api.exec_create(
            container_id,
            command,
            stdin="i" in attach,
            stdout="o" in attach,
            stderr=False,
            user=user,
            environment=dict(env),
            workdir="/",  # a path in the container, which its links may lead astray, is not for the runtime to enter
        )
        return str(created["Id"])


def _state(found: dict[str, Any]) -> ContainerState:
    state = found["State"]
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    running = bool(state["Running"])
    return ContainerState(
        exists=True,
        running=running,
        started_at=state.get("StartedAt"),
        exit_code=None if running else state.get("ExitCode"),
        address=next((net["IPAddress"] for net in networks.values() if net.get("IPAddress")), None),
        labels=found["Config"].get("Labels") or {},
    )
