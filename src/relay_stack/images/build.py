"""Builds the images that Relay brings, and only when their recipe has changed."""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests

from relay_core.console.output import note
from relay_stack.errors import StackProblem

RECIPES = Path(__file__).with_name("recipes")
RECIPE_LABEL = "relay.recipe"
"""Image label: hash of everything the image was made from."""
PROXY_NAMES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""The engine paints what a step of a build writes to stderr."""
CA_FILE = "ca-bundle.crt"
"""In every build context; empty where the machine has no certificates of its own."""


@dataclass(frozen=True)
class Recipe:
    """What an image is made from: a folder with a Dockerfile, and build arguments."""

    tag: str
    folder: Path
    build_args: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Changes when the image would."""
        seen = hashlib.sha256(repr(sorted(self.build_args.items())).encode())
        for path in _files(self.folder):
            content = path.read_bytes()
            seen.update(f"{path.relative_to(self.folder)}\0{_mode(path) & 0o111}\0{len(content)}\0".encode())
            seen.update(content)
        return seen.hexdigest()


def own_ca_bundle(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The machine's certificate bundle where its environment names one that exists."""
    for name in ("RELAY_CA_BUNDLE", "SSL_CERT_FILE"):
        if (value := environment.get(name)) and Path(value).is_file():
            return Path(value)
    return None


def image_id(client: docker.DockerClient, tag: str) -> str | None:
    """None where there is no such image here."""
    try:
        return str(client.images.get(tag).id)
    except docker.errors.ImageNotFound:
        return None


def made_by(client: docker.DockerClient, tag: str) -> str | None:
    """The recipe hash an image carries; None where there is no such image or it is not one of ours."""
    try:
        labels: dict[str, str] = client.images.get(tag).labels
    except docker.errors.ImageNotFound:
        return None
    return labels.get(RECIPE_LABEL)


def named(repository: str, digest: str) -> str:
    """The name of the image of one recipe: installations with different recipes share an engine, and no name."""
    return f"{repository}:{digest[:12]}"


def find_made(client: docker.DockerClient, repository: str, digest: str) -> str | None:
    """The image of a recipe by its own name, given to it where it has only the common one; None where there is none."""
    own = named(repository, digest)
    if made_by(client, own) == digest:
        return own
    if made_by(client, f"{repository}:latest") != digest:
        return None
    client.api.tag(f"{repository}:latest", repository, own.rpartition(":")[2])
    return own


def take_common_name(client: docker.DockerClient, image: str, *, always: bool) -> None:
    """Call an image ``…:latest``, for people and for Compose; not in another installation's stead, unless `always`."""
    repository = image.rpartition(":")[0]
    if always or image_id(client, f"{repository}:latest") is None:
        client.api.tag(image, repository, "latest")


def build_image(client: docker.DockerClient, recipe: Recipe, log_folder: Path) -> str:
    """Builds the image unless one of the same recipe is there; returns its id.

    Prints each step as it begins; the whole output goes to a file in `log_folder`.

    Raises:
        StackProblem: the build failed; with the end of its output.
    """
    if made_by(client, recipe.tag) == recipe.digest:
        return image_id(client, recipe.tag) or ""
    note(f"Building the image {recipe.tag}")
    log_folder.mkdir(parents=True, exist_ok=True)
    log_file = log_folder / f"image-{recipe.tag.replace('/', '_').replace(':', '_')}.log"
    stream = client.api.build(
        fileobj=_context(recipe.folder),
        custom_context=True,
        tag=recipe.tag,
        buildargs={**{name: os.environ[name] for name in PROXY_NAMES if name in os.environ}, **recipe.build_args},
        labels={RECIPE_LABEL: recipe.digest},
        rm=True,
        forcerm=True,
        decode=True,
    )
    try:
        _follow(stream, log_file, recipe.tag)
    except requests.RequestException as error:
        raise StackProblem(f"The engine broke off while it built {recipe.tag}: {error}") from error
    return image_id(client, recipe.tag) or ""


def _follow(stream: Iterator[dict[str, Any]], log_file: Path, tag: str) -> None:
    tail: list[str] = []
    step = ""
    with log_file.open("w") as log:
        for event in stream:
            text = str(event.get("stream") or event.get("status") or event.get("error") or "")
            log.write(text)
            tail = [*tail, *_COLOURS.sub("", text).splitlines()][-25:]
            step = text if text.startswith("Step ") else step
            if text.startswith(" ---> Running in") and " : RUN " in step:  # the others take no time
                note(f"  {tag}: {step.partition(' : ')[0].lower()}")
            if "error" in event:
                end = "\n".join(line for line in tail if line.strip())
                raise StackProblem(f"Building {tag} failed (all of it in {log_file}):\n{end}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _mode(path: Path) -> int:
    """The same whatever umask a checkout was made with."""
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _context(folder: Path) -> io.BytesIO:
    """The folder and the CA bundle as a tar, with fixed times so that the engine's own cache works."""
    packed = io.BytesIO()
    bundle = own_ca_bundle()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in _files(folder):
            _add(archive, str(path.relative_to(folder)), path.read_bytes(), _mode(path))
        _add(archive, CA_FILE, bundle.read_bytes() if bundle else b"", 0o644)
    packed.seek(0)
    return packed


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
