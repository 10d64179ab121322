"""A log file that was cut, replaced, moved or linked ends its run; the test is relay-pid1."""

import os

import psutil
import pytest

from relay_core.domain.vocabulary import Reason
from relay_core.store.transaction import Database
from relay_workers.host_files.safe_dir import TamperedFile
from tests.support.capture_checks import TAIL
from tests.support.log_fixtures import Bench, Owned, Run, taken_over
from tests.support.waiting import eventually


def _cut_short(run: Run) -> None:
    os.truncate(run.folder / "stdout", 2)


def _swap(run: Run) -> None:
    other = run.folder / "other"
    other.write_bytes(b"forged, and longer than before")
    other.rename(run.folder / "stdout")


def _move_away(run: Run) -> None:
    (run.folder / "stdout").rename(run.folder / "elsewhere")


def _link_elsewhere(run: Run) -> None:
    os.link(run.folder / "stdout", run.folder / "second-name")


@pytest.mark.parametrize("tamper", [_cut_short, _swap, _move_away, _link_elsewhere])
def test_a_log_that_is_not_what_it_was_ends_the_run(bench: Bench, owned: Owned, tamper) -> None:
    run = bench.run()
    capture = bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"honest")
    eventually(lambda: bench.sizes(owned)["stdout"] == 6)
    tamper(run)
    eventually(lambda: capture.stopped_reason is Reason.LOG_TAMPERED)
    run.end()
    end = capture.finish(TAIL)
    assert end.stopped_reason is Reason.LOG_TAMPERED
    assert end.streams["stdout"].truncated
    assert bench.stored(owned, "stdout") == b"honest"


def test_a_log_shorter_than_what_is_stored_is_not_adopted(bench: Bench, database: Database, owned: Owned) -> None:
    run = bench.run()
    bench.attach(owned, run)
    run.begin()
    run.write("stdout", b"honest")
    eventually(lambda: bench.sizes(owned)["stdout"] == 6)
    bench.new_worker()
    os.truncate(run.folder / "stdout", 3)
    before = psutil.Process().num_fds()
    with pytest.raises(TamperedFile):
        bench.attach(taken_over(database, owned), run, [b"a secret value"])
    assert psutil.Process().num_fds() == before
