"""The server inside a container that has python3: for agents without a network."""

import json
from pathlib import Path
from typing import Any

from docker.models.containers import Container

MODULES = ("script", "dialect", "anthropic", "openai", "gemini", "server")
"""The modules of the server; each imports only those before it."""
PORT = 8088
LOADER = """
import sys, types
for name, source in {sources!r}.items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.modules["{package}.server"].main()
"""


def program() -> str:
    """The server as one program for `python3 -c`, which needs no file beside it."""
    package = __package__ or ""
    sources = {f"{package}.{name}": Path(__file__).with_name(f"{name}.py").read_text() for name in MODULES}
    return LOADER.format(sources=sources, package=package)


def start_in_container(container: Container, host: str = "127.0.0.1", port: int = PORT) -> str:
    """Start it, wait until it listens, and return its base URL. It ends with the container."""
    api = container.client.api
    command = ["python3", "-c", program(), "--host", host, "--port", str(port)]
    output = api.exec_start(api.exec_create(container.id, command)["Id"], stream=True)
    said = next(output, b"").decode()
    if not said.startswith("listening on "):
        raise RuntimeError(f"the model server did not start: {said}{b''.join(output).decode()}")
    return said.removeprefix("listening on ").strip()


def requests_of(container: Container, port: int = PORT) -> list[dict[str, Any]]:
    """What it was asked so far: path, model, number of tools and prompts, size of the last prompt, tool results."""
    fetch = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/_requests').read().decode())"
    code, output = container.exec_run(["python3", "-c", fetch])
    if code != 0:
        raise RuntimeError(f"the model server does not answer: {output.decode()}")
    asked: list[dict[str, Any]] = json.loads(output)
    return asked
