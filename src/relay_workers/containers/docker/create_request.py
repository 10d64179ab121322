"""Builds the body of the Docker API's ``POST /containers/create``. Pure: no I/O.

The body contains only the fields listed here.
"""

from typing import Any

from relay_workers.containers.docker.channels import seen_dir
from relay_workers.containers.pid1.install import COMMAND
from relay_workers.containers.port import (
    CA_BUNDLE,
    CHANNEL,
    HIDDEN,
    PROGRAMS,
    WORKSPACE,
    ContainerLimits,
    ContainerSpec,
)

CAPABILITIES = (
    # A setup script that runs as root must be able to install packages. A step of any other user has none of these,
    # and no-new-privileges keeps it from getting them.
    "CHOWN",  # relay-pid1 gives a step its pipes; dpkg changes the owner of files to a package's accounts
    "DAC_OVERRIDE",  # root reads and writes the workspace's files, which belong to the workspace's uid
    "FOWNER",  # root changes their modes and times, as tar, cp -p and dpkg do
    "FSETID",  # dpkg keeps the set-group-id bit of a file whose group it changes
    "SETGID",  # apt downloads as an unprivileged account; su and service scripts switch accounts
    "SETUID",
    "KILL",  # relay-pid1 kills the processes of every account; no step gets it
    "SYS_NICE",  # relay-pid1 goes before the processes of the container, however many there are; no step gets it
    # Docker's default set also has AUDIT_WRITE, MKNOD, NET_BIND_SERVICE (any user may bind ports below 1024 in a
    # container since 20.10), NET_RAW (could forge packets on the shared bridge), SETFCAP, SETPCAP and SYS_CHROOT.
    # They are left out.
)


def create_request(spec: ContainerSpec, *, limit_files: bool = True, ipv6: bool = True) -> dict[str, Any]:
    """Return the request body for ``spec``.

    A client of Relay cannot set any other option: no privileges, devices, host namespaces or additional mounts.

    Args:
        spec: the container to create.
        limit_files: False leaves out the limit of open files, for an engine that may not set a larger limit than its
            own.
        ipv6: whether the kernel of the host knows IPv6, so that servers can listen on ``::1`` in the container.
    """
    return {
        "Image": spec.image,
        "Entrypoint": list(COMMAND),
        "Cmd": [],
        "User": "0:0",  # of relay-pid1; each step has its own user
        "WorkingDir": "/",
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "StopSignal": "SIGKILL",  # PID 1 ignores all other signals, so they would only cost the stop timeout
        "Healthcheck": {"Test": ["NONE"]},  # the image's own check would run in the background all the time
        "HostConfig": {
            "Mounts": _mounts(spec),
            "NetworkMode": spec.network,
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "PublishAllPorts": False,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Init": False,
            "Sysctls": {f"net.ipv6.conf.{name}.disable_ipv6": "0" for name in ("all", "default", "lo")} if ipv6 else {},
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none", "Config": {}},
            **_limits(spec.limits, limit_files=limit_files),
        },
    }


def _mounts(spec: ContainerSpec) -> list[dict[str, Any]]:
    mounts = [
        _bind(str(spec.workspace_dir), WORKSPACE, read_only=False),
        _bind(str(spec.programs_dir), PROGRAMS, read_only=True),
        _bind(str(seen_dir(spec.channel_dir)), CHANNEL, read_only=True),
    ]
    mounts += [_bind(str(path), str(path), read_only=True) for path in spec.mirror_dirs]
    if spec.ca_bundle is not None:
        mounts.append(_bind(str(spec.ca_bundle), CA_BUNDLE, read_only=True))
    # The node's own directory of the workspace (`host_files.anchors`): processes see an empty one over it.
    mounts.append(
        {"Type": "tmpfs", "Target": HIDDEN, "ReadOnly": True, "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o555}}
    )
    return mounts


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    # Private propagation: a mount made on one side (host or container) does not appear on the other.
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _limits(limits: ContainerLimits, *, limit_files: bool) -> dict[str, Any]:
    ulimits = [{"Name": "core", "Soft": 0, "Hard": 0}]  # a core file would fill the workspace
    if limit_files:
        ulimits.append({"Name": "nofile", "Soft": limits.nofile, "Hard": limits.nofile})
    return {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": int(limits.cpus * 1_000_000_000),
        "PidsLimit": limits.pids,
        "Ulimits": ulimits,
    }
