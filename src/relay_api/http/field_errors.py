"""Say in plain words what is wrong with each field of a request, from pydantic's errors. No value is repeated."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from relay_api.schemas import patterns
from relay_core.domain.agents.executors import EXECUTORS

MOST = 50
"""Most errors that one answer lists."""
Error = Mapping[str, Any]


class FieldError(NamedTuple):
    """An error in one field: its dotted path, what is wrong, and a stable code."""

    field: str
    message: str
    code: str


_UNIONS = {("env",): 2, ("secrets",): 1}
"""Place in an error's location at which pydantic puts the name of the type that it tried, by the field before it."""
_TYPES = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of few digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "uuid_parsing": "an id",
    "uuid_type": "an id",
}
"""Kinds of values, by the codes of the errors about values of another kind."""
_BOUNDS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}
_COUNTED = {
    "string_too_short": ("min_length", "least", "character"),
    "string_too_long": ("max_length", "most", "character"),
    "too_short": ("min_length", "least", "item"),
    "too_long": ("max_length", "most", "item"),
}
"""Name of the bound, which side it is of, and what is counted, by the code of the error."""
_WORDS = {"missing": "is missing", "extra_forbidden": "is not known here", "json_type": "must be JSON"}


def field_errors(errors: Sequence[Error]) -> list[FieldError]:
    """Return one error for each wrong field, at most `MOST`, in the order in which pydantic found them."""
    fields: dict[str, list[Error]] = {}
    for error in errors:
        fields.setdefault(_path(_without_type(error["loc"])), []).append(error)
    outer = {name[:end] for name in fields for end, character in enumerate(name) if character == "."}
    # Of a field that may have one of several types, what is wrong inside of one of them says more.
    wrong = {name: found for name, found in fields.items() if name not in outer or not _is_of_type(found)}
    return [FieldError(name, _message(name, found), str(found[0]["type"])) for name, found in wrong.items()][:MOST]


def _is_of_type(errors: Sequence[Error]) -> bool:
    return all(error["type"] in _TYPES for error in errors)


def _message(name: str, errors: Sequence[Error]) -> str:
    others = [error for error in errors if error["type"] not in _TYPES]
    if others:
        return _one(others[0])
    kinds = " or ".join(dict.fromkeys(_TYPES[error["type"]] for error in errors))
    example = _EXAMPLES.get(name.partition(".")[0]) if name.rpartition(".")[2].isdigit() else _EXAMPLES.get(name)
    shown = example(errors[0].get("input")) if example is not None and "an object" in kinds else None
    return f"must be {kinds}, for example {shown}" if shown else f"must be {kinds}"


def _one(error: Error) -> str:
    code, context = str(error["type"]), error.get("ctx") or {}
    if code == "string_too_short" and context.get("min_length") == 1:
        return "must not be empty"
    if code == "string_pattern_mismatch":
        return patterns.WORDS[context["pattern"]]
    if code in _COUNTED:
        name, bound, noun = _COUNTED[code]
        count = context[name]
        return f"must have at {bound} {count} {noun}{'' if count == 1 else 's'}"
    if code in _BOUNDS:
        return _BOUNDS[code].format_map(context)
    return _WORDS.get(code) or str(error["msg"])


def _executor(given: object) -> str:
    """Return an example of an executor: the one whose name was given in place of an object, if there is one."""
    name = given if isinstance(given, str) and given in EXECUTORS else "claude-code"
    more = ', "command": "make test"' if name == "shell" else ""
    return f'{{"name": "{name}"{more}}}'


_EXAMPLES: Mapping[str, Callable[[object], str]] = {
    "executor": _executor,
    "repos": lambda _: '{"url": "https://git.example.org/team/app.git"}',
    "limits": lambda _: '{"timeout_seconds": 600}',
    "body": lambda _: "{}",
}


def _without_type(location: Sequence[Any]) -> list[Any]:
    parts = list(location)
    place = _UNIONS.get(tuple(parts[1:2])) if parts[:1] == ["body"] else None
    if place is not None and len(parts) > place + 1:
        del parts[place + 1]
    return parts


def _path(location: Sequence[Any]) -> str:
    """Return the location as a dotted path, without a leading `body`."""
    parts = [str(part) for part in location if part != "[key]"]
    return ".".join(parts[1:] if parts[0] == "body" and len(parts) > 1 else parts)
