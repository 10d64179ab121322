"""Times, sizes and texts as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from relay_api.page import words

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")]
)
def test_age(seconds, shown):
    assert words.age(NOW - timedelta(seconds=seconds), NOW) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, words.NONE), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.99, "10 s"), (185, "3 min 5 s"), (7620, "2 h 7 min")],
)
def test_took(seconds, shown):
    assert words.took(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(None, words.NONE), (812, "812 B"), (1536, "1.5 KiB"), (1 << 41, "2.0 TiB")]
)
def test_size(count, shown):
    assert words.size(count) == shown


def test_what_an_agent_used_has_units():
    used = {"input_tokens": 1200, "turns": 1.0, "cost_usd": 0.0123, "duration_ms": 1368, "model": "opus"}
    assert words.usage(used) == "input tokens 1,200 · turns 1 · cost $0.0123 · took 1.4 s · model opus"
    assert words.usage(None) == ""


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example/team/app.git", "team/app"),
        ("git@git.example:team/app", "team/app"),
        ("file:///srv/app/", "srv/app"),
        ("x", "x"),
    ],
)
def test_the_name_of_a_repository(url, name):
    assert words.repo_name(url) == name


def test_what_is_not_seen_is_shown():
    assert words.plain("a\u202eb\x1b[1m\x00\n\tc") == "a<U+202E>b<U+001B>[1m<U+0000>\n\tc"
    assert words.storable("a\ud800") == "a?"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("give the run a valid OPENAI_API_KEY in `env` or `secrets`", "as an environment variable or a secret"),
        ("Raise `limits.memory_bytes`, or `RELAY_X`.", "Raise the limit memory, or `RELAY_X`."),
        ("the remote has no default branch; give target_branch", "give the target branch"),
        ("/srv/target_branch/x is no repository", "/srv/target_branch/x is no repository"),
        ("evil\u202e in `env` or `secrets`", "evil<U+202E> as an environment"),
    ],
)
def test_messages_name_no_fields_of_requests(message, expected):
    assert expected in words.told(message)
