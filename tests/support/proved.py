"""Writes the outcomes of tests that prove a numbered requirement, for `scripts/requirements.py --ran`."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIRECTORY = "RELAY_TEST_PROVED_DIR"
"""Environment variable: the directory for the outcomes; without it nothing is written."""


def note(item: pytest.Item, report: pytest.TestReport) -> None:
    """Append the outcome of a test that was called or skipped, once for each requirement that it proves."""
    directory = os.environ.get(DIRECTORY)
    if directory is None or not (report.when == "call" or report.skipped):
        return
    function = f"{item.path.relative_to(ROOT)}::{item.name.partition('[')[0]}"
    ids = [id_ for marker in item.iter_markers("proves") for id_ in marker.args]
    if ids:
        with (Path(directory) / str(os.getpid())).open("a") as file:
            file.writelines(f"{report.outcome} {id_} {function}\n" for id_ in ids)
