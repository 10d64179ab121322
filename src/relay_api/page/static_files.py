"""Route of the page's own files: style, scripts and icon."""

from fastapi import APIRouter
from starlette.responses import Response

from relay_api.http.problems import ApiError
from relay_api.page.rendering import KINDS, STATIC, static_file

router = APIRouter(include_in_schema=False)


@router.get(STATIC + "/{name}")
def read_static_file(name: str) -> Response:
    """Return one file. Its address contains a checksum, so browsers keep it."""
    content = static_file(name)
    if content is None:
        raise ApiError(404, "not_found", "there is nothing here")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(content, headers=headers, media_type=KINDS[name.rpartition(".")[2]])
