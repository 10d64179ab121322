"""The replicas of a fleet that start together on one data directory are one node."""

import multiprocessing
from pathlib import Path

from relay_workers.ownership.node_identity import read_node_id

ROUNDS, REPLICAS = 40, 3


def test_replicas_that_start_together_agree_on_the_node(tmp_path: Path):
    folders = [tmp_path / str(number) for number in range(ROUNDS)]
    with multiprocessing.get_context("fork").Pool(REPLICAS) as pool:
        for folder in folders:
            found = pool.map(read_node_id, [folder] * REPLICAS, chunksize=1)
            assert len(set(found)) == 1
            assert found[0].startswith("node-")
            assert [one.name for one in folder.iterdir()] == ["node_id"]
