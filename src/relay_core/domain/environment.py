"""The largest environment that a run may have: what Linux passes to a program, less space for its arguments."""

from collections.abc import Mapping

from relay_core.domain.errors import InvalidInput

MAX_BYTES = 1 << 20
"""Most bytes of all names and values of a run together.

Linux allows 2 MiB for a program's environment and arguments together, and stored secrets and Relay's own variables are
added to the run's.
"""
MAX_VARIABLE_BYTES = 96 << 10
"""Most bytes of one variable, name and value together; Linux allows 128 KiB."""
_EACH = 10
"""Bytes that Linux needs for a variable besides its name and value: ``=``, the final NUL, and a pointer."""


def check_environment(env: Mapping[str, str]) -> None:
    """Raise an error if an environment is too large to start a program with.

    Raises:
        InvalidInput: `env_too_large`; the message has the size and the bound in bytes.
    """
    sizes = {name: len(name.encode()) + len(value.encode()) + _EACH for name, value in env.items()}
    for name, size in sizes.items():
        if size > MAX_VARIABLE_BYTES:
            raise _too_large(f"{name} has {size} bytes; one variable may have {MAX_VARIABLE_BYTES}", name)
    if (total := sum(sizes.values())) > MAX_BYTES:
        raise _too_large(f"the variables have {total} bytes together, and {MAX_BYTES} fit", None)


def _too_large(what: str, name: str | None) -> InvalidInput:
    message = f"{what}; put large values into a file of the repository, or have the setup script write one"
    return InvalidInput(message, code="env_too_large", field=f"env.{name}" if name else "env")
