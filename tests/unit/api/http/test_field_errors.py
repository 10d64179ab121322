"""One error for each wrong field, in plain words."""

import time
from typing import Any

import pytest
from pydantic import ValidationError

from relay_api.http.field_errors import field_errors
from relay_api.schemas import patterns
from relay_api.schemas.runs import RunIn

RUN: dict[str, Any] = {"repos": [{"url": "u"}], "prompt": "p", "executor": {"name": "shell"}}


def errors_of(**body: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as raised:
        RunIn.model_validate(RUN | body)
    found = field_errors([{**error, "loc": ("body", *error["loc"])} for error in raised.value.errors()])
    return [(error.field, error.message) for error in found]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"executor": "codex"}, [("executor", 'must be an object, for example {"name": "codex"}')]),
        ({"executor": {"name": 1}}, [("executor.name", "must be a text")]),
        (
            {"repos": ["u"]},
            [("repos.0", 'must be an object, for example {"url": "https://git.example.org/team/app.git"}')],
        ),
        ({"repos": []}, [("repos", "must have at least 1 item")]),
        ({"env": {"A": 1}}, [("env.A", "must be a text or an object")]),
        ({"env": {"A": {"value": 1}}}, [("env.A.value", "must be a text")]),
        ({"secrets": "A"}, [("secrets", "must be a list or an object")]),
        ({"secrets": {"A": 1}}, [("secrets.A", "must be a text")]),
        ({"secrets": [1]}, [("secrets.0", "must be a text")]),
        ({"prompt": ""}, [("prompt", "must not be empty")]),
        ({"prompt": "a\0"}, [("prompt", "must not have the character NUL")]),
        ({"user": -1, "auto_commit": "no"}, [("user", "must be at least 0"), ("auto_commit", "must be true or false")]),
        ({"limits": {"memory_bytes": "2g"}}, [("limits.memory_bytes", "must be a whole number")]),
        ({"titel": "x"}, [("titel", "is not known here")]),
        ({"secrets_in": ["coding_agent"] * 6}, [("secrets_in", "must have at most 5 items")]),
        ({"image": "-x"}, [("image", patterns.WORDS[patterns.IMAGE])]),
        ({"env": {"1A": "x"}}, [("env.1A", patterns.WORDS[patterns.VARIABLE])]),
        ({"labels": {"-": "x"}}, [("labels.-", patterns.WORDS[patterns.LABEL])]),
    ],
)
def test_a_wrong_field_has_one_error_in_plain_words(body: dict[str, Any], expected: list[tuple[str, str]]):
    assert errors_of(**body) == expected


def test_the_allowed_values_are_named():
    [(field, message)] = errors_of(secrets_in=["clone"])
    assert field == "secrets_in.0"
    assert message.startswith("must be 'setup_script', 'coding_agent', ")


def test_many_errors_take_little_time():
    errors = [{"loc": ("body", f"k{n}", *"abc"), "type": "extra_forbidden", "msg": ""} for n in range(4096)]
    begun = time.process_time()
    assert len(field_errors(errors)) == 50
    assert time.process_time() - begun < 1
