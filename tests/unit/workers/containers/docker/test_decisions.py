"""The pure decisions of the engine: container spec, errors, users, starts."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.channels import Running
from relay_workers.containers.docker.client import find_engine
from relay_workers.containers.docker.create_request import create_request
from relay_workers.containers.docker.failure import classify_failure, refuses_file_limit
from relay_workers.containers.docker.steps import step_of
from relay_workers.containers.docker.user import free_uid, has_account, resolve_uid, uid_in_passwd, with_account
from relay_workers.containers.pid1.client import Pid1Client
from relay_workers.containers.pid1.step import SCRIPT_PATH, Step
from relay_workers.containers.port import ContainerLimits, ContainerSpec, EngineUnavailable, StepStart
from relay_workers.containers.run_files import RunFiles

SPEC = ContainerSpec(
    name="relay-1",
    image="image",
    labels={"relay.workspace_id": "1"},
    workspace_dir=Path("/data/workspaces/1"),
    programs_dir=Path("/data/supervisor"),
    channel_dir=Path("/data/channels/relay-1"),
    limits=ContainerLimits(memory_bytes=2 << 30, cpus=1.5, pids=1024, nofile=65536),
    network="relay",
    mirror_dirs=(Path("/data/mirrors/p/m.git"),),
    env={"CI": "1"},
    ca_bundle=Path("/etc/ssl/ca.crt"),
)


def test_the_create_request_is_exactly_this():
    mounts = [
        ("/data/workspaces/1", "/workspace", False),
        ("/data/supervisor", "/relay", True),
        ("/data/channels/relay-1/seen", "/relay/channel", True),
        ("/data/mirrors/p/m.git", "/data/mirrors/p/m.git", True),
        ("/etc/ssl/ca.crt", "/etc/relay/ca-bundle.crt", True),
    ]
    assert create_request(SPEC) == {
        "Image": "image",
        "Entrypoint": ["/relay/relay-pid1", "/relay/channel/bootstrap"],
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Env": ["CI=1"],
        "Labels": {"relay.workspace_id": "1"},
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Mounts": [
                *(
                    {
                        "Type": "bind",
                        "Source": source,
                        "Target": target,
                        "ReadOnly": read_only,
                        "BindOptions": {"Propagation": "rprivate"},
                    }
                    for source, target, read_only in mounts
                ),
                {
                    "Type": "tmpfs",
                    "Target": "/workspace/.relay",
                    "ReadOnly": True,
                    "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o555},
                },
            ],
            "NetworkMode": "relay",
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID", "KILL", "SYS_NICE"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "PublishAllPorts": False,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Init": False,
            "Sysctls": {f"net.ipv6.conf.{name}.disable_ipv6": "0" for name in ("all", "default", "lo")},
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none", "Config": {}},
            "Memory": 2 << 30,
            "MemorySwap": 2 << 30,
            "NanoCpus": 1_500_000_000,
            "PidsLimit": 1024,
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": 65536, "Hard": 65536}],
        },
    }


def test_a_host_without_ipv6_gets_no_setting_of_it():
    assert create_request(SPEC, ipv6=False)["HostConfig"]["Sysctls"] == {}


def test_without_a_limit_of_files_the_engines_own_holds():
    body = create_request(SPEC, limit_files=False)
    assert body["HostConfig"]["Ulimits"] == [{"Name": "core", "Soft": 0, "Hard": 0}]


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (404, "No such container: abc", Reason.CONTAINER_MISSING),
        (409, "Container abc is not running", Reason.CONTAINER_MISSING),
        (
            500,
            "Cannot restart container abc: container is marked for removal and cannot be started",
            Reason.CONTAINER_MISSING,
        ),
        (409, "Container abc is paused, unpause the container before exec", Reason.ENGINE_ERROR),
        (400, "OCI runtime exec failed: exec failed: unable to start container process: chdir", Reason.START_FAILED),
        (404, "No such image: nope:latest", Reason.IMAGE_UNAVAILABLE),
        (500, "mkdir /var/lib/docker/x: no space left on device", Reason.DISK_PRESSURE),
        (400, 'invalid mount config for type "bind": bind source path does not exist: /x', Reason.ENGINE_ERROR),
        (
            500,
            'OCI runtime create failed: runc create failed: exec: "/x": stat /x: no such file or directory',
            Reason.ENGINE_ERROR,
        ),
    ],
)
def test_what_repeating_does_not_mend_ends_the_step(status, text, reason):
    error = classify_failure(status, text)
    assert isinstance(error, StepFailed)
    assert error.reason == reason
    assert text in str(error)


@pytest.mark.parametrize(
    ("status", "text", "retryable"),
    [
        (None, "('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))", True),
        (None, "('Connection aborted.', PermissionError(13, 'Permission denied'))", False),
        (None, "UnixHTTPConnectionPool(host='localhost', port=None): Read timed out.", True),
        (500, "transport is closing: unavailable", True),
        (503, "", True),
    ],
)
def test_an_engine_in_trouble_is_not_the_steps_fault(status, text, retryable):
    error = classify_failure(status, text)
    assert isinstance(error, EngineUnavailable)
    assert error.retryable is retryable


@pytest.mark.parametrize(
    "text",
    ["task 5f2c already exists: unknown", "id already in use", "transport is closing: unavailable"],
)
def test_a_start_that_died_with_dockerd_is_tried_again(text):
    """Texts that bench.chaos met: what an engine left behind when it was killed says nothing about the step."""
    error = classify_failure(500, text)
    assert isinstance(error, EngineUnavailable)
    assert error.silent


def test_a_refused_file_limit_is_recognised():
    said = (
        "error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation"
    )
    assert refuses_file_limit(said)
    assert not refuses_file_limit("error setting rlimit type 4: operation not permitted")


def test_the_engine_is_found_by_setting_then_environment():
    assert find_engine("unix:///a", {"DOCKER_HOST": "unix:///b"}) == "unix:///a"
    assert find_engine(None, {"DOCKER_HOST": "unix:///b"}) == "unix:///b"


@pytest.mark.parametrize(
    ("requested", "image_uid", "uid"),
    [(None, None, 1234), (None, 0, 1234), (None, 33, 33), (0, 33, 0), (77, None, 77)],
)
def test_the_user_is_the_requests_then_the_images_then_the_nodes(requested, image_uid, uid):
    assert resolve_uid(requested, image_uid, 1234) == uid


def test_a_uid_is_none_of_another_workspace_and_of_no_account():
    workspace, span = UUID(int=7), range(100, 104)  # it begins at 103
    assert free_uid(workspace, span, set(), lambda _: False) == 103
    assert free_uid(workspace, span, {103}, lambda _: False) == 100
    assert free_uid(workspace, span, {103, 100}, lambda uid: uid == 101) == 102
    assert free_uid(workspace, span, {103, 100, 102}, lambda uid: uid == 101) is None
    assert free_uid(workspace, range(1), set(), has_account) is None, "root is an account"


@pytest.mark.parametrize(
    ("passwd", "added"),
    [
        (b"root:x:0:0::/root:/bin/sh\n", b"agent:x:71000:71000:Relay workspace:/h:/bin/sh\n"),
        (b"agent:x:1000:1000::/h:/bin/sh", b"\nrelay:x:71000:71000:Relay workspace:/h:/bin/sh\n"),
        (b"agent::1:\nrelay::2:\nrelay-workspace::3:\n", b"relay-71000:x:71000:71000:Relay workspace:/h:/bin/sh\n"),
        (b"", b"agent:x:71000:71000:Relay workspace:/h:/bin/sh\n"),
    ],
)
def test_an_account_is_added_under_a_name_that_the_image_does_not_have(passwd, added):
    assert with_account(passwd, 71000, "/h") == passwd + added


def test_an_account_that_is_there_stays_and_a_missing_file_is_made_with_root():
    assert with_account(b"node:x:71000:1::/home/node:/bin/sh\n", 71000, "/h") is None
    made = with_account(None, 71000, "/h")
    assert made is not None
    assert [line.split(b":")[0] for line in made.splitlines()] == [b"root", b"agent"]


@pytest.mark.parametrize(
    ("user", "uid"),
    [("", None), ("33", 33), ("33:44", 33), ("node", 1000), ("node:root", 1000), ("absent", None), ("broken", None)],
)
def test_an_images_user_is_looked_up_in_its_passwd(user, uid):
    assert (
        uid_in_passwd(user, b"root:x:0:0::/root:/bin/sh\nbroken:x\n\xff\nnode:x:1000:1000::/home/node:/bin/sh\n") == uid
    )


RUNNING = Running(Pid1Client(Path("/nowhere"), 1), {"PATH": "/bin", "CI": "1"})


def start(script: bytes, **more: Any) -> Step:
    files = RunFiles(Path("/data"), UUID(int=7), 3)
    return step_of(RUNNING, StepStart(files, 1000, 20001, "/workspace", script, **{"env": {}, **more}))


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        (b"true", ("/bin/sh", SCRIPT_PATH)),
        (b"#!/usr/bin/env python3\n", (SCRIPT_PATH,)),
        (b"# a comment", ("/bin/sh", SCRIPT_PATH)),
    ],
)
def test_a_script_is_run_by_a_shell_or_by_what_its_first_line_names(script, argv):
    assert start(script).argv == argv


def test_a_step_gets_the_environment_of_the_container_and_its_own():
    assert start(b"true", env={"CI": "2", "A": "b"}).env == {"PATH": "/bin", "CI": "2", "A": "b"}
    bare = step_of(Running(RUNNING.pid1, {}), StepStart(RunFiles(Path("/d"), UUID(int=7), 3), 0, 1, "/", b"", {}))
    assert "/usr/bin" in bare.env["PATH"]


def test_root_alone_keeps_the_capabilities_of_the_container():
    assert not start(b"true").root_capabilities
    assert step_of(RUNNING, StepStart(RunFiles(Path("/d"), UUID(int=7), 3), 0, 1, "/", b"true", {})).root_capabilities
