"""Keep docs/domain.md true: each entity and field with its column, its routes, and a test that asserts it.

`python scripts/domain.py` writes the page from the tables, the OpenAPI document, the tests and `scripts/domain.toml`.
`--check` only compares. The exit code is 1 if the page is not current, or if a column or a field is claimed by nothing;
the message says what to add, and where.
"""

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from relay_api.app import create_app
from relay_core.settings import Settings
from relay_core.store.schema.tables import Base

ROOT = Path(__file__).parent.parent
MAP = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs" / "domain.md"
BODY = re.compile(r"(?<=<!-- entities -->\n).*?(?=<!-- /entities -->)", re.DOTALL)
EVERY = "tests/integration/api/test_domain.py::test_each_field_has_the_value_of_its_column"
"""The test that compares each field with its column; a test that says more about a field comes before it."""
METHODS = ("get", "post", "put", "patch", "delete")
Schema = Mapping[str, Any]


class Unclaimed(Exception):  # noqa: N818 - named for what it says
    """Something that the map does not explain; the message says what to add."""


@dataclass(frozen=True)
class Entity:
    """An entity of the domain, as the map describes it.

    Attributes:
        table: the table of its rows; empty if it has none.
        read: the route that shows it, as `GET /v1/…`.
        at: where it stands in the answer, for example `repo_states[]`; empty: it is the answer.
        write: routes whose bodies set its fields.
        model: its fields in the domain model; the others are Relay's own.
        shown: the name, or path with dots, of a column's field, if it differs from the column's name.
        set: the name in bodies and paths of a column's field, if it differs from that of the answer.
        hidden: why a column has no field of its own.
        more: fields of the answer without a column; the text says where they come from.
        tests: files of tests; the first test in them that asserts something about a field is named.
        proof: another test of a field, `path::name`.
    """

    name: str
    about: str
    read: str
    model: list[str]
    tests: list[str]
    table: str = ""
    at: str = ""
    write: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)
    set: dict[str, str] = field(default_factory=dict)
    hidden: dict[str, str] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)
    proof: dict[str, str] = field(default_factory=dict)


class Api:
    """The routes of the OpenAPI document, and the fields of their bodies and answers."""

    def __init__(self) -> None:
        settings = Settings(database_url="postgresql://127.0.0.1/none", redis_url="redis://127.0.0.1:1")
        document = create_app(settings).openapi()
        self._schemas: Mapping[str, Schema] = document["components"]["schemas"]
        self._operations = {
            f"{method.upper()} {path}": found
            for path, methods in document["paths"].items()
            for method, found in methods.items()
            if method in METHODS
        }

    def has(self, route: str) -> bool:
        """Return whether there is a route."""
        return route in self._operations

    def shows(self, route: str, path: str) -> bool:
        """Return whether the answer of a route has a field, given as a path with dots and `[]`."""
        answers = self._operation(route)["responses"]
        found = [answers[status] for status in answers if status.startswith("2")]
        return any(self._has(schema, [*path.split(".")]) for each in found for schema in _contents(each))

    def sets(self, route: str, *names: str) -> bool:
        """Return whether a route has one of the fields in its body, at any depth, or, for PUT, in its path."""
        in_path = route.startswith("PUT ") and any(f"{{{name}}}" in route for name in names)
        bodies = _contents(self._operation(route).get("requestBody", {}))
        return in_path or any(self._mentions(schema, name) for schema in bodies for name in names)

    def _operation(self, route: str) -> Schema:
        if route not in self._operations:
            raise Unclaimed(f"{MAP.name} names the route {route}, which the API does not have")
        found: Schema = self._operations[route]
        return found

    def _has(self, schema: Schema, path: Sequence[str]) -> bool:
        if not path:
            return True
        name = path[0].removesuffix("[]")
        for each in self._kinds(schema):
            inner = each.get("properties", {}).get(name)
            if inner is not None:
                below = [item for kind in self._kinds(inner) for item in [kind.get("items")] if item]
                if any(self._has(one, path[1:]) for one in ([inner] if not path[0].endswith("[]") else below)):
                    return True
        return False

    def _kinds(self, schema: Schema) -> Iterator[Schema]:
        """Yield the schemas that a value may have: of a reference its target, of a choice each of it."""
        if "$ref" in schema:
            yield from self._kinds(self._schemas[schema["$ref"].rpartition("/")[2]])
        elif "anyOf" in schema or "oneOf" in schema:
            for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
                yield from self._kinds(each)
        else:
            yield schema

    def _mentions(self, schema: Schema, name: str, depth: int = 4) -> bool:
        for each in self._kinds(schema):
            known = each.get("properties", {})
            below = [*known.values(), *([each["items"]] if "items" in each else [])]
            if name in known or (depth and any(self._mentions(one, name, depth - 1) for one in below)):
                return True
        return False


