"""The page about the API at `/docs`: Swagger UI, a vendored viewer, shows the OpenAPI document of this server."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from relay_api.page.rendering import static_url

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
"""The viewer loads the document from this server, and nothing from elsewhere. It sets styles in its elements."""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Relay API</title>
<link rel="stylesheet" href="{style}">
<link rel="stylesheet" href="{frame}">
<script defer src="{viewer}"></script>
<script defer src="{start}"></script>
</head>
<body>
<nav class="back" aria-label="Relay"><strong>Relay API</strong> <a href="/">Runs</a> <a href="/fleet">Fleet</a></nav>
<div id="api"></div>
<noscript>This page needs JavaScript; it shows <a href="/openapi.json">/openapi.json</a>.</noscript>
</body>
</html>
"""


@router.get("/docs")
def docs() -> HTMLResponse:
    """Return a page with every operation, its parameters, bodies and answers. It works without the internet."""
    page = _PAGE.format(
        style=static_url("swagger-ui.css"),
        frame=static_url("docs.css"),
        viewer=static_url("swagger-ui-bundle.js"),
        start=static_url("docs.js"),
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
