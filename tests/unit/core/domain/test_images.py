"""Which registries may be asked for images: by the spelling of the reference."""

import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.url import RemotePolicy
from relay_core.domain.images import check_registry, registry_of
from relay_workers.containers.docker.pull import Download, explain

STRICT = RemotePolicy()


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("debian", None),
        ("debian:12", None),
        ("team/app:1", None),
        ("localhost/app", "localhost"),
        ("localhost:5000/app", "localhost:5000"),
        ("ghcr.io/team/app@sha256:0", "ghcr.io"),
        ("10.0.0.1:5000/app", "10.0.0.1:5000"),
        ("Host/app", "Host"),
    ],
)
def test_the_registry_of_a_reference(image, registry):
    assert registry_of(image) == registry


@pytest.mark.parametrize(
    "image",
    [
        "127.0.0.1:17002/some/thing:1",
        "localhost/x",
        "LOCALHOST:5000/x",
        "10.1.2.3:443/x",
        "169.254.169.254/latest/meta-data",
        "2130706433:80/x",
        "0x7f000001:80/x",
        "127.1:80/x",
        "registry:5000/x",
        "registry.internal/x",
    ],
)
def test_a_private_registry_is_refused_unless_the_operator_names_it(image):
    with pytest.raises(InvalidInput) as caught:
        check_registry(image, STRICT, ())
    assert caught.value.code == "image_not_allowed"
    check_registry(image, RemotePolicy(allow_private_hosts=True), ())
    check_registry(image, STRICT, (f"{image.partition('/')[0]}/*",))


@pytest.mark.parametrize("image", ["debian:12", "ghcr.io/team/app:1", "8.8.8.8/x", "registry.example.org:5000/x"])
def test_public_registries_are_allowed_whatever_hosts_git_may_clone_from(image):
    check_registry(image, RemotePolicy(allowed_hosts=("git.example.org",)), ())


def test_the_size_of_a_download_is_that_of_all_its_layers():
    download = Download(100)
    assert not download.too_large({"status": "Downloading", "id": "a", "progressDetail": {"current": 5, "total": 60}})
    assert not download.too_large({"status": "Extracting", "id": "a", "progressDetail": {"current": 60, "total": 900}})
    assert not download.too_large({"status": "Downloading", "id": "a", "progressDetail": {"current": 60, "total": 60}})
    assert download.too_large({"status": "Downloading", "id": "b", "progressDetail": {"current": 41}})


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("manifest for x:1 not found: manifest unknown: <script>", "image_unavailable"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login': denied",
            "image_unavailable",
        ),
        ("Get http://x/v2/: dial tcp 10.0.0.1:80: connect: connection refused", "image_unavailable"),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk_pressure"),
    ],
)
def test_a_failed_pull_is_told_in_words_of_our_own(said, reason):
    found = explain("x:1", said)
    assert found.reason == reason
    for word in ("<script>", "10.0.0.1", "/var/lib/docker"):
        assert word not in str(found)
