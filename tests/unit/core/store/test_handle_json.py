"""The JSON of process handles: read back as written, and as versions without a version number wrote it."""

import pytest

from relay_core.domain.process_handle import VERSION, ProcessHandle
from relay_core.store.executions.handle_json import handle_from_json, handle_to_json

RUN_DIR = "/workspace/runs/0f9d6a8e-7f2c-4c5e-9a51-0d4b1c1f2a3b/7"


@pytest.mark.parametrize(
    ("handle", "stored"),
    [
        (ProcessHandle(20001), {"version": VERSION, "gid": 20001}),
        (ProcessHandle(20001, replaces=""), {"version": VERSION, "gid": 20001, "replaces": ""}),
        (
            ProcessHandle(20001, 7, 3001, 40001),
            {
                "version": VERSION,
                "gid": 20001,
                "fence": 7,
                "port": 3001,
                "forward_port": 40001,
            },
        ),
    ],
)
def test_a_handle_is_stored_as_readable_json_and_read_back(handle, stored):
    assert handle_to_json(handle) == stored
    assert handle_from_json(stored) == handle


@pytest.mark.parametrize(
    ("stored", "handle"),
    [
        ({"gid": 20001}, ProcessHandle(20001, version=0)),
        ({"gid": 20001, "run_dir": RUN_DIR}, ProcessHandle(20001, 7, version=0)),
        (
            {"gid": 20001, "exec_id": None, "run_dir": RUN_DIR, "port": 3001, "forward_port": 40001},
            ProcessHandle(20001, 7, 3001, 40001, version=0),
        ),
    ],
)
def test_a_handle_without_a_version_is_still_read(stored, handle):
    assert handle_from_json(stored) == handle


def test_a_handle_of_a_newer_version_says_so():
    assert handle_from_json({"version": VERSION + 1, "gid": 20001, "cgroup": "x"}).version == VERSION + 1


@pytest.mark.parametrize(
    ("handle", "of_first_edition"),
    [
        (ProcessHandle(20001, 7), False),
        (ProcessHandle(20001, 7, version=1), True),
        (ProcessHandle(20001, 7, version=0), True),
        (ProcessHandle(20001, version=1), False),  # nothing was prepared, so any version can start it
    ],
)
def test_a_handle_says_which_program_started_its_process(handle, of_first_edition):
    assert handle.of_first_edition is of_first_edition
