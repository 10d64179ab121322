"""When a node has room, and which messages are a worker's."""

import json
from uuid import uuid4

import pytest

from relay_core.domain.message import QueueMessage, task_id
from relay_core.domain.nodes import Capacity, Demand, Load, WorkerSlots, slots_text, why_no_room, worker_slots
from relay_core.domain.vocabulary import RunReason
from relay_core.settings import Settings
from relay_workers.celery.intake import Intake
from relay_workers.celery.message import UnreadableMessage, checked_headers
from relay_workers.ownership.admission import Admission, capacity_of, host_pids

GIB = 1 << 30
ROOMY = Capacity(10, 16 * GIB)


@pytest.mark.parametrize(
    ("load", "capacity", "says"),
    [
        (Load(3, 6 * GIB), ROOMY, None),
        (Load(3, 14 * GIB), ROOMY, None),
        (Load(3, 14 * GIB + 1), ROOMY, "14.0 of 16.0 GiB promised, 2.0 GiB more asked for"),
        (Load(9, GIB), ROOMY, None),
        (Load(10, GIB), ROOMY, "10 of 10 workspaces are at work"),
        (Load(10, 99 * GIB), Capacity(None, None), None),
        (Load(0, 0), Capacity(1, 1, 1), None),
        (Load(3, GIB, 900), Capacity(None, None, 1000), None),
        (Load(3, GIB, 901), Capacity(None, None, 1000), "901 of 1000 processes promised, 100 more asked for"),
    ],
)
def test_room(load, capacity, says):
    assert why_no_room(load, capacity, Demand(2 * GIB, 100)) == says


def test_a_node_says_what_it_may_promise(tmp_path):
    settings = Settings(
        node_max_workspaces=3, node_memory_bytes=GIB, node_pids=77, data_dir=tmp_path, node_min_free_bytes=0
    )
    assert capacity_of(settings) == Capacity(3, GIB, 77)
    assert capacity_of(Settings()).memory_bytes > 0
    assert capacity_of(Settings()).pids == host_pids() * 3 // 4
    for name, value in (("pid_max", "4194304"), ("threads-max", "190000")):
        (tmp_path / name).write_text(f"{value}\n")
    assert host_pids(tmp_path) == 190_000
    assert Admission(settings, Intake({})).why_disk_full() is None
    full = Settings(data_dir=tmp_path, node_min_free_bytes=1 << 60)
    assert "RELAY_NODE_MIN_FREE_BYTES" in str(Admission(full, Intake({})).why_disk_full())
    gone = Settings(data_dir=tmp_path / "gone")
    assert "answers with an error" in str(Admission(gone, Intake({})).why_disk_full())


def dispatch(node_id=None) -> QueueMessage:
    return QueueMessage(uuid4(), 1, RunReason.CLONE, "default", node_id)


def test_what_was_refused_is_sent_again_when_somebody_can_take_it():
    intake = Intake({})
    admission = Admission(Settings(), intake)
    unplaced, mine = dispatch(), dispatch("me")
    looked = []
    admission.look_soon = lambda: looked.append(1)
    admission.room_made()
    assert not looked
    admission.refused(unplaced)
    admission.refused(mine)
    admission.room_made()
    assert looked
    assert admission.follow("it is full") == [unplaced], "the pool's queue is closed here: it is for others"
    assert admission.follow(None) == [mine]
    assert admission.follow(None) == []


def body(*content) -> str:
    return json.dumps(content)


def test_a_message_is_an_execution_and_an_attempt():
    execution_id = uuid4()
    headers = {"task": "relay.clone", "id": task_id(execution_id, 2), "eta": "2999", "lang": "py", "argsrepr": 7}
    content = body([str(execution_id), 2], {}, {"callbacks": None})
    assert checked_headers(headers, content, {"relay.clone"}) == {
        "task": "relay.clone",
        "id": headers["id"],
        "lang": "py",
    }
    assert checked_headers(headers, content.encode(), {"relay.clone"})
    for wrong in ({**headers, "id": str(uuid4())}, {**headers, "task": "relay.other"}, [], None):
        with pytest.raises(UnreadableMessage):
            checked_headers(wrong, content, {"relay.clone"})
    with pytest.raises(UnreadableMessage):
        checked_headers(headers, body([str(execution_id), 2], {"more": 1}, {}), {"relay.clone"})


def test_slots_of_workers_are_in_the_order_of_their_numbers():
    found = worker_slots(["w10@n", "w2@n"], {"w2@n": 3, "w3@n": 1}, 16)
    assert found == (WorkerSlots("w2@n", 3, 16), WorkerSlots("w3@n", 1, 16), WorkerSlots("w10@n", 0, 16))
    assert slots_text((one.used, one.slots) for one in found) == "4 of 48"
    assert slots_text([(3, None)]) == "3"
    assert slots_text([]) == "-"
