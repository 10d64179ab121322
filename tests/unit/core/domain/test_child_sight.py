"""The decision whether the lease of a workspace is kept, from the facts that are known of it."""

import pytest

from relay_core.domain.child_sight import Child, ReclaimReason, Sight, Verdict, judge
from relay_core.domain.vocabulary import Liveness, WorkspaceState

RUNNING = {"exists": True, "state": WorkspaceState.RUNNING, "liveness": Liveness.ONLINE, "sight": Sight.RUNNING}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exists": False}, ReclaimReason.CHILD_MISSING),
        ({"exists": False, "liveness": Liveness.DEGRADED}, ReclaimReason.CHILD_MISSING),
        ({"expired": True}, ReclaimReason.RESERVATION_EXPIRED),
        ({"liveness": Liveness.OFFLINE, "sight": None}, ReclaimReason.NODE_OFFLINE),
        ({"sight": Sight.ABSENT}, ReclaimReason.CONTAINER_MISSING),
        ({"state": WorkspaceState.FAILED, "sight": None}, ReclaimReason.CONTAINER_MISSING),
        ({"sight": Sight.STOPPED}, ReclaimReason.CHILD_STOPPED),
        ({"state": WorkspaceState.STOPPED, "sight": None}, ReclaimReason.CHILD_STOPPED),
        ({}, None),
        ({"state": WorkspaceState.STARTING, "liveness": None, "sight": None}, None),
    ],
)
def test_what_is_proven_takes_a_lease_away(changed: dict[str, object], reason: ReclaimReason | None):
    assert judge(Child(**(RUNNING | changed))) == Verdict(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"liveness": Liveness.DEGRADED, "sight": None},
        {"liveness": Liveness.OFFLINE, "detached": True, "sight": None},
        {"sight": Sight.SILENT},
        {"state": WorkspaceState.STOPPED, "sight": Sight.STOPPED, "resumes": True},
    ],
)
def test_what_is_not_known_keeps_it_and_says_so(changed: dict[str, object]):
    verdict = judge(Child(**(RUNNING | changed)))  # type: ignore[arg-type]
    assert verdict.reclaim is None
    assert verdict.unverified
