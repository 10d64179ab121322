"""Secrets in a patch: masked in its text, and taken out with the content of binary files; which files, is said."""

from collections.abc import Callable, Mapping, Sequence

from relay_core.domain.git.patches import FilePart, file_parts
from relay_core.domain.logs.masking import SecretMask

MAX_NAMED = 100
"""Paths that are named; of more only the number would be of use."""

_LEFT_OUT = b"Binary files with a secret, or too large to look for one, differ\n"
"""Begins and ends as git's own line does: `git apply` says then that the content is missing."""


def masked_patch(
    text: bytes, mask: SecretMask, contents: Callable[[Sequence[str]], Mapping[str, bytes]]
) -> tuple[bytes, tuple[str, ...]]:
    """A patch without secrets, and the paths of files whose part of it is therefore not what was written.

    Binary content is compressed there, so the files themselves are searched; content that holds a secret, or is too
    large to be searched, is left out of the patch, as git itself leaves it out by default.

    Args:
        text: as git has made it.
        mask: of the secrets.
        contents: gives the contents of blobs by name, without those that are too large.
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
    if len(parts) != len(list(file_parts(masked))):  # the words of the format itself are a secret
        return masked, tuple(part.path for part in parts)[:MAX_NAMED]
    return b"".join(whole), tuple(paths[:MAX_NAMED])


def _without_content(masked: bytes, part: FilePart) -> bytes:
    head = masked[part.start : part.binary_at]
    return head + _LEFT_OUT
