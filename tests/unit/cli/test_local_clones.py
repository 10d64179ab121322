from pathlib import Path

import pytest

from relay_cli.local_clones import local_path, same_repository


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example.org/team/app.git",
        "https://ann@Git.Example.org/team/app",
        "ssh://git@git.example.org:2222/team/app.git",
        "git@git.example.org:team/app",
        "git.example.org:/team/app/",
    ],
)
def test_one_repository_has_many_addresses(address):
    assert same_repository(address, "https://git.example.org/team/app")


@pytest.mark.parametrize(
    "address", ["https://git.example.org/team/apps", "https://example.org/team/app", "/team/app", "git.example.org"]
)
def test_other_addresses_are_other_repositories(address):
    assert not same_repository(address, "https://git.example.org/team/app")


def test_a_path_and_its_url_are_one_repository(tmp_path):
    assert same_repository(f"file://{tmp_path}/my%20app.git", f"{tmp_path}/my app")
    assert same_repository(f"{tmp_path}/app/.git", f"{tmp_path}/app")


def test_only_paths_and_file_urls_are_local():
    assert local_path("file:///a/b%20c") == Path("/a/b c")
    assert local_path("/a") == Path("/a")
    assert [local_path(text) for text in ("https://a/b", "a:b", "ssh://a/b")] == [None, None, None]
