"""Leftovers of a killed worker, and the sweep of the next worker that removes them."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from relay_core.settings import Settings
from relay_workers.git.host import scratch
from relay_workers.maintenance.tool_leftovers import died_here
from relay_workers.ownership.node_identity import identify
from tests.support.git_bench import Bench, Remote

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker

WORKER = """
import docker, os, sys, time
from pathlib import Path
from relay_core.settings import Settings
from relay_workers.containers.docker.tool_container import DockerToolRunner
from relay_workers.git.host.mirror import _locked
from relay_workers.git.host.process import Deadline
from relay_workers.git.host.scratch import scratch
from relay_workers.containers.tool import ToolRun
from relay_workers.ownership.node_identity import identify

data_dir, mirror = Path(sys.argv[1]), Path(sys.argv[2])
settings = Settings(data_dir=data_dir)
tool = DockerToolRunner(docker.from_env(), owner=identify(settings).owner)
spec = ToolRun(settings.git_image, ("true",), {}, (), "1000:1000", 64 << 20, 20)
with scratch(data_dir) as out, _locked(mirror.with_suffix(".lock"), Deadline.within(60)):
    (out / "pack").write_bytes(b"x")
    mirror.with_name(mirror.name + ".partial-0123").mkdir()
    (mirror / "relay-fetching").touch()
    (mirror / "objects/pack/tmp_pack_x").touch()
    print(tool._create(spec), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def worker(bench: Bench, remote: Remote):
    """Another worker of the node, in the middle of everything; with the container that it has just made."""
    bench.clone(remote.url)
    (mirror,) = bench.mirrors()
    argv = [sys.executable, "-c", WORKER, str(bench.settings.data_dir), str(mirror)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "src")}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def left_of(data_dir: Path) -> set[str]:
    patterns = (
        "tmp/*",
        "mirrors/*/*.partial-*",
        "mirrors/*/*.git/relay-fetching",
        "mirrors/*/*.git/objects/pack/tmp_*",
    )
    return {path.name for pattern in patterns for path in data_dir.glob(pattern)}


def test_a_sweep_removes_what_a_killed_worker_left_and_nothing_of_a_living_one(bench, tool_runner, worker):
    process, container = worker
    data_dir = bench.settings.data_dir
    node_id = identify(Settings(data_dir=data_dir)).node_id

    def sweep() -> int:
        return tool_runner.sweep(partial(died_here, data_dir, node_id)) + scratch.sweep(data_dir)

    def there() -> bool:
        return container in [item["Id"] for item in tool_runner._api.containers(all=True)]

    before = left_of(data_dir)
    assert len(before) == 4
    assert sweep() == 0
    assert not died_here(data_dir, node_id, "w2@node-of-another-installation#1")
    assert (left_of(data_dir), there()) == (before, True)

    process.send_signal(signal.SIGKILL)
    process.wait()

    assert sweep() == 3
    assert (left_of(data_dir), there()) == (set(), False)
    assert sweep() == 0
