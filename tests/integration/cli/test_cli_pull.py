"""The lines and bars that `relay watch` shows of a pull that takes longer than two seconds: a real engine pulls from a slow registry."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import docker
import pytest

from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.port import PullTerms
from tests.support.api_fixtures import Api, Worker, environment
from tests.support.registry_fixtures import Registry, serving
from tests.support.terminal import on_a_terminal, shown_until

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture
def image(docker_api: docker.APIClient) -> Iterator[str]:
    with serving() as registry:
        yield _name(registry)
        with suppress(docker.errors.ImageNotFound):
            docker_api.remove_image(_name(registry))


def _name(registry: Registry) -> str:
    return f"{registry.place}/slow/thing:1"


def test_a_slow_pull_is_shown_as_bars_on_a_terminal_and_as_lines_elsewhere(
    api: Api, docker_engine: DockerContainers, image: str, database_url: str, redis_url: str
):
    worker = Worker(api.database)
    run = api.run()
    claimed = worker.claim(run["execution_id"])
    terms = PullTerms(
        lambda: None,
        threading.Event(),
        60,
        "a limit",
        max_bytes=1 << 30,
        min_free_bytes=0,
        tell=lambda data: worker.log(claimed, [("stdout", data)]),
    )
    known = environment(
        database_url, redis_url, RELAY_API_URL=str(api.client.base_url), RELAY_TOKEN=api.tokens["ann"], COLUMNS="80"
    )
    watch = [sys.executable, "-m", "relay_cli.main", "watch", run["run_id"]]
    with (
        on_a_terminal(api, "watch", run["run_id"]) as (_, terminal),
        subprocess.Popen(watch, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as piped,
    ):
        try:
            shown_until(terminal, "clone")
            docker_engine.ensure_image(image, terms)
            worker.finish(claimed, log_ends=worker.log_ends(claimed))
            shown = shown_until(terminal, "completed")
            api.post(f"/v1/runs/{run['run_id']}/cancel")
            out, said = piped.communicate(timeout=30)
        finally:
            piped.kill()
    assert f"relay: pulling image {image}" in shown
    assert re.search(r"Pulling image\S* .*━", shown), "a bar"
    assert "100% (8/8)" not in shown, "a bar has no lines"
    assert out == ""
    lines = [line for line in said.splitlines() if line.startswith("Pulling image")]
    assert re.fullmatch(r"Pulling image: +\d{1,2}% \([1-7]/8\), MiB", lines[0]), said
    assert lines[-1] == "Pulling image: 100% (8/8), MiB, done."
    assert "\x1b" not in said
    assert "\r" not in said
