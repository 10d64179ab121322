"""Images that a client names: those that lack what a step needs, and registries that nobody trusts."""

import time

import pytest

from tests.support.odd_images import built, loaded
from tests.support.registry_fixtures import SECRET, serving
from tests.support.relay import FINAL, Relay, make_repo
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker


def clone_of(relay: Relay, run: dict) -> dict:
    return relay.get(f"/v1/executions/{relay.wait_step(run, 'clone', FINAL)['id']}")


FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44)
"""The header of a program for aarch64."""
ODD = {
    "no shell": (lambda: loaded({"bin/cat": b"#!"}), "program_missing", "cannot run /bin/sh"),
    "another architecture": (
        lambda: loaded({"bin/sh": FOREIGN}, architecture="arm64"),
        "program_missing",
        "is for arm64",
    ),
    "a volume": (lambda: built("VOLUME /workspace/home"), "image_unavailable", "VOLUME /workspace/home"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_image_in_which_no_step_can_run_is_told_before_the_clone(relay: Relay, repo, name):
    image, reason, words = ODD[name]
    with image() as tag:
        run = relay.submit(repo, image=tag)
        clone = clone_of(relay, run)
        assert (clone["status"], clone["reason"]) == ("failed", reason)
        assert words in clone["error_reason"]
        assert "cloning" not in relay.log(clone["id"]).decode()


def test_a_step_needs_no_program_of_its_image_but_the_shell(relay: Relay, repo):
    with built("RUN rm -f /bin/cat /usr/bin/cat /bin/sleep /usr/bin/sleep /usr/bin/setsid") as tag:
        steps = relay.wait_chain(relay.submit(repo, "echo fine", image=tag))
        assert [step["status"] for step in steps] == ["completed"] * 2


@pytest.mark.alone
def test_a_pull_obeys_kill_and_timeout_and_tells_nothing_of_the_server(relay: Relay, repo):
    with serving() as registry:
        told = clone_of(relay, relay.submit(repo, image=f"{registry.place}/odd/thing:1"))
        assert (told["reason"], SECRET in str(told)) == ("image_unavailable", False)
        late = clone_of(relay, relay.submit(repo, image=f"{registry.place}/drip/late:1", limits={"timeout_seconds": 1}))
        assert (late["status"], late["reason"]) == ("failed", "timeout")
        assert "limits.timeout_seconds" in late["error_reason"]
        registry.asked.clear()
        run = relay.submit(repo, image=f"{registry.place}/drip/killed:1")
        assert registry.asked.wait(30)
        began = time.monotonic()
        relay.kill(run["execution_id"])
        assert clone_of(relay, run)["status"] == "killed"
        assert time.monotonic() - began < 4, "2 s, and the time to ask"
        assert [item["run_reason"] for item in relay.executions(run)] == ["clone"], "the chain never goes on"


def test_more_processors_than_the_node_has_are_refused_and_in_a_job_file_cut(relay: Relay, tmp_path):
    repo = make_repo(tmp_path / "large", {"relay.toml": "[limits]\ncpus = 64\n"})
    body = {"repos": [{"url": f"file://{repo}"}], "prompt": "do it", "executor": {"name": "shell", "command": "true"}}
    eventually(lambda: "cpus" in relay.get("/v1/nodes")["items"][0]["capabilities"])
    refused = relay.http.post("/v1/runs", json=body | {"limits": {"cpus": 64}})
    assert (refused.status_code, refused.json()["code"]) == (422, "limit_too_large")
    steps = relay.wait_chain(relay.submit(repo))
    assert [step["status"] for step in steps] == ["completed"] * 2
    assert b"limits.cpus" in relay.log(steps[0]["id"])
