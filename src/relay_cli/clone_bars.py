"""The bars of a clone's progress on a terminal. rich takes long to import, so only a command with bars imports this."""

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bars

from relay_cli.rendering.progress import Progress
from relay_core.console.terminal_text import safe_line


class BarLines:
    """Shows a bar for each part of the progress below the lines. The bars vanish at the end; the lines stay.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        self._bars = Bars(*columns, console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}

    def line(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(safe_line(text), markup=False, highlight=False, soft_wrap=True)

    def progress(self, text: str, progress: Progress) -> None:
        """Move the bar of a part; the first state of a part makes its bar."""
        del text
        if not self._tasks:
            self._bars.start()
        label, detail = safe_line(progress.label), safe_line(progress.detail)
        if progress.label not in self._tasks:
            self._tasks[progress.label] = self._bars.add_task(label, total=progress.total, detail=detail)
        task = self._tasks[progress.label]
        self._bars.update(task, completed=progress.done, total=progress.total, detail=detail)

    def close(self) -> None:
        """Remove the bars."""
        self._bars.stop()


def bar_lines() -> BarLines:
    """Return the lines and bars of a clone on this process's standard error."""
    return BarLines(Console(stderr=True))
