"""Workspace containers on a real engine: what they are made of, and what nothing inside can undo."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from relay_core.domain.errors import Conflict, StepFailed
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.containers.docker.client import connect
from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.docker.network import ensure_network
from relay_workers.containers.port import ContainerLimits, EngineUnavailable, identity_labels
from tests.support.engine_fixtures import LIMITS, UID, base_image
from tests.support.machine import NETWORK
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker

ICC_OFF = {"com.docker.network.bridge.enable_icc": "false"}


def test_limits_network_and_labels_are_those_of_the_spec(new_workspace, docker_api):
    workspace = new_workspace(limits=ContainerLimits(memory_bytes=2 << 30, cpus=2.0, pids=1024, nofile=4096))
    found = docker_api.inspect_container(workspace.container)
    host = found["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (2 << 30, 2 << 30, 2_000_000_000)
    assert (host["PidsLimit"], host["Init"], host["Privileged"]) == (1024, False, False)
    assert list(found["NetworkSettings"]["Networks"]) == [NETWORK]
    assert {name: found["Config"]["Labels"][name] for name in workspace.spec.labels} == workspace.spec.labels
    assert docker_api.inspect_network(NETWORK)["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert {mount["Destination"]: mount["RW"] for mount in found["Mounts"]} == {
        "/workspace": True,
        "/workspace/.relay": False,
        "/relay": False,
        "/relay/channel": False,
    }
    assert host["PortBindings"] in (None, {})
    assert host["LogConfig"]["Type"] == "none"


def test_the_same_name_is_the_same_container_running_again(workspace, docker_engine):
    containers, spec = docker_engine, workspace.spec
    assert containers.ensure_container(spec) == workspace.container
    before = containers.inspect(workspace.container)
    assert before.running
    containers.stop(workspace.container)
    containers.stop(workspace.container)
    assert not containers.inspect(spec.name).running
    assert containers.ensure_container(spec) == workspace.container
    after = containers.inspect(workspace.container)
    assert after.running
    assert after.started_at != before.started_at


def test_a_name_of_somebody_else_is_not_adopted(workspace, docker_engine):
    with pytest.raises(Conflict):
        docker_engine.ensure_container(replace(workspace.spec, labels=identity_labels("test-node", "another")))


def test_ours_are_found_by_node_and_removed_for_good(workspace, docker_engine):
    found = [each for each in docker_engine.list_ours("test-node") if each.id == workspace.container]
    assert [(each.name, each.running) for each in found] == [(workspace.spec.name, True)]
    assert docker_engine.list_ours(f"other-{uuid4()}") == []
    docker_engine.remove(workspace.container)
    docker_engine.remove(workspace.container)
    assert not docker_engine.inspect(workspace.container).exists


def test_a_missing_image_says_what_to_do(docker_engine, new_spec):
    name = f"relay-no-such-{uuid4().hex}:1"
    for act in (
        lambda: docker_engine.ensure_image(name),
        lambda: docker_engine.ensure_container(replace(new_spec(), image=name)),
        lambda: docker_engine.ensure_image("not a reference"),
    ):
        with pytest.raises(StepFailed) as caught:
            act()
        assert caught.value.reason == Reason.IMAGE_UNAVAILABLE


def test_an_image_tells_its_user_by_number(docker_engine, docker_api):
    base = base_image(docker_api)
    assert docker_engine.ensure_image(base).env["PATH"]
    container = docker_api.create_container(base, command=["true"])["Id"]
    tag = f"relay-test-{uuid4().hex[:8]}"
    try:
        docker_api.commit(container, repository=tag, conf={"User": "nobody:root"})
        image = docker_engine.ensure_image(tag)
        assert (image.user, image.uid) == ("nobody:root", 65534)
    finally:
        docker_api.remove_container(container)
        docker_api.remove_image(tag)


def test_no_mount_source_leaves_no_container_behind(docker_engine, new_spec):
    spec = new_spec()
    with pytest.raises(StepFailed) as caught:
        docker_engine.ensure_container(replace(spec, workspace_dir=spec.workspace_dir / "absent"))
    assert caught.value.reason == Reason.ENGINE_ERROR
    assert not docker_engine.inspect(spec.name).exists


def test_an_engine_that_does_not_answer_is_told_from_a_failed_step(tmp_path):
    with pytest.raises(EngineUnavailable) as caught:
        connect(f"unix://{tmp_path}/absent.sock")
    assert caught.value.retryable


def test_verbs_on_a_container_that_is_gone(docker_engine, workspace):
    docker_engine.remove(workspace.container)
    start = workspace.prepare("true")
    with pytest.raises(StepFailed) as caught:
        docker_engine.start(workspace.container, start)
    assert caught.value.reason == Reason.CONTAINER_MISSING
    assert docker_engine.kill_execution(workspace.container, start.files.key, grace_seconds=0).remaining == 0
    docker_engine.stop(workspace.container)


@pytest.mark.parametrize("uid", [UID, 0])
def test_kill_9_of_everything_does_not_end_the_container(workspace, docker_engine, uid):
    before = docker_engine.inspect(workspace.container).started_at
    step = workspace.run(
        "kill -STOP 1; kill -SEGV 1; kill -CHLD 1; kill -9 1; kill -9 $PPID; kill -9 -1; exit 4", uid=uid
    )
    after = docker_engine.inspect(workspace.container)
    assert after.running
    assert after.started_at == before
    assert step.verdict().exit_code == 4
    assert workspace.run("echo next").log() == b"next\n"


def test_no_step_of_root_is_faster_than_its_supervisor_gives_up_its_rights(workspace):
    steps = [workspace.start("kill -9 $PPID; exit 4", gid=20001 + number, uid=0) for number in range(50)]
    assert {step.verdict().exit_code for step in steps} == {4}


def test_root_can_neither_trace_nor_write_pid_1(workspace):
    step = workspace.run("cat /proc/1/maps || echo no maps; (echo x >/proc/1/mem) || echo no mem", uid=0)
    assert step.log() == b"no maps\nno mem\n"


def test_pid_1_reaps_orphans(workspace):
    step = workspace.run(
        'for i in 1 2 3 4 5; do (sh -c "sleep 0.1 &"); done; sleep 0.5; cat /proc/[0-9]*/stat | grep -c " Z "'
    )
    assert step.log() == b"0\n"


def test_root_may_do_what_installing_packages_takes_and_no_more(workspace):
    script = """set -e
        install -o 33 -g 33 -m 2755 /bin/true /workspace/owned
        test "$(stat -c %u:%g:%a /workspace/owned)" = 33:33:2755
        setpriv --reuid 33 --regid 33 --clear-groups true
        su -s /bin/sh nobody -c true
        useradd someone
        ! mknod /workspace/device c 1 3 2>/dev/null
        ! mount -t tmpfs none /mnt 2>/dev/null
        ! chroot / true 2>/dev/null
        grep -E '^(NoNewPrivs|CapPrm)' /proc/self/status"""
    step = workspace.run(script, uid=0)
    assert step.verdict().exit_code == 0, (step.log(), step.log(Stream.STDERR))
    capabilities = sum(1 << bit for bit in (0, 1, 3, 4, 6, 7))  # of PID 1's, without CAP_KILL and CAP_SYS_NICE
    assert step.log().split() == [b"CapPrm:", b"%016x" % capabilities, b"NoNewPrivs:", b"1"]


def test_other_users_have_no_capability_and_limits_of_their_own(workspace):
    step = workspace.run(
        "grep CapEff /proc/self/status; ulimit -c; id -u; cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
    )
    assert step.log().split() == [b"CapEff:", b"0" * 16, b"0", b"%d" % UID, b"%d" % LIMITS.pids]


def test_containers_do_not_reach_each_other(new_workspace, docker_engine):
    one, other = new_workspace(), new_workspace()
    one.start("exec python3 -m http.server 8000 >/dev/null 2>&1")
    eventually(lambda: b":1F40 " in one.run("cat /proc/net/tcp", gid=20002).log(), "the server listens")
    address = docker_engine.inspect(one.container).address
    connect_to = "import socket,sys; socket.create_connection((sys.argv[1], 8000), 1)"
    assert one.run(f"python3 -c '{connect_to}' {address}", gid=20003).verdict().exit_code == 0
    assert other.run(f"python3 -c '{connect_to}' {address}").verdict().exit_code == 1


def test_a_network_made_twice_at_one_moment_is_one_for_all(docker_api):
    """Docker Engine lets it happen, and refuses the name from then on."""
    name = f"relay-race-{os.getpid()}"
    made = [docker_api.create_network(name, driver="bridge", options=ICC_OFF)["Id"] for _ in range(2)]
    try:
        with ThreadPoolExecutor(4) as pool:
            ids = set(pool.map(lambda _: ensure_network(docker_api, name), range(8)))
        assert ids == {made[0]}
    finally:
        for network in made:
            docker_api.remove_network(network)


def test_concurrent_makers_of_the_network_agree(docker_api):
    name = f"relay-race-{os.getpid()}"
    try:
        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(lambda _: ensure_network(docker_api, name), range(16)))
        assert len(ids) == 1
    finally:
        for network in docker_api.networks(names=[name]):
            docker_api.remove_network(network["Id"])


@pytest.mark.parametrize("knows_already", [False, True])
def test_a_container_with_a_limit_that_the_engine_refuses_is_made_anew(docker_api, new_spec, knows_already):
    """A worker or engine that died between making and starting it has left it, also after an earlier refusal."""
    more_than_any_kernel_allows = 1 << 30
    left, other = (
        replace(spec, limits=replace(spec.limits, nofile=more_than_any_kernel_allows))
        for spec in (new_spec(), new_spec())
    )
    DockerContainers(docker_api)._lifecycle._create(left)
    containers = DockerContainers(docker_api)
    try:
        if knows_already:
            containers.ensure_container(other)
        container = containers.ensure_container(left)
        assert docker_api.inspect_container(container)["State"]["Running"]
    finally:
        docker_api.remove_container(left.name, force=True)
        if knows_already:
            docker_api.remove_container(other.name, force=True)
