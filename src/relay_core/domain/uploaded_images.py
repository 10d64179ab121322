"""Uploaded images: their type and size in pixels, read from their bytes, and the names that they get in a workspace.

Only headers are read: nothing here decodes an image. A client's name and type are never believed.
"""

import re
import struct
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from relay_core.domain.agents.executors import EXECUTORS
from relay_core.domain.errors import InvalidInput

DIRECTORY = ".relay-images"
"""Directory below an agent's working directory in which the images of its task lie."""
MOST_SIDE = 32767
"""Most pixels of one side."""
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}
"""Types that are accepted, each with the end of its files' names."""
MOST_NAME = 50
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of segments that have the size of a JPEG."""
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a segment."""


@dataclass(frozen=True)
class ImageFacts:
    """The type of an image, and its size in pixels."""

    mime_type: str
    width: int
    height: int


def read(data: bytes, most_bytes: int, most_pixels: int) -> ImageFacts:
    """Return type and size of an image by its bytes.

    Raises:
        InvalidInput: `image_too_large` (bytes or pixels), `image_type_unknown`, `image_damaged`; the field is `data`.
    """
    if len(data) > most_bytes:
        message = f"the image has {len(data)} bytes; at most {most_bytes} are allowed (RELAY_IMAGE_MAX_BYTES)"
        raise _refused("image_too_large", message)
    try:
        found = _facts(data)
    except (struct.error, IndexError) as error:
        raise _refused("image_damaged", "the image ends before its header does; send the whole file") from error
    if found is None:
        raise _refused("image_type_unknown", "these bytes are no PNG, JPEG, GIF or WebP; send one of these")
    if found.width < 1 or found.height < 1:
        raise _refused("image_damaged", "the image has no pixels by its header")
    if max(found.width, found.height) > MOST_SIDE or found.width * found.height > most_pixels:
        message = f"the image has {found.width} x {found.height} pixels; at most {most_pixels} are allowed"
        raise _refused("image_too_large", f"{message}, and {MOST_SIDE} on a side (RELAY_IMAGE_MAX_PIXELS)")
    return found


def check_images(name: str | None, image_ids: Sequence[object]) -> None:
    """Refuse images for an executor that cannot show them to its model.

    Raises:
        InvalidInput: `images_unsupported`.
    """
    kind = EXECUTORS.get(name or "")
    if image_ids and kind is not None and not kind.sees_images:
        able = ", ".join(each.name for each in EXECUTORS.values() if each.sees_images)
        message = f"{kind.name} cannot look at images; send none, or choose another executor: {able}"
        raise InvalidInput(message, code="images_unsupported", field="image_ids")


def display_name(name: str) -> str:
    """Return the name that people see: the last part of a path, on one line, at most 200 characters."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(each for each in last if unicodedata.category(each)[0] != "C")
    return " ".join(kept.split())[:200] or "image"


def file_name(name: str, sha256: str, mime_type: str) -> str:
    """Return the name of an image's file in a workspace.

    It has only letters, digits, `-` and one dot, so that it is a name on every system and in every prompt.
    """
    stem = display_name(name).rpartition(".")[0] or display_name(name)
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MOST_NAME].strip("-") or "image"
    return f"{slug}-{sha256[:8]}.{EXTENSIONS[mime_type]}"


def with_images(prompt: str, images: Sequence[tuple[str, str]]) -> str:
    """Return a prompt that names images, as Markdown does, so that the agent can open them.

    Args:
        prompt: the text for the agent.
        images: the name for people and the path in the container of each image.
    """
    if not images:
        return prompt
    lines = [f"![{re.sub(r'[][]', ' ', name)}]({path})" for name, path in images]
    return f"{prompt.rstrip()}\n\nImages that belong to this task:\n" + "\n".join(lines) + "\n"


def _facts(data: bytes) -> ImageFacts | None:
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return ImageFacts("image/gif", *struct.unpack_from("<HH", data, 6))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _png(data: bytes) -> ImageFacts:
    if data[12:16] != b"IHDR":
        raise _refused("image_damaged", "the PNG does not begin with its header")
    return ImageFacts("image/png", *struct.unpack_from(">II", data, 16))


def _jpeg(data: bytes) -> ImageFacts:
    place = 2
    while True:
        if data[place] != 0xFF:
            raise _refused("image_damaged", "the JPEG has no size")
        marker = data[place + 1]
        if marker == 0xFF:  # a byte that only fills
            place += 1
        elif marker in _JPEG_ALONE:
            place += 2
        elif marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return ImageFacts("image/jpeg", width, height)
        elif marker in {0xD9, 0xDA}:  # its end, or its pixels
            raise _refused("image_damaged", "the JPEG has no size")
        else:
            (length,) = struct.unpack_from(">H", data, place + 2)
            if length < 2:
                raise _refused("image_damaged", "the JPEG has a segment without a length")
            place += 2 + length


def _webp(data: bytes) -> ImageFacts:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(_exactly(data, place, 3), "little") for place in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(_exactly(data, 21, 4), "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (each & 0x3FFF for each in struct.unpack_from("<HH", data, 26))
    else:
        raise _refused("image_damaged", "the WebP has no size")
    return ImageFacts("image/webp", width, height)


def _exactly(data: bytes, start: int, count: int) -> bytes:
    found = data[start : start + count]
    if len(found) < count:
        raise IndexError
    return found


def _refused(code: str, message: str) -> InvalidInput:
    return InvalidInput(message, code=code, field="data")
