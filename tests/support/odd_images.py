"""Images that no registry has, made from a few files and loaded into the engine."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import docker


@contextmanager
def built(*lines: str) -> Iterator[str]:
    """The tag of an image on Relay's base image, removed afterwards."""
    tag = f"relay-test-odd-{uuid4().hex[:8]}:1"
    client = docker.from_env()
    try:
        client.images.build(fileobj=io.BytesIO("\n".join(("FROM relay-base", *lines)).encode()), tag=tag, rm=True)
        yield tag
    finally:
        client.images.remove(tag, force=True)
        client.close()


@contextmanager
def loaded(files: Mapping[str, bytes], *, architecture: str = "amd64") -> Iterator[str]:
    """The tag of an image with these programs and nothing else, removed afterwards."""
    tag = f"relay-test-odd-{uuid4().hex[:8]}:1"
    layer = _tar(files)
    description = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    packed = {
        "config.json": json.dumps(description).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    client = docker.from_env()
    try:
        client.images.load(_tar(packed))
        yield tag
    finally:
        client.images.remove(tag, force=True)
        client.close()


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for folder in sorted({str(Path(name).parent) for name in files} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