class Page:
    """The tables of the page, from the map, the schema of the database, the API and the tests."""

    def __init__(self, described: Mapping[str, Any], api: Api, tables: Mapping[str, Sequence[str]]) -> None:
        self._entities = [Entity(**each) for each in described["entity"]]
        self._own: Mapping[str, str] = described["own"]
        self._api, self._tables = api, tables

    def problems(self) -> list[str]:
        """Return what is claimed by nothing, and what the map claims and is not so."""
        claimed = [each.table for each in self._entities if each.table]
        found = [f"{name} is neither a table of an entity nor in [own] of {MAP.name}" for name in self._tables]
        found = [line for line in found if line.split()[0] not in {*claimed, *self._own}]
        found += [f"{name} is no table" for name in {*claimed, *self._own} - set(self._tables)]
        found += [
            f"[own] {name}: there is no {way}" for name, way in self._own.items() if way and not self._api.has(way)
        ]
        for entity in self._entities:
            for name in self._names(entity):
                try:
                    self._row(entity, name)
                except Unclaimed as problem:
                    found.append(f"{entity.name}.{name}: {problem}")
        return found

    def text(self) -> str:
        """Return the part of the page that is generated."""
        return "\n".join([*(self._section(each) for each in self._entities), self._rest()])

    def _section(self, entity: Entity) -> str:
        head = "| field | column | read | written | test |\n|---|---|---|---|---|"
        rows = "\n".join(self._row(entity, name) for name in self._names(entity))
        kept = "".join(f"- `{name}` is not shown there: {why}\n" for name, why in entity.hidden.items())
        return "\n".join([f"## {entity.name}", "", entity.about, "", head, rows, *(["", kept] if kept else [""])])

    def _names(self, entity: Entity) -> list[str]:
        columns = [name for name in self._tables.get(entity.table, ()) if name not in entity.hidden]
        fields = [*entity.model, *entity.more]
        return [*columns, *dict.fromkeys(name for name in fields if name not in columns and name not in entity.hidden)]

    def _row(self, entity: Entity, name: str) -> str:
        shown = entity.shown.get(name, name)
        has_column = name in self._tables.get(entity.table, ())
        if not has_column and entity.table and name not in entity.more and name not in entity.shown:
            raise Unclaimed(
                f"the table {entity.table} has no such column; say in `more` or `shown` where it comes from"
            )
        place = f"{entity.at}.{shown}" if entity.at else shown
        if name not in entity.more and not self._api.shows(entity.read, place):
            raise Unclaimed(f"{entity.read} does not show {place}; name its field in `shown`, or say why in `hidden`")
        last = shown.rpartition(".")[2].removesuffix("[]")
        written = [route for route in entity.write if self._api.sets(route, *_set_names(entity, name, last))]
        column = f"`{entity.table}.{name}`" if has_column else entity.more.get(name, "")
        cells = (
            f"**`{name}`**" if name in entity.model else f"`{name}`",
            column,
            f"`{entity.read}`" + (f": `{place}`" if place != name else ""),
            "<br>".join(f"`{route}`" for route in written) or "by Relay",
            _link(entity, name, last),
        )
        return f"| {' | '.join(cells)} |"

    def _rest(self) -> str:
        rows = "\n".join(
            f"| `{name}` | {_about_tables().get(name, '')} | {f'`{way}`' if way else 'by no route'} |"
            for name, way in sorted(self._own.items())
        )
        return f"## Tables of Relay's own\n\n| table | holds | shown |\n|---|---|---|\n{rows}\n"


def _set_names(entity: Entity, name: str, shown: str) -> tuple[str, ...]:
    return (entity.set[name], name) if name in entity.set else (shown,)


def _link(entity: Entity, name: str, shown: str) -> str:
    given = entity.proof.get(name)
    path, _, test = (given or _proof(tuple(entity.tests), shown) or (EVERY if entity.table else "::")).partition("::")
    if not path or test not in _tests(path):
        raise Unclaimed(f"no test of {', '.join(entity.tests)} asserts {shown!r}; name one in `proof`")
    return f"[{test}](../{path})"


@cache
def _proof(paths: tuple[str, ...], name: str) -> str:
    """Return the first test with an assertion that has a field's name, as `path::name`; empty if there is none."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    found = (f"{path}::{test}" for path in paths for test, said in _tests(path).items() if word.search(said))
    return next(found, "")


@cache
def _tests(path: str) -> Mapping[str, str]:
    """Return the assertions of each test of a file by its name, with the functions of the file that these call."""
    source = (ROOT / path).read_text()
    functions = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    helpers = {name: ast.get_source_segment(source, node) or "" for name, node in functions.items()}
    return {
        name: "\n".join([_asserted(node, source), *(helpers[each] for each in _called(node) if each in helpers)])
        for name, node in functions.items()
        if name.startswith("test_")
    }


def _asserted(function: ast.FunctionDef, source: str) -> str:
    found = [node for node in ast.walk(function) if isinstance(node, ast.Assert)]
    parameters = [each for each in function.decorator_list if "parametrize" in ast.unparse(each)]
    return "\n".join(ast.get_source_segment(source, node) or "" for node in [*found, *parameters])


def _called(function: ast.FunctionDef) -> list[str]:
    asserts = (node for node in ast.walk(function) if isinstance(node, ast.Assert))
    calls = (node.func for each in asserts for node in ast.walk(each) if isinstance(node, ast.Call))
    return [each.id for each in calls if isinstance(each, ast.Name)]


def _contents(part: Mapping[str, Any]) -> list[Schema]:
    return [content["schema"] for content in part.get("content", {}).values() if "schema" in content]


@cache
def _about_tables() -> Mapping[str, str]:
    """Return the first line of what the class of each table says about itself, by table."""
    classes = (mapper.class_ for mapper in Base.registry.mappers)
    return {each.__tablename__: (each.__doc__ or "").strip().splitlines()[0] for each in classes}


def main() -> int:
    """Write or compare the page; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not current")
    options = parser.parse_args()
    tables = {table.name: [column.name for column in table.columns] for table in Base.metadata.sorted_tables}
    page = Page(tomllib.loads(MAP.read_text()), Api(), tables)
    if problems := page.problems():
        print("\n".join(problems), file=sys.stderr)
        return 1
    present = PAGE.read_text()
    current = BODY.sub(lambda _: page.text(), present)
    if not options.check:
        PAGE.write_text(current)
    elif present != current:
        print(f"{PAGE.name} is not current: run python scripts/domain.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
