"""The `relay` command."""

import sys

import httpx
import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from relay_cli.commands import agents, doctor, runs, secrets, sessions, stack, tokens, workspaces
from relay_cli.errors import CommandFailed
from relay_core import __version__
from relay_core.console.output import note
from relay_core.domain.errors import InvalidInput, RelayError
from relay_core.settings import wrong_settings
from relay_core.store.outage import is_away

app = typer.Typer(
    help="Run coding agents, and the scripts and dev servers around them, as jobs in containers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (stack.up, stack.down, stack.status, runs.run, runs.ps, runs.show, runs.logs, runs.kill, runs.diff):
    app.command()(command)
app.command("follow-up")(sessions.follow_up)
app.command()(sessions.sessions)
app.command()(workspaces.retry)
app.command()(workspaces.stop)
app.command()(workspaces.resume)
app.command()(tokens.nodes)
app.command()(tokens.drain)
app.command()(doctor.doctor)
app.add_typer(stack.db, name="db")
app.add_typer(stack.image, name="image")
app.add_typer(agents.agents, name="agents")
app.add_typer(secrets.secret, name="secret")
app.add_typer(tokens.tokens, name="token")


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run a command; what can be expected to go wrong ends with its message on stderr, without a traceback."""
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
        note(str(error))  # all of it: the end of a build's output, say
        sys.exit(1)
    except httpx.TransportError as error:
        note(str(error).splitlines()[0])
        sys.exit(1)
    except DBAPIError as error:
        if not is_away(error):
            raise
        note(str(error).splitlines()[0])
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
