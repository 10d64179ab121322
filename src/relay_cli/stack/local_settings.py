"""The settings of this machine's services: of the environment, else of the local stack that is up."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from relay_cli.stack.private_file import write_private
from relay_core.settings import Settings, get_settings


def remember_environment(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Keep what the stack's processes are given, for the owner's eyes only."""
    ours = {name: value for name, value in environment.items() if name.startswith("RELAY_")}
    write_private(_file(data_dir), json.dumps(ours, indent=2))


def settings_of_this_machine() -> Settings:
    """Where RELAY_DATABASE_URL is set, the environment says it all; else the local stack's processes are asked."""
    own = get_settings()
    if "RELAY_DATABASE_URL" in os.environ or not _file(own.data_dir).exists():
        return own
    for name, value in json.loads(_file(own.data_dir).read_text()).items():
        os.environ.setdefault(name, value)
    get_settings.cache_clear()
    return get_settings()


def _file(data_dir: Path) -> Path:
    return data_dir / "environment.json"
