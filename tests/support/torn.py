"""Mends files with a torn last line as a worker does, without a database."""

from collections.abc import Sequence
from pathlib import Path

from relay_workers.host_files.torn_line import TornLine, torn_files


def cut_torn_lines(root: Path, parts: Sequence[str], pattern: Sequence[str], owner: int | None) -> list[TornLine]:
    with torn_files(root, parts, pattern, owner) as found:
        return [line for file in found if (line := file.mend()) is not None]
