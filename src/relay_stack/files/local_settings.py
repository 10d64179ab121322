"""Find the settings of the services on this machine, from the environment or from the local stack's last start."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from relay_core.settings import Settings, get_settings
from relay_stack.errors import StackProblem
from relay_stack.files.private_file import write_private


def data_dir_of_settings() -> Path:
    """Return the data directory from RELAY_DATA_DIR, or the default.

    Raises:
        StackProblem: some RELAY_* variables have unusable values; the message lists these variables.
    """
    try:
        return get_settings().data_dir
    except ValidationError as error:
        wrong = [
            f"RELAY_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
            if fault["type"] != "default_factory_not_called"  # caused by another wrong value
        ]
        raise StackProblem("The environment cannot be used:\n" + "\n".join(wrong)) from None


def remember_environment(data_dir: Path, environment: Mapping[str, str]) -> None:
    """Write the RELAY_* variables of the stack's processes into a file that only its owner can read."""
    variables = {name: value for name, value in environment.items() if name.startswith("RELAY_")}
    write_private(_file(data_dir), json.dumps(variables, indent=2))


def remembered_environment(data_dir: Path) -> dict[str, str]:
    """Return the RELAY_* variables of the stack's processes at the last start; empty before the first start."""
    try:
        found: dict[str, str] = json.loads(_file(data_dir).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def settings_of_this_machine() -> Settings:
    """Return the settings for commands that act on this machine's node.

    If RELAY_DATABASE_URL is set, the settings come from the environment alone. Otherwise the variables of the local
    stack's last start are first added to this process's environment, except those that are already set in it.
    """
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
