"""Whether the engine sees the data directory under the name that this worker has for it.

A worker in a container gives the engine paths of its own file system, which the engine looks up in the host's. Where
the two are not the same directory every mount would be of something else, so it is tried before anything is run.
"""

import secrets
from pathlib import Path

from relay_core.domain.errors import RelayError, StepFailed
from relay_workers.containers.tool import ToolMount, ToolRun, ToolRunner

IN_CONTAINER = Path("/.dockerenv")
"""Made by Docker in every container."""
_TIMEOUT_SECONDS = 60.0


class DataDirElsewhere(RelayError):  # noqa: N818 - named for what it says
    """The engine's host has another directory of that name, or none."""


def check_data_dir(data_dir: Path, tool: ToolRunner, image: str) -> None:
    """Mount a file just written into a container that reads it.

    Raises:
        DataDirElsewhere: the container read something else; says what to mount where.
        StepFailed: ``image_unavailable``.
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
