"""The build backend of this repository: setuptools, and the program relay-pid1 compiled before it.

Wheels and sdists carry relay-pid1 for x86_64 and aarch64, compiled by the pinned ``ziglang``. An editable install
carries it for the machine's own architecture, compiled by a system compiler if one makes a binary that passes the
checks of `relay_build.elf`. A wheel does so, too, with ``--config-settings=pid1=machine``. Git carries no binaries.
"""

from collections.abc import Mapping
from pathlib import Path

from setuptools import build_meta

from relay_build.binaries import ensure_for_machine, ensure_for_release
from relay_build.project import Project

ConfigSettings = Mapping[str, str] | None

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

get_requires_for_build_editable = build_meta.get_requires_for_build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
get_requires_for_build_wheel = build_meta.get_requires_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel


def build_wheel(directory: str, settings: ConfigSettings = None, metadata_directory: str | None = None) -> str:
    """Build a wheel in ``directory`` and return its file name (PEP 517)."""
    own, others = _split(settings)
    ensure = ensure_for_machine if own == "machine" else ensure_for_release
    ensure(_project())
    return str(build_meta.build_wheel(directory, others, metadata_directory))


def build_sdist(directory: str, settings: ConfigSettings = None) -> str:
    """Build a source distribution in ``directory`` and return its file name (PEP 517)."""
    ensure_for_release(_project())
    return str(build_meta.build_sdist(directory, settings))


def build_editable(directory: str, settings: ConfigSettings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel of an editable install in ``directory`` and return its file name (PEP 660)."""
    ensure_for_machine(_project())
    return str(build_meta.build_editable(directory, settings, metadata_directory))


def _split(settings: ConfigSettings) -> tuple[str | None, dict[str, str]]:
    others = dict(settings or {})
    return others.pop("pid1", None), others


def _project() -> Project:
    """Return the project in the working directory, in which every hook runs."""
    return Project(Path.cwd())
