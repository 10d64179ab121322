"""The replicas of a fleet that start together on one data directory are one node."""

import multiprocessing
import os
from pathlib import Path

from relay_core.settings import Settings
from relay_workers.ownership.node_identity import identify, living_workers, read_node_id

ROUNDS, REPLICAS = 40, 3


def test_replicas_that_start_together_agree_on_the_node(tmp_path: Path):
    folders = [tmp_path / str(number) for number in range(ROUNDS)]
    with multiprocessing.get_context("fork").Pool(REPLICAS) as pool:
        for folder in folders:
            found = pool.map(read_node_id, [folder] * REPLICAS, chunksize=1)
            assert len(set(found)) == 1
            assert found[0].startswith("node-")
            assert [one.name for one in folder.iterdir()] == ["node_id"]


def test_the_workers_that_live_are_those_that_hold_their_locks(tmp_path: Path):
    settings = Settings(data_dir=tmp_path)
    one, two = identify(settings), identify(settings)
    try:
        assert living_workers(tmp_path, one.node_id) == [one.worker, two.worker]
        os.close(one.lock_fd)
        assert living_workers(tmp_path, one.node_id) == [two.worker]
    finally:
        os.close(two.lock_fd)
