"""Common generators make clients from the OpenAPI document, without a warning, that run README's first call."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_core.store.transaction import Database
from tests.support import client_generators as generators
from tests.support.api_fixtures import Api, api_on_a_port, settings_for

HERE = Path(__file__).parent
README = Path(__file__).parents[4] / "README.md"
REPO = "file:///srv/app"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_on_a_port(database, settings_for(database_url, redis_url, git_allow_file=True)) as api:
        yield api


@pytest.fixture
def document(api: Api, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(api.client.get("/openapi.json").content)
    return path


def first_call_of_readme() -> dict[str, Any]:
    [body] = re.findall(r"-d @- <<END\n(.*?)\nEND\n", README.read_text(), re.DOTALL)
    return json.loads(body.replace("file://$PWD", REPO))


def arguments(api: Api) -> list[str]:
    return [str(api.client.base_url), api.tokens["ann"], REPO]


def check(printed: str, api: Api) -> None:
    """The client sent README's body and nothing that it leaves out, and understood both answers."""
    found = json.loads(printed)
    assert found["sent"] == first_call_of_readme()
    assert found["missing"] == "not_found"
    run = found["run"]
    assert (run["title"], run["executor"]) == ("Count the files", "shell")
    assert run["id"] == api.get("/v1/runs").json()["items"][0]["id"]


@pytest.mark.timeout(300)  # the first session downloads the generators
def test_the_python_client_makes_the_first_call(api: Api, document: Path, tmp_path: Path):
    environment = generators.python_environment()
    out = ["--meta", "none", "--output-path", tmp_path / "relay_client", "--config", HERE / "generator.yml"]
    command = [environment / "bin" / "openapi-python-client", "generate", "--path", document, *out]
    assert generators.run([*command, "--fail-on-warning"]).split("\n") == [
        f"Generating {tmp_path / 'relay_client'}",
        "",
    ]
    shutil.copy(HERE / "first_call.py", tmp_path)
    check(generators.run([environment / "bin" / "python", tmp_path / "first_call.py", *arguments(api)]), api)


@pytest.mark.timeout(300)
def test_the_typescript_client_compiles_and_makes_the_first_call(api: Api, document: Path, tmp_path: Path):
    node, packages = generators.node(), generators.npm_packages() / "node_modules"
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name in ("first_call.ts", "tsconfig.json"):
        shutil.copy(HERE / name, tmp_path)
    generate = [node, packages / "openapi-typescript" / "bin" / "cli.js", document, "-o", tmp_path / "relay.d.ts"]
    assert re.fullmatch(r"✨ openapi-typescript [\d.]+\n🚀 \S+ → \S+ \[\S+\]\n", generators.run(generate, cwd=tmp_path))
    assert generators.run([node, packages / "typescript" / "bin" / "tsc", "-p", tmp_path]) == ""
    check(generators.run([node, tmp_path / "first_call.ts", *arguments(api)]), api)
