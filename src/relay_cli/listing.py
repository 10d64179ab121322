"""Print a table on standard output, in colour and as wide as the terminal."""

import sys
from collections.abc import Sequence

from relay_cli.rendering.run_table import table
from relay_cli.rendering.style import style_of


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], statuses: Sequence[str] | None = None) -> None:
    """Print a table.

    Args:
        columns: headings.
        rows: cells of each row, safe for a terminal.
        statuses: status of each row, for the colour of its cell STATUS; None if there is no such column.
    """
    for line in table(columns, rows, statuses or [""] * len(rows), style_of(sys.stdout)):
        print(line)
