"""Checks that the engine sees the data directory under the path that this worker has for it.

A worker in a container gives the engine paths of its own file system, which the engine looks up in the host's. Where
the two are different directories, every mount would show other files, so one mount is tried before any step is run.
"""

import secrets
from pathlib import Path

from relay_core.domain.errors import RelayError, StepFailed
from relay_workers.containers.tool import ToolMount, ToolRun, ToolRunner

IN_CONTAINER = Path("/.dockerenv")
"""The file that Docker makes in every container."""
_TIMEOUT_SECONDS = 60.0


class DataDirElsewhere(RelayError):  # noqa: N818 - named for what it says
    """The engine's host has another directory at that path, or none."""


def check_data_dir(data_dir: Path, tool: ToolRunner, image: str) -> None:
    """Write a file into the data directory and read it in a container.

    Args:
        data_dir: RELAY_DATA_DIR.
        tool: runs the container.
        image: an image with ``cat``.

    Raises:
        DataDirElsewhere: the container read other bytes; the message says which directory to mount where.
        StepFailed: ``image_unavailable``, ``engine_error``.
    """
    folder = data_dir / "probe"
    folder.mkdir(parents=True, exist_ok=True)
    word = secrets.token_hex(16)
    file = folder / word
    file.write_text(word)
    try:
        seen = _seen_by_engine(folder, file.name, tool, image)
    finally:
        file.unlink()
    if seen != word.encode():
        raise DataDirElsewhere(
            f"the container engine does not see this worker's RELAY_DATA_DIR ({data_dir}): mount one directory of the "
            f"engine's host at the same absolute path in the worker, as with --volume {data_dir}:{data_dir}"
        )


def _seen_by_engine(folder: Path, name: str, tool: ToolRunner, image: str) -> bytes | None:
    run = ToolRun(
        image=image,
        argv=("cat", f"/probe/{name}"),
        env={},
        mounts=(ToolMount(str(folder), "/probe", read_only=True),),
        user="0:0",
        memory_bytes=256 << 20,
        timeout_seconds=_TIMEOUT_SECONDS,
    )
    try:
        return tool.run(run).output
    except StepFailed as error:
        if "bind source path does not exist" in str(error):
            return None
        raise
