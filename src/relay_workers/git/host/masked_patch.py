"""Remove secrets from a patch: mask them in text; leave out the content of binary files that contain one."""

from collections.abc import Callable, Mapping, Sequence

from relay_core.domain.git.patches import FilePart, file_parts
from relay_core.domain.logs.masking import SecretMask

MAX_NAMED = 100
"""Maximum number of paths that `masked_patch` returns."""

_LEFT_OUT = b"Binary files with a secret, or too large to look for one, differ\n"
"""Line that replaces binary content.

It begins and ends like git's own line for a binary file, so `git apply` reports that the content is missing.
"""


def masked_patch(
    text: bytes, mask: SecretMask, contents: Callable[[Sequence[str]], Mapping[str, bytes]]
) -> tuple[bytes, tuple[str, ...]]:
    """Return the patch without secrets, and the paths of the files (at most `MAX_NAMED`) whose part was changed.

    A patch contains binary content in compressed form, so the function searches the git blobs instead. Binary content
    with a secret, or too large to be searched, is left out of the patch; git shows binary files so by default.

    Args:
        text: the patch that git wrote.
        mask: masks the secrets.
        contents: called with ids of blobs; returns their contents by id, without blobs that are too large.
    """
    if not mask.secrets:
        return text, ()
    masked = mask.data(text)
    parts = list(file_parts(text))
    found = contents([name for part in parts if part.binary_at is not None for name in part.blobs])
    clean = {name for name, content in found.items() if mask.data(content) == content}
    whole, paths = [], []
    for part, shown in zip(parts, file_parts(masked), strict=False):
        piece = masked[part.start : part.end]
        if part.binary_at is not None and not clean.issuperset(part.blobs):
            piece = _without_content(masked, part)
        if piece != text[part.start : part.end]:
            paths.append(shown.path)
        whole.append(piece)
    if len(parts) != len(list(file_parts(masked))):  # a secret is equal to a word of the patch format
        return masked, tuple(part.path for part in parts)[:MAX_NAMED]
    return b"".join(whole), tuple(paths[:MAX_NAMED])


def _without_content(masked: bytes, part: FilePart) -> bytes:
    head = masked[part.start : part.binary_at]
    return head + _LEFT_OUT
