"""The OpenAPI document: every body and answer has an example that is right by the document itself."""

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute

from relay_api.app import create_app
from relay_api.schemas.examples import EXAMPLES
from relay_api.schemas.patterns import WORDS
from relay_core.domain import events
from relay_core.domain.events import EventKind
from relay_core.settings import Settings

APP = create_app(Settings(database_url="postgresql://127.0.0.1/none", redis_url="redis://127.0.0.1:1"))
ROUTES = [route for route in APP.routes if isinstance(route, APIRoute) and route.include_in_schema]


def document() -> dict[str, Any]:
    return APP.openapi()


def schemas() -> dict[str, Any]:
    return document()["components"]["schemas"]


@cache
def operations() -> dict[str, Any]:
    return {one["operationId"]: one for methods in document()["paths"].values() for one in methods.values()}


def contents(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON bodies and answers of the operation, without errors."""
    answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    parts = [operation.get("requestBody", {}), *answers]
    return [part["content"]["application/json"] for part in parts if "application/json" in part.get("content", {})]


def kind_of(content: dict[str, Any]) -> str:
    schema = content["schema"]
    return schema.get("anyOf", [schema])[0]["$ref"].rpartition("/")[2]


def closed() -> dict[str, Any]:
    """The document's schemas, which allow no property that they do not name."""
    copied = copy.deepcopy(schemas())
    for schema in copied.values():
        if "properties" in schema:
            schema["additionalProperties"] = schema.get("additionalProperties", False)
    return copied


def check(example: Any, name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": closed()}}
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(example)


def test_every_route_is_in_the_document():
    assert {route.unique_id for route in ROUTES} == operations().keys()


@pytest.mark.parametrize("name", sorted({route.unique_id for route in ROUTES}))
def test_every_body_and_answer_has_a_right_example(name: str):
    for content in contents(operations()[name]):
        kind = kind_of(content)
        example = content.get("example") or schemas()[kind].get("examples", [None])[0]
        assert example, f"write an example of {kind} in relay_api/schemas/examples"
        check(example, kind)


def test_every_example_is_shown_by_an_operation():
    shown = {kind_of(content) for one in operations().values() for content in contents(one)}
    assert EXAMPLES.keys() - shown == {"Problem"}
    check(EXAMPLES["Problem"], "Problem")


@pytest.mark.parametrize(
    ("schema", "field", "shape"),
    [
        ("EventOut", "payload", "EventPayload"),
        ("ExecutionDetail", "action", "StepAction"),
        ("NodeOut", "capabilities", "Capabilities"),
        ("Problem", "checks", "Checks"),
        ("RepoStateOut", "summary", "WorkTreeSummary"),
    ],
)
def test_objects_of_a_known_shape_have_it_in_the_document(schema: str, field: str, shape: str):
    described = schemas()[schema]["properties"][field]
    assert {"$ref": f"#/components/schemas/{shape}"}.items() <= described.get("anyOf", [described])[0].items()
    assert schemas()[shape]["properties"]


def test_every_field_that_an_event_is_documented_with_is_in_the_shape_of_payloads():
    documented = {
        name
        for text in re.findall(r"Payload: (.*?)\.\"\"\"", Path(events.__file__).read_text(), re.DOTALL)
        for name in re.findall(r"`([a-z_]+)`", text)
    }
    assert len(documented) > 20
    assert documented == schemas()["EventPayload"]["properties"].keys()
    assert schemas()["EventOut"]["properties"]["kind"]["enum"] == list(EventKind)


def test_objects_of_any_shape_say_so_with_an_example():
    found = []
    for name, schema in schemas().items():
        for field, described in schema.get("properties", {}).items():
            kinds = described.get("anyOf", [described])
            if any(kind.get("type") == "object" and kind.get("additionalProperties") in (True, None) for kind in kinds):
                found.append(f"{name}.{field}")
                assert described["description"]
                assert described["examples"]
    assert {name.partition(".")[2] for name in found} == {"metadata", "preferences", "capabilities"}
    assert "RunIn.metadata" in found


def test_fields_of_bodies_have_their_defaults_in_words():
    bodies = {name for name in schemas() if name.endswith("In")} | {"RunChange"}
    assert not [
        (name, field)
        for name in bodies
        for field, one in schemas()[name].get("properties", {}).items()
        if "default" in one
    ]
    assert schemas()["RunIn"]["properties"]["auto_commit"]["description"].endswith("work tree. Default: `true`.")
    assert "Default: `" in schemas()["LimitsIn"]["properties"]["pids"]["description"]


def test_an_error_about_any_pattern_has_words():
    patterns = patterns_in(document())
    assert len(patterns) > 8
    assert patterns <= WORDS.keys()


def patterns_in(part: Any) -> set[str]:
    if isinstance(part, list):
        return {pattern for each in part for pattern in patterns_in(each)}
    if not isinstance(part, dict):
        return set()
    own = part.get("pattern")
    inner = [each for name, each in part.items() if name not in {"example", "examples"}]
    return patterns_in(inner) | ({own} if isinstance(own, str) else set())


def test_what_answers_bytes_or_text_is_not_described_as_json():
    for name in ("workspace_bundle", "run_bundle", "execution_bundle"):
        content = operations()[name]["responses"]["200"]["content"]
        assert list(content) == ["application/x-git-bundle", "application/octet-stream"]
