"""What of a workspace counts, and who is ended when the disk is nearly full."""

import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay_workers.maintenance import disk_limits, disk_pressure
from relay_workers.maintenance.disk_limits import QUICK_SECONDS, TOGETHER_SECONDS, DiskLimits
from relay_workers.maintenance.disk_meter import LiveWorkspace, Sample, growth
from relay_workers.maintenance.disk_pressure import (
    GREW_MOST,
    LARGEST_RAW_LOG,
    SETTLE_SECONDS,
    Chosen,
    DiskPressure,
    floor_after_relief,
    to_end_under_pressure,
)
from relay_workers.maintenance.disk_usage import (
    DiskUsage,
    directory_usage,
    directory_usages,
    processes_by_container,
    unlinked_file_usage,
)
from relay_workers.ownership.disk_cap import DiskCap

ONE, TWO = Path("/one"), Path("/two")
MIB = 1 << 20


def test_what_is_used_is_blocks_and_each_file_once(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * MIB)
    os.link(tmp_path / "file", tmp_path / "again")
    (tmp_path / "everything").symlink_to("/")
    with (tmp_path / "hole").open("wb") as hole:
        hole.truncate(1 << 40)
    used = directory_usage([tmp_path])
    assert used is not None
    assert MIB <= used.bytes < 2 * MIB
    assert used.files == 4, "the directory, the file, the link, the hole"


def test_directories_are_added_up(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * MIB)
    used = directory_usage([tmp_path / "a", tmp_path / "b"])
    assert used is not None
    assert 2 * MIB <= used.bytes < 3 * MIB
    assert used.files == 4


def test_what_is_gone_cannot_be_measured(tmp_path):
    assert directory_usage([tmp_path / "gone"]) is None


