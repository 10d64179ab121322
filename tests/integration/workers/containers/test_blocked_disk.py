"""A disk of the node that does not answer, below the logs of a step: its end, kills and other starts go on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from uuid import uuid4

import pytest

from relay_workers.containers.pid1.answers import ExecutionStatus, How, State
from relay_workers.containers.pid1.record import told
from relay_workers.containers.port import StepStart
from relay_workers.containers.run_files import RunFiles
from relay_workers.execution.exit_verdict import ExitVerdict, judge_end
from tests.support.engine_fixtures import Step, Workspace
from tests.support.hanging_disk import FrozenDisk, HangingDisk, frozen_disk, hanging, stopped_disk

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]

SOON = 10
LOUD = "while :; do head -c 65536 /dev/zero; done"


@pytest.fixture(params=[frozen_disk, stopped_disk], ids=["writes hang", "all hangs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HangingDisk]:
    """A small file system of its own."""
    with request.param(tmp_path / "disk") as made:
        yield made


def prepared_on(disk: HangingDisk, workspace: Workspace, script: str, gid: int = 20001) -> StepStart:
    files = RunFiles(disk.directory, uuid4(), 1)
    files.create()
    return replace(workspace.prepare(script, gid), files=files)


def watched(workspace: Workspace, start: StepStart) -> SimpleQueue[ExecutionStatus]:
    heard: SimpleQueue[ExecutionStatus] = SimpleQueue()
    workspace.containers.watch(workspace.container, start.files.key, heard.put)
    return heard


def test_the_end_of_a_step_is_heard_of_while_its_record_cannot_be_written(disk, workspace):
    start = prepared_on(disk, workspace, "while [ ! -e /workspace/go ]; do sleep 0.02; done; exit 3")
    workspace.containers.start(workspace.container, start)
    heard = watched(workspace, start)
    with hanging(disk):
        (workspace.spec.workspace_dir / "go").touch()
        status = heard.get(timeout=SOON)
        assert (status.how, status.value) == (How.EXITED, 3)
        if isinstance(disk, FrozenDisk):
            record = start.files.read_record()
            assert record is not None
            assert record.ended is None
        assert judge_end(told(status), over=False) == ExitVerdict(3, "exit_code")
    assert heard.get(timeout=SOON).state is State.DRAINED
    assert Step(start.files, start.gid).verdict().exit_code == 3


def test_kills_and_starts_go_on_and_no_byte_that_was_copied_is_lost(disk, workspace):
    start = prepared_on(disk, workspace, LOUD)
    workspace.containers.start(workspace.container, start)
    heard = watched(workspace, start)
    with hanging(disk):
        other = workspace.prepare("exit 4", 20002)
        workspace.containers.start(workspace.container, other)
        assert watched(workspace, other).get(timeout=SOON).value == 4
        result = workspace.containers.kill_execution(workspace.container, start.files.key, grace_seconds=0)
        assert (result.remaining, result.restarted) == (0, False)
        assert heard.get(timeout=SOON).how is How.SIGNALLED
        assert workspace.processes(start.gid) == []
    step = Step(start.files, start.gid)
    record = step.wait()
    assert record.drained.stdout.copied == len(step.log())
    assert record.drained.stdout.dropped == 0
