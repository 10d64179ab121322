"""Checks that steps can be started, reached and killed on this node, in a container that is removed again.

There is no second way to run a step. So where this fails, the node takes no work and says why.
"""

import shutil
import time
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from relay_core.domain.errors import RelayError
from relay_workers.containers.pid1.errors import DialFailed
from relay_workers.containers.port import (
    LABEL_NODE,
    LABEL_ROLE,
    ContainerLimits,
    Containers,
    ContainerSpec,
    StepStart,
)
from relay_workers.containers.run_files import RunFiles

_LIMITS = ContainerLimits(memory_bytes=64 << 20, cpus=1.0, pids=32, nofile=1024)
_UID, _GID, _CLOSED_PORT = 65534, 20001, 1
_RECORD_SECONDS = 10.0
_SEEN = "checked"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class NoStepsHere(RelayError):  # noqa: N818 - named for what it says
    """This node cannot run steps."""


def check_once(containers: Containers, data_dir: Path, image: str, network: str) -> bool:
    """Check the node, unless that was done since the start of its host, with the same relay-pid1 and engine.

    Args:
        containers: the container engine.
        data_dir: the data directory, in which `install_programs` was called.
        image: an image of the node that contains ``/bin/sh``.
        network: the name of the network of workspace containers.

    Returns:
        Whether the check was done now.

    Raises:
        NoStepsHere: the check failed; the message states why.
        EngineUnavailable: the engine does not answer.
        StepFailed: ``image_unavailable``: the node does not have the image.
    """
    program = (data_dir / "supervisor" / "relay-pid1").read_bytes()
    facts = (sha256(program).hexdigest(), _BOOT.read_text().strip(), containers.info().version)
    seen, content = data_dir / "channels" / _SEEN, " ".join(facts)
    if seen.exists() and seen.read_text() == content:
        return False
    check_steps(containers, data_dir, image, network)
    seen.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen.write_text(content)
    return True


def check_steps(containers: Containers, data_dir: Path, image: str, network: str) -> None:
    """Run a whole handshake with relay-pid1, a start, a connection and a kill; arguments and errors as `check_once`."""
    image_id = containers.ensure_image(image).id
    name = f"relay-check-{uuid4().hex[:12]}"
    workspace = data_dir / "probe" / name
    workspace.mkdir(parents=True)
    files = RunFiles(data_dir, uuid4(), 1)
    spec = ContainerSpec(
        name=name,
        image=image_id,
        labels={LABEL_NODE: "check", LABEL_ROLE: "check"},
        workspace_dir=workspace,
        programs_dir=data_dir / "supervisor",
        channel_dir=data_dir / "channels" / name,
        limits=_LIMITS,
        network=network,
    )
    try:
        _check(containers, containers.ensure_container(spec), files)
    except NoStepsHere:
        raise
    except RelayError as error:
        hint = " (a worker in a container needs `pid: host` to see the first processes of other containers)"
        raise NoStepsHere(
            f"This node cannot run steps: {error}{hint if Path('/.dockerenv').exists() else ''}"
        ) from error
    finally:
        containers.remove(name)
        files.remove()
        shutil.rmtree(workspace)


def _check(containers: Containers, container_id: str, files: RunFiles) -> None:
    files.create()
    containers.start(container_id, StepStart(files, _UID, _GID, "/", b"while :; do :; done", {}))
    try:
        containers.dial(container_id, _CLOSED_PORT).close()
    except DialFailed:
        pass
    else:
        raise NoStepsHere("This node cannot run steps: a port answered in a container in which nothing listens")
    containers.kill_execution(container_id, files.key, grace_seconds=0)
    deadline = time.monotonic() + _RECORD_SECONDS
    while not ((record := files.read_record()) and record.drained):
        if time.monotonic() > deadline:
            raise NoStepsHere("This node cannot run steps: relay-pid1 did not complete the record of a step")
        time.sleep(0.005)  # a record is a file; one start of a worker is not worth an inotify instance
