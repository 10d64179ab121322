"""The entry point of the `relay` command."""

import sys
from typing import Annotated, ClassVar

import typer

from relay_cli.errors import CommandFailed
from relay_cli.lazy import Entry, LazyGroup
from relay_cli.table import ENTRIES
from relay_core import __version__
from relay_core.console.output import note
from relay_core.domain.errors import InvalidInput, RelayError
from relay_core.quick_start import load


class RelayCommands(LazyGroup):
    """The commands of `relay`."""

    entries: ClassVar[tuple[Entry, ...]] = ENTRIES


app = typer.Typer(
    cls=RelayCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"relay {__version__}")
        raise typer.Exit


@app.callback()
def relay(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Run coding agents, and the scripts and dev servers around them, as jobs in containers."""


@app.command("version", hidden=True)
def print_version() -> None:
    """Print the version of this command."""
    print(__version__)


def main() -> None:
    """Run the command. For an expected error, print a message on standard error, not a traceback, and exit non-zero."""
    # httpx also imports its own command line if it can, with rich and pygments: 50 ms that no command here needs.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: "there is no such module"
    try:
        app()
    except CommandFailed as error:
        note(str(error))
        sys.exit(error.exit_code)
    except InvalidInput as error:
        note(str(error))
        sys.exit(2)
    except RelayError as error:
        note(str(error))  # all lines: the message may contain the last lines of a build's output
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the classes of other expected errors are imported only now, as that takes 0.3 s
        ending = load("relay_cli.foreign_errors:ending")(error)
        if ending is None:
            raise
        note(ending.message)
        sys.exit(ending.exit_code)


if __name__ == "__main__":
    main()
