"""The OpenAPI document: FastAPI's document, completed with Relay's error schema and this server's maximum limits."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from relay_api.schemas import shapes
from relay_api.schemas.common import Problem
from relay_api.schemas.examples import EXAMPLES
from relay_api.schemas.inputs import maxima
from relay_core.settings import Settings

DESCRIPTION = """
Runs coding agents, and the scripts and dev servers around them, as jobs in containers.

`POST /v1/runs` starts a job; its steps are *executions*. Errors are problem+json (RFC 9457) with a stable `code`.
Lists are paged by `cursor`. Creating requests may carry an `Idempotency-Key`.

Every request carries a token: `Authorization: Bearer relay_…`. `relay status --json` prints that of the local stack.
An id may be shortened to four or more characters, or be the id of something related.
""".strip()


def install(app: FastAPI, settings: Settings) -> None:
    """Make ``app.openapi()`` return the completed document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
            app.openapi_schema = completed(made, settings)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def completed(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Change the document in place and return it: add error schema, examples, and each limit's maximum."""
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    nested = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(nested.pop("$defs", {}))
    schemas["Problem"] = nested
    shapes.described(document)
    for methods in document["paths"].values():
        for operation in methods.values():
            _show_examples(operation)
    _name_keys(schemas)
    for name, bound in maxima(settings).items():
        limit = schemas["LimitsIn"]["properties"][name]
        limit["maximum"] = bound
        limit["default"] = min(limit["default"], bound)
    for name in _names_in_bodies(document):
        _tell_defaults(schemas[name])
    return document


def _show_examples(operation: dict[str, Any]) -> None:
    """Add the examples of an operation's body and answers to it, where viewers look for them."""
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        for content in part.get("content", {}).values():
            schema = content.get("schema", {})
            kinds = schema.get("anyOf", [schema])  # of a body that may be left out: its schema, or null
            name = str(kinds[0].get("$ref", "")).rpartition("/")[2]
            if name in EXAMPLES and name != "Problem":
                content["example"] = EXAMPLES[name]


def _names_in_bodies(document: dict[str, Any]) -> set[str]:
    """Return the names of the schemas of which request bodies consist."""
    schemas = document["components"]["schemas"]
    left = [operation.get("requestBody") for methods in document["paths"].values() for operation in methods.values()]
    names: set[str] = set()
    while left:
        match left.pop():
            case {"$ref": str(ref)}:
                name = ref.rpartition("/")[2]
                left += [] if name in names else [schemas[name]]
                names.add(name)
            case dict() as each:
                left += each.values()
            case list() as each:
                left += each
    return names


def _tell_defaults(schema: dict[str, Any]) -> None:
    """Move the defaults of a body's fields into their descriptions.

    Generated clients send the default of a field that their caller leaves out, or demand the field. But Relay tells the
    two apart: a job file or the project may decide what a request leaves open.
    """
    for field in schema.get("properties", {}).values():
        default = field.pop("default", None)
        if default not in (None, [], {}):
            text = str(field.get("description", "")).rstrip(".")
            field["description"] = f"{text}{'. ' if text else ''}Default: `{json.dumps(default)}`."


def _name_keys(schema: Any) -> None:
    """Describe objects whose keys match one pattern by `additionalProperties` and `propertyNames`.

    This means the same as `patternProperties`, which viewers and generators of clients do not understand.
    """
    if isinstance(schema, list):
        for each in schema:
            _name_keys(each)
    if isinstance(schema, dict):
        patterns = schema.get("patternProperties")
        if isinstance(patterns, dict) and len(patterns) == 1 and schema.get("additionalProperties") is False:
            [(pattern, value)] = schema.pop("patternProperties").items()
            schema["additionalProperties"] = value
            schema["propertyNames"] = {**schema.get("propertyNames", {}), "pattern": pattern}
        for each in schema.values():
            _name_keys(each)
