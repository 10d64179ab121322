import subprocess
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.branch_name import (
    branch_name,
    is_valid_branch,
    is_valid_repo_name,
    repo_name_from_url,
    unique_names,
)

WORKSPACE = UUID("1a2b3c4d-0000-4000-8000-000000000000")


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Fix the login!", "vk-1a2b3c4d-fix-the-login"),
        ("", "vk-1a2b3c4d"),
        ("!!! 你好", "vk-1a2b3c4d"),
        ("Äpfel & Öl\nzweite Zeile", "vk-1a2b3c4d-apfel-ol-zweite-zeile"),
        ("--x..lock~^:", "vk-1a2b3c4d-x-lock"),
        ("word " * 30, "vk-1a2b3c4d-word-word-word-word-word-word-word-word"),
    ],
)
def test_branch_names(title, expected):
    assert branch_name("vk-", WORKSPACE, title) == expected


def test_a_bad_prefix_is_refused():
    for prefix in ("a//", "-", "x..", "a b"):
        with pytest.raises(InvalidInput):
            branch_name(prefix, WORKSPACE, "x")


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab/.-@{}~^:?*[\\ \x01HEADlock\u00e4", min_size=1, max_size=12))
def test_what_is_valid_here_is_valid_for_git(name):
    if is_valid_branch(name):
        subprocess.run(["git", "check-ref-format", "--branch", name], check=True, capture_output=True)


@given(st.text(max_size=80))
def test_branches_made_of_any_title_are_valid(title):
    name = branch_name("vk-", WORKSPACE, title)
    assert is_valid_branch(name)
    assert len(name) <= len("vk-1a2b3c4d-") + 40


@pytest.mark.parametrize("name", ["main", "feature/x", "v1.2", "a-b_c", "ü"])
def test_ordinary_branches_are_valid(name):
    assert is_valid_branch(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        "a..b",
        "a.lock",
        "a/.b",
        "a//b",
        "/a",
        "a/",
        "a b",
        "a~b",
        "@",
        "a@{b",
        "HEAD",
        "a.",
        "a\\b",
        "x" * 300,
    ],
)
def test_bad_branches_are_refused(name):
    assert not is_valid_branch(name)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/a/project.git", "project"),
        ("https://example.com/a/project/", "project"),
        ("git@example.com:project.git", "project"),
        ("git@example.com:a/My.Project.GIT", "My.Project"),
        ("file:///srv/my repo", "my-repo"),
        ("https://example.com/a/.git", "repo"),
        ("https://example.com/a/..", "repo"),
        ("https://example.com/a/-x", "x"),
        ("https://example.com/a/x.git.git", "x"),
        ("https://example.com/a/x.partial-1234", "x-1234"),
        ("https://example.com/a/你好", "repo"),
        ("", "repo"),
    ],
)
def test_repo_names(url, expected):
    assert repo_name_from_url(url) == expected


@given(st.text(max_size=200))
def test_any_url_gives_a_safe_directory_name(url):
    name = repo_name_from_url(url)
    assert is_valid_repo_name(name)
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith((".", "-"))


def test_names_are_made_unique_without_stealing_one():
    assert unique_names(["a", "b", "a", "A", "a-2"]) == ["a", "b", "a-3", "A-4", "a-2"]
    assert unique_names([]) == []


@given(st.lists(st.sampled_from(["a", "A", "a-2", "b", "a-3"]), max_size=8))
def test_unique_names_are_unique_in_any_case(names):
    result = unique_names(names)
    assert len({name.lower() for name in result}) == len(names) == len(result)
