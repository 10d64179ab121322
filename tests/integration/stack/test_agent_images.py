"""Agents on top of an image: what is asked of it, and what comes of it."""

import io
import tarfile
from collections.abc import Iterator
from uuid import uuid4

import docker
import pytest

from relay_stack.errors import StackProblem
from relay_stack.images.agent_images import AGENTS, build_agents_image
from relay_stack.images.image_needs import check_image
from relay_stack.images.own_images import BASE_TAG, GIT_TAG, ensure_images
from relay_stack.machine.consent import Consent

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def client(services_dir) -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    client.base = ensure_images(client, services_dir, Consent(yes=True)).base
    yield client
    client.close()


@pytest.fixture
def made(client) -> Iterator[str]:
    """A tag that is removed afterwards."""
    tag = f"relay-test-agents:{uuid4().hex[:12]}"
    yield tag
    for each in (tag, f"{tag}-below"):
        if client.images.list(name=each):
            client.images.remove(each, force=True)


def image_of(client, tag, dockerfile):
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile.encode()))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True)


EXPECTED = "git make gcc curl jq rg python python3 pip node npm npx ssh unzip"


def test_the_base_image_has_the_programs_that_people_expect(client):
    script = f"""for name in {EXPECTED}; do command -v $name >/dev/null || echo "$name is missing"; done
        cd /tmp && echo 'int main(void) {{ return 0; }}' >a.c && gcc a.c && ./a.out && node -p 1+1 && npm --version"""
    options = {"user": "1000", "network_mode": "none", "remove": True}
    said = client.containers.run(client.base, ["sh", "-c", script], **options).decode().split()
    assert said[0] == "2", said


def test_an_image_that_lacks_something_is_refused_before_anything_is_built(client, made, tmp_path):
    check_image(client, BASE_TAG, AGENTS)
    check_image(client, GIT_TAG, {"codex": AGENTS["codex"]})
    with pytest.raises(StackProblem, match=f"The image {GIT_TAG} has no python3 .*, which acp needs"):
        build_agents_image(client, ["acp"], tmp_path, below=GIT_TAG, tag=made)
    image_of(client, f"{made}-below", "FROM scratch\nCOPY Dockerfile /\nCMD x\n")
    with pytest.raises(StackProblem, match="has no /bin/sh that runs"):
        build_agents_image(client, ["codex"], tmp_path, below=f"{made}-below", tag=made)
    assert client.containers.list(all=True, filters={"ancestor": f"{made}-below"}) == []
    with pytest.raises(StackProblem, match=r"nowhere:1 is not there yet; get it first \(docker pull"):
        build_agents_image(client, ["codex"], tmp_path, below="nowhere:1", tag=made)
    with pytest.raises(StackProblem, match="another name with --tag"):
        build_agents_image(client, ["codex"], tmp_path, tag=BASE_TAG)
    assert not client.images.list(name=made)


def test_a_users_own_image_keeps_its_user_path_and_node(client, made, tmp_path):
    image_of(
        client,
        f"{made}-below",
        f"FROM {BASE_TAG}\nRUN mkdir /mine && printf '#!/bin/sh\\necho mine\\n' >/mine/node && chmod 755 /mine/node\n"
        "ENV PATH=/mine:/usr/bin:/bin\nUSER 1000\nWORKDIR /srv\n",
    )
    built = build_agents_image(client, ["acp"], tmp_path, below=f"{made}-below", tag=made)
    assert (built.tag, built.agents) == (made, ("acp",))
    assert 5_000_000 < built.added < 100_000_000
    assert built.size > built.added
    config = client.images.get(made).attrs["Config"]
    assert (config["User"], config["WorkingDir"]) == ("1000", "/srv")
    script = "node; id -u; /opt/agents/acp/bin/python -c 'import acp; print(acp.PROTOCOL_VERSION)'; ls /opt/node /tmp"
    said = client.containers.run(made, ["sh", "-c", script], remove=True, network_mode="none").decode()
    assert said.split() == ["mine", "1000", "1", "/opt/node:", "bin", "lib", "/tmp:"], "Node is that of the image below"
    assert build_agents_image(client, ["acp"], tmp_path, below=f"{made}-below", tag=made).id == built.id
