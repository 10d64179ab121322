"""A worker that the engine cannot share files with says so before it runs anything."""

from dataclasses import replace
from pathlib import Path

import docker
import pytest

from relay_workers.containers.docker.data_dir_probe import DataDirElsewhere, check_data_dir
from relay_workers.containers.docker.tool_container import DockerToolRunner
from relay_workers.containers.tool import ToolResult, ToolRun

pytestmark = pytest.mark.docker
IMAGE = "relay-git:latest"


class ElsewhereRunner:
    """As for a worker in a container: the engine looks paths up in another file system."""

    def __init__(self, real: DockerToolRunner, root: Path) -> None:
        self._real = real
        self._root = root

    def run(self, spec: ToolRun, cancelled: object = None) -> ToolResult:
        mounts = tuple(one._replace(source=f"{self._root}{one.source}") for one in spec.mounts)

        return self._real.run(replace(spec, mounts=mounts))


@pytest.fixture
def tool():
    client = docker.from_env()
    runner = DockerToolRunner(client)
    yield runner
    runner.close()
    client.close()


def test_the_same_directory_is_found_to_be_the_same(tmp_path, tool):
    check_data_dir(tmp_path, tool, IMAGE)
    assert list((tmp_path / "probe").iterdir()) == []


@pytest.mark.parametrize("there", [True, False], ids=["another-directory", "no-directory"])
def test_another_directory_of_that_name_is_told(tmp_path, tool, there):
    data_dir, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    if there:
        Path(f"{elsewhere}{data_dir}/probe").mkdir(parents=True)
    with pytest.raises(DataDirElsewhere, match=rf"--volume {data_dir}:{data_dir}"):
        check_data_dir(data_dir, ElsewhereRunner(tool, elsewhere), IMAGE)
