"""The page about the API at `/docs`: RapiDoc, a vendored viewer, shows the OpenAPI document of this server."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from relay_api.page.rendering import static_url

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
"""The viewer loads the document from this server, and nothing from elsewhere. It sets styles in its elements."""
# Requests are not sent from the page: it shares its origin with the page at `/`, whose cookie they would carry.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Relay API</title>
<style>body {{ margin: 0; font: 15px/1.5 system-ui, sans-serif }} p {{ padding: 0 1rem }}</style>
<script type="module" src="{viewer}"></script>
</head>
<body>
<rapi-doc spec-url="/openapi.json" render-style="read" schema-style="table" default-schema-tab="example"
  load-fonts="false" allow-try="false" allow-authentication="false" allow-server-selection="false" show-header="false"
  allow-spec-url-load="false" allow-spec-file-load="false" show-method-in-nav-bar="as-colored-text"
  regular-font="system-ui, sans-serif">
<p slot="overview">The whole document, for generators of clients: <a href="/openapi.json">/openapi.json</a></p>
</rapi-doc>
<noscript><p>This page needs JavaScript; it shows <a href="/openapi.json">/openapi.json</a>.</p></noscript>
</body>
</html>
"""


@router.get("/docs")
def docs() -> HTMLResponse:
    """Return a page with every operation, its parameters, bodies and answers. It works without the internet."""
    page = _PAGE.format(viewer=static_url("rapidoc-min.js"))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
