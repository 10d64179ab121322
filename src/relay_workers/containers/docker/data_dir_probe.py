"""Checks that the engine finds the data directory under the same path as this worker.

A worker in a container passes paths of its own file system to the engine, which looks them up in the host's file
system. If these are different directories, every mount would show the wrong files. So one mount is tried before any
step runs.
"""

import secrets
from pathlib import Path

from relay_core.domain.errors import RelayError, StepFailed
from relay_workers.containers.tool import ToolMount, ToolRun, ToolRunner

IN_CONTAINER = Path("/.dockerenv")
"""A file that Docker creates in every container; its existence shows that this worker runs in one."""
_TIMEOUT_SECONDS = 60.0


class DataDirElsewhere(RelayError):  # noqa: N818 - named for what it says
    """On the engine's host, the data directory's path is another directory or does not exist."""


def check_data_dir(data_dir: Path, tool: ToolRunner, image: str) -> None:
    """Verify that a container sees a file that this worker writes into its data directory.

    Args:
        data_dir: the value of RELAY_DATA_DIR.
        tool: runs the container.
        image: an image that contains ``cat``.

    Raises:
        DataDirElsewhere: the container read something else or nothing; the message states which directory to mount
            where.
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
