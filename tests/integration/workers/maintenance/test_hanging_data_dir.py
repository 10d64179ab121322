"""A node whose data directory does not answer lives: it says so, and takes no new workspace."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimant
from relay_core.store.schema.tables import RuntimeNode
from relay_core.store.transaction import Database
from relay_workers.celery.intake import Intake
from relay_workers.maintenance.heartbeat import Heartbeat
from relay_workers.ownership.admission import Admission
from relay_workers.testing.fake_containers import FakeContainers
from tests.support.hanging_disk import hanging, stopped_disk
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]
SOON = 10


def soon(act: Callable[[], Any]) -> list[Any]:
    """Call on another thread, which a disk may hold for ever, and return the result, if it comes soon."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(act()), daemon=True)
    thread.start()
    thread.join(SOON)
    return results


def said(database: Database) -> tuple[str, str | None]:
    with database.connect() as connection:
        row = connection.execute(select(RuntimeNode.reported_health, RuntimeNode.capabilities)).one()
    return row.reported_health, row.capabilities.get("data_dir_problem")


def looks() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in {"data-dir", "free-space"}]


def test_a_node_whose_data_directory_hangs_says_so_and_stays_alive(database: Database, tmp_path: Path) -> None:
    with stopped_disk(tmp_path / "disk") as disk:
        settings = Settings(data_dir=disk.directory, node_min_free_bytes=1)
        beats = Heartbeat(settings, Claimant("w#1", "node-1", "default", 30), database, FakeContainers({}))
        beats.ask_engine()
        admission = Admission(settings, Intake({}))
        beats.beat()
        assert said(database) == ("ok", None)
        with hanging(disk):
            for _ in range(3):
                assert soon(beats.beat) == [None], "a heartbeat waits for the disk"
                [[why]] = [soon(admission.why_disk_full)]
            health, problem = said(database)
            assert (health, str(problem)[:20]) == ("disk_unavailable", "has not answered for")
            assert why.startswith("the disk of its data directory has not answered for")
            assert sorted(looks()) == ["data-dir", "free-space"], "no second look begins while one hangs"
        eventually(lambda: not looks(), "the looks end when the disk answers")
        beats.beat()
        assert said(database) == ("ok", None)
        assert admission.why_disk_full() is None
