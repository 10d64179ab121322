"""Pulls from a registry that is not trusted: a real engine, a registry of the test's own on loopback."""

import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Event, Thread

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.docker.registry import vet_registry
from relay_workers.containers.port import PullTerms
from tests.support.registry_fixtures import SECRET, Registry, serving

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def terms() -> PullTerms:
    return PullTerms(lambda: None, Event(), 30, "a limit", max_bytes=1 << 41, min_free_bytes=0)


def failure(docker_engine, ref: str, terms: PullTerms) -> StepFailed:
    with pytest.raises(StepFailed) as caught:
        docker_engine.ensure_image(ref, terms)
    return caught.value


@pytest.mark.parametrize("name", ["missing/thing:1", "odd/thing:1"])
def test_what_a_registry_says_reaches_no_user(docker_engine, registry, terms, name):
    found = failure(docker_engine, f"{registry.place}/{name}", terms)
    assert registry.requests, "the engine has asked"
    assert found.reason == Reason.IMAGE_UNAVAILABLE
    assert SECRET not in str(found)
    assert "registry" in str(found)


@pytest.mark.alone
@pytest.mark.parametrize("repository", ["drip", "silent"])
def test_a_pull_is_broken_off_when_its_run_is_killed(docker_engine, registry, terms, repository):
    killed_at: list[float] = []

    def kill() -> None:
        registry.asked.wait(20)
        killed_at.append(time.monotonic())
        terms.cancelled.set()

    Thread(target=kill, daemon=True).start()
    found = failure(docker_engine, f"{registry.place}/{repository}/thing:1", terms)
    assert time.monotonic() - killed_at[0] < 2
    assert found.reason == Reason.USER
    if repository == "drip":  # an engine that waits for a manifest goes on waiting by itself, and fetches nothing
        assert registry.left.wait(20), "the engine goes on with the download"


@pytest.mark.alone
def test_a_pull_ends_at_its_deadline(docker_engine, registry, terms):
    began = time.monotonic()
    found = failure(docker_engine, f"{registry.place}/drip/thing:1", replace(terms, seconds=1.0))
    assert 1 <= time.monotonic() - began < 4
    assert (found.reason, "a limit" in str(found)) == (Reason.TIMEOUT, True)
    assert registry.left.wait(20)


def test_an_image_over_the_bound_is_not_fetched(docker_engine, registry, terms):
    found = failure(docker_engine, f"{registry.place}/flood/thing:1", replace(terms, max_bytes=1 << 30))
    assert (found.reason, "RELAY_IMAGE_MAX_BYTES" in str(found)) == (Reason.IMAGE_UNAVAILABLE, True)
    assert registry.left.wait(20)


def test_a_pull_leaves_the_node_its_free_space(docker_engine, registry, terms):
    found = failure(docker_engine, f"{registry.place}/drip/thing:1", replace(terms, min_free_bytes=1 << 60))
    assert found.reason == Reason.DISK_PRESSURE


def test_a_registry_at_a_private_address_is_never_asked(docker_engine, registry, terms, monkeypatch):
    """By what its name resolves to: the API judges the spelling alone (unit/core/domain/test_images.py)."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    image = f"localhost:{registry.server_port}/odd/thing:1"
    strict = replace(terms, judge=lambda: vet_registry(image, Settings(), terms.cancelled))
    found = failure(docker_engine, image, strict)
    assert (found.reason, "private" in str(found)) == (Reason.IMAGE_UNAVAILABLE, True)
    assert registry.requests == []
    chosen = Settings(allowed_images=(f"localhost:{registry.server_port}/odd/*",))
    failure(docker_engine, image, replace(terms, judge=lambda: vet_registry(image, chosen, terms.cancelled)))
    assert registry.requests, "the operator named it"
