"""When a supervisor should start a worker anew, and what the doctor concludes."""

import math
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay_core.domain.nodes import Load
from relay_core.domain.vocabulary import Liveness, NodeHealth
from relay_core.store.nodes.node_row import NodeRow
from relay_core.store.nodes.runtime_nodes import ListedNode
from relay_workers.diagnostics.checks import judge_clock, judge_disk, judge_node, judge_open_files, judge_queue
from relay_workers.diagnostics.host_checks import judge_mount, judge_pids, judge_privacy, judge_uids
from relay_workers.health import SLACK_SECONDS, ClockState, Health, HealthServer, PortTaken, judge

FRESH = {
    "leases": ClockState(1.0, 5.0, vital=True),
    "disk": ClockState(1.0, 5.0, vital=False),
    "log pump": ClockState(0.0, 1.0, vital=True),
}
LATE = 3 * 5.0 + SLACK_SECONDS + 0.1


def test_a_worker_whose_clocks_tick_is_well():
    assert judge(FRESH, redis_takes_writes=True) == Health([], [])


def test_what_makes_a_worker_stuck_and_what_only_degraded():
    late = {name: clock._replace(age_seconds=LATE) for name, clock in FRESH.items() if name != "log pump"}
    assert judge(late, redis_takes_writes=True) == Health(["leases"], ["disk"])
    dead = FRESH | {"log pump": ClockState(math.inf, 1.0, vital=True)}
    assert judge(dead, redis_takes_writes=False) == Health(["log pump"], ["redis"])


def test_a_port_that_is_taken_is_one_clear_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}.*RELAY_WORKER_HTTP_PORT"):
            HealthServer(("127.0.0.1", port), lambda: Health([], []), lambda: b"")


def test_the_doctor_tells_a_wrong_clock_and_a_long_queue():
    assert judge_clock(4.9).level == "ok"
    assert judge_clock(-7200.0).level == "warning"
    assert "-7200 s" in judge_clock(-7200.0).message
    assert (judge_queue("q", 999).level, judge_queue("q", 1000).level) == ("ok", "warning")


def test_the_doctor_tells_a_limit_of_open_files_that_is_too_low():
    assert judge_open_files(65536, 200).level == "ok"
    assert judge_open_files(1024, 20).level == "warning", "enough for the worker, not for an API"
    few = judge_open_files(2048, 1000)
    assert (few.level, "8256" in few.message, "LimitNOFILE" in few.what_to_do) == ("warning", True, True)


def test_a_disk_below_one_bound_is_a_warning_and_below_both_an_error():
    levels = [judge_disk("/data", free, min_free=20, pressure=10).level for free in (20, 19, 10, 9)]
    assert levels == ["ok", "warning", "warning", "error"]


def test_a_revoked_node_is_a_warning_with_the_way_out():
    row = dict.fromkeys(NodeRow.__dataclass_fields__)
    says = {"node_id": "n", "liveness": Liveness.ONLINE, "reported_health": NodeHealth.DRAINING}
    found = judge_node(ListedNode(NodeRow(**row | says | {"revoked_at": datetime.now(UTC)}), 1.0, Load(0, 0)))
    assert found.level == "warning"
    assert "it is revoked and starts no step" in found.message
    assert "relay revoke NODE --undo" in str(found)


@pytest.mark.parametrize(
    ("liveness", "says", "level"),
    [
        (Liveness.ONLINE, NodeHealth.OK, "ok"),
        (Liveness.ONLINE, NodeHealth.DRAINING, "ok"),  # as it was told
        (Liveness.ONLINE, NodeHealth.ENGINE_UNAVAILABLE, "warning"),
        (Liveness.ONLINE, NodeHealth.DISK_UNAVAILABLE, "warning"),
        (Liveness.DEGRADED, NodeHealth.OK, "warning"),
        (Liveness.OFFLINE, NodeHealth.OK, "warning"),
    ],
)
def test_a_node_by_what_it_says_and_by_its_silence(liveness: Liveness, says: NodeHealth, level: str):
    row = dict.fromkeys(NodeRow.__dataclass_fields__)
    node = NodeRow(**row | {"node_id": "n", "liveness": liveness, "reported_health": says, "max_workspaces": 50})
    found = judge_node(ListedNode(node, 41.6, Load(3, 6 << 30)))
    assert found.level == level
    assert "3 of 50 workspaces, 6.0 of any number of GiB are promised" in found.message
    assert "42 s old" in found.message


def test_the_doctor_tells_open_directories_and_advises_mount_options():
    assert judge_privacy([]).level == "ok"
    assert (judge_privacy([Path("/d/stores")]).level, judge_privacy([Path("/d/stores")]).message) == (
        "error",
        "other accounts can enter /d/stores",
    )
    assert judge_mount(Path("/d"), ()).what_to_do == ""
    assert judge_mount(Path("/d"), ("nosuid", "nodev")).what_to_do.endswith("mounted nosuid,nodev")


@pytest.mark.parametrize(
    ("one_uid", "root", "delegated", "level"),
    [
        (None, True, [], "ok"),
        (None, True, [range(60, 70), range(80, 90)], "ok"),
        (None, True, [range(79, 90)], "warning"),
        (1234, True, [], "warning"),
        (1234, False, [], "warning"),
    ],
)
def test_the_doctor_tells_whose_uids_workspaces_have(one_uid, root, delegated, level):
    assert judge_uids(one_uid=one_uid, root=root, span=range(70, 80), delegated=delegated).level == level


@pytest.mark.parametrize(
    ("most_of_one", "promised", "level"), [(500, 750, "ok"), (751, 750, "warning"), (500, 1000, "warning")]
)
def test_the_doctor_judges_processes_against_what_the_host_can_have(most_of_one, promised, level):
    assert judge_pids(most_of_one=most_of_one, promised=promised, host=1000).level == level
