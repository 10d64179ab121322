"""Types and sizes of images by their bytes, and the names that they get."""

import random
from contextlib import suppress

import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.uploaded_images import ImageFacts, display_name, file_name, read, with_images
from tests.support.pictures import gif, jpeg, png, png_header, webp

SHA = "2cf24dba" * 8


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (png(), ImageFacts("image/png", 3, 2)),
        (gif(), ImageFacts("image/gif", 5, 4)),
        (jpeg(), ImageFacts("image/jpeg", 7, 6)),
        (webp("VP8X"), ImageFacts("image/webp", 9, 8)),
        (webp("VP8L"), ImageFacts("image/webp", 9, 8)),
        (webp("VP8 "), ImageFacts("image/webp", 9, 8)),
    ],
)
def test_type_and_size_are_read_from_the_bytes(data: bytes, facts: ImageFacts):
    assert read(data, 10_000, 10_000) == facts


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "image_type_unknown"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "image_type_unknown"),
        (b"#!/bin/sh\n", "image_type_unknown"),
        (b"BM" + bytes(60), "image_type_unknown"),
        (b"RIFF\0\0\0\0WAVE" + bytes(40), "image_type_unknown"),
        (png()[:20], "image_damaged"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIDAT" + bytes(20), "image_damaged"),
        (gif()[:8], "image_damaged"),
        (gif(0, 4), "image_damaged"),
        (jpeg()[:24], "image_damaged"),
        (b"\xff\xd8\xff\xd9", "image_damaged"),
        (b"\xff\xd8\xff\xe0\0\0", "image_damaged"),
        (b"\xff\xd8\xff" + b"\xff" * 100, "image_damaged"),
        (webp()[:25], "image_damaged"),
        (b"RIFF\0\0\0\0WEBPJUNK" + bytes(40), "image_damaged"),
        (png_header(40_000, 1), "image_too_large"),
        (png_header(200, 200), "image_too_large"),
        (png_header(2**32 - 1, 2**32 - 1), "image_too_large"),
        (png() + bytes(10_000), "image_too_large"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused(data: bytes, code: str):
    with pytest.raises(InvalidInput) as refused:
        read(data, 10_000, 39_999)
    assert (refused.value.code, refused.value.field) == (code, "data")


def test_no_bytes_raise_another_error():
    chance = random.Random(7)
    for start in (png(), gif(), jpeg(), webp("VP8X"), webp("VP8L"), webp("VP8 ")):
        for _ in range(300):
            data = bytearray(start[: chance.randrange(len(start) + 1)])
            for _ in range(chance.randrange(4)):
                if data:
                    data[chance.randrange(len(data))] = chance.randrange(256)
            with suppress(InvalidInput):
                read(bytes(data), 10_000, 10_000)


@pytest.mark.parametrize(
    ("name", "shown", "file"),
    [
        ("Screenshot 1.PNG", "Screenshot 1.PNG", "screenshot-1-2cf24dba.png"),
        ("../../etc/passwd", "passwd", "passwd-2cf24dba.png"),
        ("..\\..\\x.png", "x.png", "x-2cf24dba.png"),
        ("a/.git/config", "config", "config-2cf24dba.png"),
        (".gitignore", ".gitignore", "gitignore-2cf24dba.png"),
        ("Übersicht (neu).jpeg", "Übersicht (neu).jpeg", "ubersicht-neu-2cf24dba.png"),
        ("a\nb\x1b[31m\u202e.png", "ab[31m.png", "ab-31m-2cf24dba.png"),
        ("日本", "日本", "image-2cf24dba.png"),
        ("/", "image", "image-2cf24dba.png"),
        ("a" * 255, "a" * 200, "a" * 50 + "-2cf24dba.png"),
        ("--flag.png", "--flag.png", "flag-2cf24dba.png"),
    ],
)
def test_a_name_is_one_of_a_file_whatever_the_client_says(name: str, shown: str, file: str):
    assert (display_name(name), file_name(name, SHA, "image/png")) == (shown, file)


def test_a_prompt_names_its_images():
    assert with_images("mend it\n", []) == "mend it\n"
    named = with_images("mend it\n", [("a [b].png", "/workspace/repos/app/.relay-images/a-b-1.png")])
    assert named == (
        "mend it\n\nImages that belong to this task:\n![a  b .png](/workspace/repos/app/.relay-images/a-b-1.png)\n"
    )
