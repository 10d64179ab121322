"""Where a workspace can hide disk space: each place is found."""

import io
from uuid import uuid4

import pytest

from relay_workers.maintenance.disk_meter import DiskMeter
from relay_workers.maintenance.disk_usage import DiskUsage, processes_by_container
from relay_workers.ownership.disk_cap import DiskCap
from tests.support.engine_fixtures import base_image
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker

MIB = 1 << 20
WRITE = "head -c 32M /dev/zero"
HOLD = "sleep 60"


def use_of(workspace) -> DiskUsage:
    measured = DiskMeter(workspace.containers).measure(
        DiskCap(workspace.spec.workspace_dir, workspace.container, 1 << 40), processes_by_container()
    )
    assert measured is not None
    return measured


@pytest.fixture(scope="module")
def image_with_a_volume(docker_api):
    """An image that asks for a volume, which the engine keeps beside the container."""
    recipe = f"FROM {base_image(docker_api)}\nRUN mkdir -m 777 /kept\nVOLUME /kept\n".encode()
    tag = f"relay-test-volume-{uuid4().hex[:8]}"
    for event in docker_api.build(fileobj=io.BytesIO(recipe), tag=tag, rm=True, decode=True):
        assert "error" not in event, event
    yield tag
    docker_api.remove_image(tag)


@pytest.mark.parametrize(
    "script",
    [
        f"{WRITE} >/workspace/file",
        f"{WRITE} >/tmp/file",
        f"{WRITE} >/var/tmp/file",
        f"{WRITE} >/opt/file",
        f"{WRITE} >/kept/file",
        f"exec 3>/workspace/gone; rm /workspace/gone; {WRITE} >&3",
        f"exec 3>/var/tmp/gone; rm /var/tmp/gone; {WRITE} >&3",
        f"exec 3>/kept/gone; rm /kept/gone; {WRITE} >&3",
    ],
)
def test_every_place_counts(new_workspace, image_with_a_volume, script):
    workspace = new_workspace(image=image_with_a_volume)
    before = use_of(workspace)
    step = workspace.start(f"{script}; echo written; {HOLD}", uid=0)
    eventually(lambda: b"written" in step.log(), "written")
    grown = use_of(workspace).bytes - before.bytes
    assert 32 * MIB <= grown < 34 * MIB


def test_memory_is_no_disk_space_and_empty_files_are_files(workspace):
    before = use_of(workspace)
    step = workspace.start(
        f"exec 3>/dev/shm/gone; rm /dev/shm/gone; {WRITE} >&3; cd /var/tmp; seq 3000 | xargs touch; echo written; {HOLD}"
    )
    eventually(lambda: b"written" in step.log(), "written")
    after = use_of(workspace)
    assert after.bytes - before.bytes < 2 * MIB
    assert 3000 <= after.files - before.files < 3050


def test_the_engine_tells_the_size_of_a_layer_that_this_host_does_not_see(workspace):
    assert workspace.run(f"{WRITE} >/var/tmp/file", uid=0).verdict().exit_code == 0
    assert 32 * MIB <= workspace.containers.layer_bytes(workspace.container) < 34 * MIB
