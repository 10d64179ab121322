"""Which user a container's steps run as. Pure."""

MAX_ID = 2**31 - 1


def resolve_uid(requested: int | None, image_uid: int | None, default_uid: int) -> int:
    """The uid of a workspace: what the request says, else the image's ``USER``, else the node's default.

    Args:
        requested: a number; names of accounts differ from image to image.
        image_uid: the image's user. Root counts as none: most images have simply not chosen.
        default_uid: `relay_workers.node.container_uid`.
    """
    return requested if requested is not None else image_uid or default_uid


def uid_in_passwd(user: str, passwd: bytes) -> int | None:
    """The number of an image's ``USER`` (``name``, ``uid:group``…), by its ``/etc/passwd``; None for no user."""
    name = user.split(":", 1)[0]
    if not name:
        return None
    if name.isascii() and name.isdecimal():
        return int(name) if int(name) <= MAX_ID else None
    for line in passwd.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isascii() and fields[2].isdecimal():
            return int(fields[2])
    return None