def test_of_several_groups_each_has_its_own_sum(tmp_path):
    for name in ("a", "b", "c\n1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * MIB)
    os.link(tmp_path / "a" / "file", tmp_path / "b" / "again")
    gone = tmp_path / "gone"
    first, none, last = directory_usages([[tmp_path / "a", gone, tmp_path / "b"], [gone], [tmp_path / "c\n1"]], 60)
    assert first is not None
    assert last is not None
    assert none is None
    assert (first, last) == (directory_usage([tmp_path / "a", tmp_path / "b"]), directory_usage([tmp_path / "c\n1"]))
    assert first.files == 4, "the file with two links counts once"


def test_a_file_without_a_name_counts_once_and_neither_memory_nor_a_named_one(tmp_path):
    holder = f"""
import os, sys
full = b"x" * {MIB}
for name in ("gone", "stays"):
    with open("{tmp_path}/" + name, "wb") as file:
        file.write(full)
    globals()[name] = open("{tmp_path}/" + name)
os.unlink("{tmp_path}/gone")
again = os.dup(gone.fileno())
memory = os.memfd_create("memory")
os.write(memory, full)
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        used = unlinked_file_usage([process.pid])
        process.communicate()
    assert MIB <= used.bytes < 2 * MIB
    assert used.files == 1
    assert unlinked_file_usage([process.pid]) == DiskUsage(0, 0), "a process that has ended holds nothing"


def test_a_process_belongs_to_the_container_whose_cgroup_it_is_in(tmp_path):
    first, second = "a" * 64, "b" * 64
    for pid, text in {
        "1": "0::/\n",
        "20": f"12:pids:/docker/{first}\n4:cpu:/docker/{first}\n",
        "21": f"0::/system.slice/docker-{second}.scope\n",
        "self": f"0::/docker/{first}\n",
    }.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(text)
    (tmp_path / "22").mkdir()  # it has ended
    assert processes_by_container(tmp_path) == {first: [20], second: [21]}


@pytest.mark.parametrize(
    ("limit", "use", "exceeded"),
    [
        (100, DiskUsage(100, 1), False),
        (100, DiskUsage(101, 1), True),
        (64 * MIB, DiskUsage(0, 20_000), False),
        (64 * MIB, DiskUsage(0, 20_001), True),
        (1 << 30, DiskUsage(0, 65_536), False),
        (1 << 30, DiskUsage(0, 65_537), True),
    ],
)
def test_a_limit_is_on_bytes_and_on_the_files_that_go_with_them(limit, use, exceeded):
    assert use.exceeds(limit) is exceeded


class Clocked:
    """A meter of workspaces that takes the given time for each and notes what it measured at once."""

    def __init__(self, seconds: dict[Path, float], use: dict[Path, int]) -> None:
        self.now = 100.0
        self.seconds = seconds
        self.use = use
        self.measured: list[list[Path]] = []

    def forget_others(self, caps) -> None:
        list(caps)

    def measure(self, cap, processes):
        return self.measure_together([cap], processes, 1000)[0]

    def measure_together(self, caps, _processes, timeout_seconds):
        directories = [cap.directory for cap in caps]
        self.measured.append(directories)
        seconds = sum(self.seconds[directory] for directory in directories)
        self.now += min(seconds, timeout_seconds + 0.001)
        return [DiskUsage(self.use[one], 1) if seconds <= timeout_seconds else None for one in directories]


def test_small_workspaces_are_measured_together_and_a_large_one_alone(monkeypatch):
    three = Path("/three")
    meter = Clocked({ONE: 0.01, TWO: 0.01, three: QUICK_SECONDS * 2}, {ONE: 5, TWO: 5, three: 5})
    ended: list[Path] = []
    workspaces = {
        path: LiveWorkspace(
            DiskCap(path, str(path), 10),
            [SimpleNamespace(ask_end=lambda _reason, path=path: ended.append(path))],
        )
        for path in (ONE, TWO, three)
    }
    monkeypatch.setattr(disk_limits, "live_workspaces", lambda _live: workspaces)
    monkeypatch.setattr(disk_limits, "processes_by_container", dict)
    monkeypatch.setattr(disk_limits.time, "monotonic", lambda: meter.now)
    limits = DiskLimits(None, meter, SimpleNamespace(swept=lambda _kind: None))

    def measured_by_sweep() -> list[list[Path]]:
        meter.measured.clear()
        meter.now += 60
        limits.sweep()
        return list(meter.measured)

    assert measured_by_sweep() == [[ONE], [TWO], [three]], "nothing is known of them"
    meter.use[TWO] = 11
    assert measured_by_sweep() == [[ONE, TWO], [three]]
    assert ended == [TWO], "measured together, each has its own limit"
    meter.seconds[ONE] = TOGETHER_SECONDS * 2
    meter.use[TWO] = 5
    measured_by_sweep()
    assert measured_by_sweep() == [[ONE], [TWO], [three]], "they took too long together"
    assert measured_by_sweep() == [[TWO], [ONE], [three]]
    meter.measured.clear()
    limits.sweep()
    assert [ONE] not in meter.measured, "it is paused for ten times its duration"
    assert ended == [TWO]


def test_growth_is_since_the_smallest_sample_and_unknown_of_one():
    assert growth([]) is None
    assert growth([Sample(0, 500)]) is None
    assert growth(deque([Sample(0, 500), Sample(1, 100), Sample(2, 350)])) == 250
    assert growth([Sample(0, 500), Sample(1, 400)]) == 0


def test_who_grew_most_has_to_go_however_large_another_is():
    assert to_end_under_pressure({ONE: 10, TWO: 1000}, {ONE: 5000, TWO: 0}) == Chosen(TWO, GREW_MOST)
    assert to_end_under_pressure({ONE: None, TWO: 1}, {ONE: 5000, TWO: 0}) == Chosen(TWO, GREW_MOST)


def test_where_nobody_grew_the_largest_raw_log_has_to_go():
    assert to_end_under_pressure({ONE: 0, TWO: None}, {ONE: 10, TWO: 1000}) == Chosen(TWO, LARGEST_RAW_LOG)


def test_nobody_is_ended_whose_end_would_free_nothing():
    assert to_end_under_pressure({}, {}) is None
    assert to_end_under_pressure({ONE: 0}, {ONE: 0}) is None


def test_after_a_relief_the_next_one_waits_until_the_disk_is_fuller_still():
    assert floor_after_relief(free=800, pressure=1000) == 600
    assert floor_after_relief(free=0, pressure=1000) == 125, "with next to nothing left nobody waits"


def test_a_second_workspace_is_ended_only_after_the_raw_logs_of_the_first_are_gone(monkeypatch):
    """Ended executions leave the list of live ones a moment before their raw logs are removed."""
    now, free, ended = [100.0], [10], []
    monkeypatch.setattr(disk_pressure.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(disk_pressure.shutil, "disk_usage", lambda _path: SimpleNamespace(free=free[0]))
    live = {
        path: SimpleNamespace(
            controls=[
                SimpleNamespace(execution_id=path, ended_by=None, ask_end=lambda *_, path=path: ended.append(path))
            ]
        )
        for path in (ONE, TWO)
    }
    monkeypatch.setattr(disk_pressure, "live_workspaces", lambda _live: live)
    monkeypatch.setattr(
        DiskPressure, "_grown", lambda _self, candidates: {path: 9 if path == ONE else 1 for path in candidates}
    )
    settings = SimpleNamespace(data_dir=Path("/"), node_pressure_bytes=100)
    parts = (SimpleNamespace(backlogs=dict), SimpleNamespace(swept=lambda _kind: None))
    pressure = DiskPressure(settings, None, None, *parts)
    pressure.sweep()
    assert ended == [ONE]
    del live[ONE]
    now[0] += SETTLE_SECONDS - 0.1
    pressure.sweep()
    assert ended == [ONE], "its raw logs may still be there"
    free[0] = 1000
    now[0] += 0.2
    pressure.sweep()
    free[0] = 10
    pressure.sweep()
    assert ended == [ONE, TWO], "the disk ran full again"
