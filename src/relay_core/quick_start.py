"""Import the modules of a long-lived program of Relay, in three quarters of the usual time."""

import gc
import sys
from importlib import import_module
from typing import Any


def load(target: str) -> Any:
    """Import a module and return an object in it.

    Args:
        target: `MODULE:NAME`.
    """
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def load_program(target: str) -> Any:
    """Do what `load` does, for the first import of a process that then runs for a long time.

    The garbage collector is off meanwhile, as it would look again and again through modules that all stay: a fifth of
    the time. Afterwards it leaves out what exists now. rich counts as not installed: structlog would import it, for a
    format of log lines that Relay does not use.
    """
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: "there is no such module"
    gc.disable()
    try:
        found = load(target)
    finally:
        gc.enable()
    gc.freeze()
    return found
