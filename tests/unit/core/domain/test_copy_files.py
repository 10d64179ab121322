"""Patterns of files that git does not have."""

import pytest

from relay_core.domain.copy_files import matches, may_lead_to, parse, stored_path
from relay_core.domain.errors import InvalidInput


def test_patterns_are_lines_or_separated_by_commas():
    assert parse("# secrets\n.env, config/*.local.yml\n\n./a/b\n") == [(".env",), ("config", "*.local.yml"), ("a", "b")]
    assert parse(None) == parse("") == []


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "../x", "a/../b", ".git/config", "a/.GIT/x", "a//b", "a\\b", "a/", "."]
)
def test_a_pattern_that_leads_elsewhere_is_refused(text: str):
    with pytest.raises(InvalidInput) as refused:
        parse(text)
    assert (refused.value.code, refused.value.field) == ("copy_files_invalid", "copy_files")


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../x", "a/../b", ".git/config", "a/.GIT/x", "a//b", "a/", "", ".", "./a", "a\\b", 'a"b'),
        *("a\nb", "a\u202eb", "\udce9", "é" * 128, "a/" * 511 + "abc"),
    ],
)
def test_a_path_of_a_stored_file_that_leads_elsewhere_is_refused(path: str):
    with pytest.raises(InvalidInput) as refused:
        stored_path(path)
    assert (refused.value.code, refused.value.field) == ("file_path_invalid", "path")


def test_a_path_of_a_stored_file_may_have_the_signs_of_patterns():
    assert stored_path("config/[a] *?.env") == ("config", "[a] *?.env")


def test_patterns_have_a_limited_number():
    with pytest.raises(InvalidInput):
        parse("a\n" * 101)
    with pytest.raises(InvalidInput):
        parse("**/**/**/**/a")


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        (".env", ".env", True),
        (".env", "a/.env", False),
        ("*.pem", "a.pem", True),
        ("*.pem", "certs/a.pem", False),
        ("certs/*", "certs/a.pem", True),
        ("certs/*", "certs/a/b", False),
        ("**/.env", ".env", True),
        ("**/.env", "a/b/.env", True),
        ("certs/**", "certs/a/b", True),
        ("a?c", "abc", True),
        ("A", "a", False),
    ],
)
def test_a_path_matches(pattern: str, path: str, found: bool):
    names = tuple(path.split("/"))
    [parsed] = parse(pattern)
    assert matches(parsed, names) is found
    if found:
        assert all(may_lead_to(parsed, names[:end]) for end in range(1, len(names)))


def test_directories_without_a_match_are_not_entered():
    assert not may_lead_to((".env",), ("node_modules",))
    assert not may_lead_to(("certs", "*.pem"), ("certs", "old"))
    assert not may_lead_to(("certs", "*.pem"), ("src",))
    assert may_lead_to(("**", ".env"), ("a", "b"))
