"""Where a process was root it may have changed its gid: it is ended all the same, whatever ends its step."""

import pytest

from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason
from relay_workers.maintenance.clocks import make_leftovers

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def fleeing(name: str) -> str:
    """Leaves a child with another gid, uid and session."""
    flee = f"setpriv --regid 54000 --reuid 33 --clear-groups setsid sleep {name} >/dev/null 2>&1 &"
    return f"{flee} sleep 1; echo begun; sleep 997"


@pytest.mark.parametrize("end", ["kill", "timeout"])
def test_an_as_root_step(node, end):
    limits = Limits(timeout_seconds=3 if end == "timeout" else 600, kill_grace_seconds=0.5)
    workspace = node.submit(setup_script=fleeing("983"), setup_as_root=True, limits=limits)
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    node.begin(setup)
    node.until(lambda: node.log(setup) == b"begun\n", "it runs")
    if end == "kill":
        node.kill(setup)
    ended = node.wait_final(setup)
    assert ended["reason"] == ("user" if end == "kill" else "timeout")
    assert "sleep" not in node.processes(workspace)


def test_a_workspace_whose_user_is_root_and_its_dev_server(node):
    """Processes of another running execution stay."""
    workspace = node.submit(uid=0)
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    server = node.add(workspace, "exec python3 -m http.server $PORT --bind $HOST", reason="dev_server")
    node.begin(server)
    node.until(lambda: "dev_server.ready" in node.kinds(workspace), "the server answers")
    step = node.add(workspace, fleeing("982"))
    node.begin(step)
    node.until(lambda: node.log(step) == b"begun\n", "it runs")
    node.kill(step)
    assert node.wait_final(step)["status"] == "killed"
    left = node.processes(workspace)
    assert "sleep" not in left
    assert "http.server" in left
    assert node.row(server)["status"] == "running"
    node.kill(server)
    assert node.wait_final(server)["status"] == "killed"


def test_leftovers_of_a_root_step_are_found_too(node):
    """Its end could not be verified while the engine was away."""
    workspace = node.submit(setup_script=fleeing("981"), setup_as_root=True)
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    node.begin(setup)
    node.until(lambda: node.log(setup) == b"begun\n", "it runs")
    with node.frozen(workspace):
        node.line.cut()
        node.kill(setup)
        assert node.wait_final(setup)["leftover_on"] is not None
    node.line.mend()
    make_leftovers(node.context).sweep()
    assert "sleep" not in node.processes(workspace)
