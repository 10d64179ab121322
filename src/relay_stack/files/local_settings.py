"""The settings of this machine's services: of the environment, else of the local stack that is up."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from relay_core.settings import Settings, get_settings
from relay_stack.files.private_file import write_private


def remember_environment(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Keep what the stack's processes are given, for the owner's eyes only."""
    ours = {name: value for name, value in environment.items() if name.startswith("RELAY_")}
    write_private(_file(data_dir), json.dumps(ours, indent=2))


def remembered_environment(data_dir: Path) -> dict[str, str]:
    """What they were given the last time; empty where there was none."""
    try:
        found: dict[str, str] = json.loads(_file(data_dir).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def settings_of_this_machine() -> Settings:
    """Where RELAY_DATABASE_URL is set, the environment says it all; else the local stack's processes are asked."""
    own = get_settings()
    remembered = remembered_environment(own.data_dir)
    if "RELAY_DATABASE_URL" in os.environ or not remembered:
        return own
    for name, value in remembered.items():
        os.environ.setdefault(name, value)
    get_settings.cache_clear()
    return get_settings()


def _file(data_dir: Path) -> Path:
    return data_dir / "environment.json"
