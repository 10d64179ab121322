"""`relay open`: the page of a run, or of the server, in the browser."""

from typing import Annotated
from urllib.parse import quote, urlsplit

import httpx
import typer

from relay_cli import completion
from relay_cli.browser import show_page
from relay_cli.client import Api, connect
from relay_cli.commands.ids import parse_id
from relay_cli.errors import CommandFailed


def open_page(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Id of a run, or of anything that belongs to it; without it the list of runs.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Print the address and open no browser.")] = False,
) -> None:
    """Open the page of a run, or of all runs, in the browser, and print its address.

    The address signs the browser in, once and within ten minutes, with the rights of your token.

    Example: relay open 3f2a91bc
    """
    api = connect()
    path = "/"
    if run is not None:
        found = api.call("GET", f"/v1/runs/{parse_id(run)}")
        path = urlsplit(found["links"].get("page") or "/").path
    show_page(signed_in(api, path), only_print=only_print)


def signed_in(api: Api, path: str) -> str:
    """Return the address of a page that signs a browser in; of a server that makes no such address, the page's own.

    Args:
        api: client of the API.
        path: path of the page.
    """
    try:
        address, _, code = api.call("POST", "/v1/sign-in-codes")["url"].partition("#")
    except CommandFailed as refused:
        if refused.status not in {httpx.codes.NOT_FOUND, httpx.codes.FORBIDDEN, httpx.codes.METHOD_NOT_ALLOWED}:
            raise
        return api.url.rstrip("/") + path
    return f"{address}?next={quote(path)}#{code}"
