"""Which tests run in one process where the suite runs beside each other (pytest-xdist, `--dist loadgroup`)."""

from pathlib import Path

ORDER = ("faults", "acceptance", "integration", "conformance", "unit")


def group_of(path: Path) -> str:
    """Name of the group of a test module.

    Args:
        path: the module's path below `tests/`.
    """
    return str(path)


def order_of(path: Path) -> int:
    """Groups of a lower order begin first.

    Args:
        path: the module's path below `tests/`.
    """
    return ORDER.index(path.parts[0]) if path.parts[0] in ORDER else len(ORDER)
