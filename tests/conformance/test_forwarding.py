"""The contract of forwarded ports, claimed by the fake and by the real forwarder alike."""

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.containers_port"]

PORT = 8000


def test_a_port_is_probed_until_something_listens(engine):
    workspace = engine.workspace()
    assert not engine.forwarder.probe(workspace.container, PORT)
    serve = ScriptedStep(exit_code=None, listens=True)
    step = workspace.start(serve.script(), env={"PORT": str(PORT), "HOST": "0.0.0.0"})
    eventually(lambda: engine.forwarder.probe(workspace.container, PORT), "it answers")
    assert not engine.forwarder.probe(workspace.container, PORT + 1)
    workspace.kill(step)
    assert not engine.forwarder.probe(workspace.container, PORT)


def test_a_forwarding_is_kept_by_its_key(engine):
    workspace = engine.workspace()
    port = engine.forwarder.open("first", workspace.container, PORT)
    assert engine.forwarder.open("first", workspace.container, PORT, local_port=1) == port
    assert engine.forwarder.open("second", workspace.container, PORT) != port
    engine.forwarder.close("first")
    engine.forwarder.close("first")
    assert engine.forwarder.open("third", workspace.container, PORT, local_port=port) == port


@pytest.mark.parametrize("how", ["stop", "remove"])
def test_a_container_that_is_gone_is_not_probed(engine, how):
    workspace = engine.workspace()
    getattr(engine.containers, how)(workspace.container)
    with pytest.raises(StepFailed) as caught:
        engine.forwarder.probe(workspace.container, PORT)
    assert caught.value.reason == Reason.CONTAINER_MISSING
