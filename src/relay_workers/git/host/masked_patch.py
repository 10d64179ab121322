"""Removal of secrets from a patch: masked in text, left out with the content of a binary file."""

from collections.abc import Callable, Mapping, Sequence

from relay_core.domain.git.patches import FilePart, file_parts
from relay_core.domain.logs.masking import SecretMask

MAX_NAMED = 100
"""Most paths that are returned."""

_LEFT_OUT = b"Binary files with a secret, or too large to look for one, differ\n"
"""Replaces binary content. It begins and ends like git's own line, so `git apply` reports the content as missing."""


def masked_patch(
    text: bytes, mask: SecretMask, contents: Callable[[Sequence[str]], Mapping[str, bytes]]
) -> tuple[bytes, tuple[str, ...]]:
    """Return the patch without secrets, and the paths of files (at most `MAX_NAMED`) whose part of it was changed.

    A patch contains binary content in compressed form, so the blobs themselves are searched. Content with a secret, or
    too large to be searched, is left out of the patch, as git does by default.

    Args:
        text: the patch by git.
        mask: knows the secrets.
        contents: returns the contents of blobs by their ids, without blobs that are too large.
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
    if len(parts) != len(list(file_parts(masked))):  # a secret is one of the words of the format itself
        return masked, tuple(part.path for part in parts)[:MAX_NAMED]
    return b"".join(whole), tuple(paths[:MAX_NAMED])


def _without_content(masked: bytes, part: FilePart) -> bytes:
    head = masked[part.start : part.binary_at]
    return head + _LEFT_OUT
