"""An HTML page about the API, made from its OpenAPI document. The page has no script and loads nothing."""

import re
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8883;padding:.1em .3em;border-radius:.2em}details{margin:.4rem 0}summary{cursor:pointer}"
    "b{display:inline-block;min-width:4.5rem}td{vertical-align:top;padding:.1rem 1rem .1rem 0}"
)


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Return a page with every operation, its parameters and its answers."""
    document: dict[str, Any] = request.app.openapi()
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    page = (
        f'<!doctype html><meta charset="utf-8"><title>Relay API</title><style>{_STYLE}</style>'
        f"<h1>Relay API {escape(document['info']['version'])}</h1>"
        f"<p>{_marked(document['info']['description'])}</p>"
        "<p>The whole document, with every schema: <code>/openapi.json</code></p>" + operations
    )
    return HTMLResponse(page)


def _marked(text: str) -> str:
    """Return a description as HTML: escaped, with Markdown's code and emphasis marks rendered."""
    words = re.sub(r"``?([^`]+)``?", r"<code>\1</code>", escape(text))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", words)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
        f"<td>{_marked(one.get('description', ''))}</td></tr>"
        for one in operation.get("parameters", [])
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    named = body.get("$ref", "").rpartition("/")[2]
    answers = ", ".join(code for code in operation["responses"])
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))}</summary><p>{_marked(operation.get('description', ''))}</p>"
        + (f"<p>Body: <code>{escape(named)}</code></p>" if named else "")
        + f"<table>{parameters}</table><p>Answers: {answers}</p></details>"
    )
