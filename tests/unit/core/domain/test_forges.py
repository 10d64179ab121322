"""Remotes and the APIs of their hosts."""

import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.forges import ForgeKind, ForgePlace, Forges

HOSTS = Forges(["git.example.org=gitlab:https://git.example.org/api/v4/", "file=github:http://127.0.0.1:1"])
GITHUB = ForgePlace(ForgeKind.GITHUB, "https://api.github.com", "team/app")


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/team/app.git",
        "https://GitHub.com/team/app",
        "ssh://git@github.com/team/app.git",
        "git@github.com:team/app.git",
        "https://github.com/team/app/",
    ],
)
def test_a_remote_of_github_is_found(url):
    assert Forges().place_of(url) == GITHUB


def test_groups_of_gitlab_are_part_of_the_path():
    found = HOSTS.place_of("https://git.example.org/a/b/app.git")
    assert found == ForgePlace(ForgeKind.GITLAB, "https://git.example.org/api/v4", "a/b/app")
    assert (found.owner, found.kind.token_secret) == ("a/b", "GITLAB_TOKEN")


@pytest.mark.parametrize("url", ["file:///srv/team/remote.git", "/srv/team/remote"])
def test_a_local_remote_is_named_by_its_last_two_folders(url):
    assert HOSTS.place_of(url).path == "team/remote"


@pytest.mark.parametrize("url", ["https://other.example/team/app", "https://github.com/app", "no url", "/srv/x/y"])
def test_a_host_that_is_not_known_is_refused(url):
    with pytest.raises(InvalidInput, match="RELAY_FORGES") as caught:
        Forges().place_of(url)
    assert caught.value.code == "forge_unknown"


@pytest.mark.parametrize("entry", ["x", "x=gitea:https://x", "x=github:ftp://x", "x=github:https://user:pass@x"])
def test_an_entry_of_another_form_is_refused(entry):
    with pytest.raises(ValueError, match="is not HOST=KIND:API_URL"):
        Forges([entry])
