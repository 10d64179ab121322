"""When a node takes no new workspace."""

from dataclasses import replace

import pytest

from relay_core.settings import Settings
from relay_workers.capacity import Load, why_full

ROOM = Load(workspaces=3, memory_bytes=6 << 30, free_bytes=100 << 30, draining=False)
SETTINGS = Settings(node_max_workspaces=10, node_min_free_bytes=1 << 30)


def test_room():
    assert why_full(ROOM, SETTINGS, 16 << 30) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"draining": True}, "draining"),
        ({"workspaces": 10}, "RELAY_NODE_MAX_WORKSPACES"),
        ({"memory_bytes": 16 << 30}, "memory limits"),
        ({"free_bytes": 5}, "RELAY_NODE_MIN_FREE_BYTES"),
    ],
)
def test_full(change, says):
    assert says in why_full(replace(ROOM, **change), SETTINGS, 16 << 30)
