"""The entry point of the `relay` command."""

import sys
from collections.abc import Callable

import httpx
import typer
from pydantic import ValidationError

from relay_cli.commands import agents, doctor, executions, runs, secrets, sessions, stack, tokens, workspaces
from relay_cli.errors import CommandFailed
from relay_core import __version__
from relay_core.console.output import note
from relay_core.domain.errors import InvalidInput, RelayError
from relay_core.settings import wrong_settings
from relay_core.store.outage import DBAPIError, is_away

app = typer.Typer(
    help="Run coding agents, and the scripts and dev servers around them, as jobs in containers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: tuple[Callable[..., None], ...] = (
    *(stack.up, stack.down, stack.status),
    *(runs.run, executions.ps, executions.show, executions.logs, executions.kill, executions.diff),
    *(sessions.follow_up, sessions.sessions, workspaces.retry, workspaces.stop, workspaces.resume),
    *(tokens.nodes, tokens.drain, doctor.doctor),
)
"""Commands without a group, in the order of the help text. Typer names `follow_up` as `follow-up`."""
for command in COMMANDS:
    app.command()(command)
app.add_typer(stack.db, name="db")
app.add_typer(stack.image, name="image")
app.add_typer(agents.agents, name="agents")
app.add_typer(secrets.secret, name="secret")
app.add_typer(tokens.tokens, name="token")


@app.command()
def version() -> None:
    """Print the version of this command."""
    print(__version__)


def main() -> None:
    """Run the command. For an expected error, print a message on standard error, not a traceback, and exit non-zero."""
    try:
        app()
    except CommandFailed as error:
        note(str(error))
        sys.exit(error.exit_code)
    except InvalidInput as error:
        note(str(error))
        sys.exit(2)
    except ValidationError as error:
        note(wrong_settings(error))
        sys.exit(2)
    except RelayError as error:
        note(str(error))  # all lines: the message may contain the last lines of a build's output
        sys.exit(1)
    except httpx.TransportError as error:
        note(str(error).splitlines()[0])
        sys.exit(1)
    except DBAPIError as error:
        if not is_away(error):
            raise
        note(f"the database does not answer: {str(error.orig).splitlines()[0]}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
