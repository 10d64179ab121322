"""Adds an account for the workspace's uid to its container, if the image has none.

The account is written into the container's own layer. A mounted ``/etc/passwd`` would not work: `useradd` in a root
step replaces the file, and a mounted file cannot be replaced.
"""

import io
import tarfile
from collections.abc import Iterable
from typing import Any

import docker
from docker.errors import NotFound

from relay_workers.containers.docker.user import with_account
from relay_workers.containers.port import Account

_PASSWD_BYTES = 1 << 20


class PasswdIsNoFileError(Exception):
    """``/etc/passwd`` is a link or something else that cannot be replaced."""


_OF_IMAGES: dict[str, bytes | None] = {}
"""The content of ``/etc/passwd`` by image id; None if the image has no such file. An image id's files never change."""


def add_account(api: docker.APIClient, container_id: str, image_id: str, account: Account) -> None:
    """Add an account to a container that was never started; change nothing if ``/etc/passwd`` is no regular file.

    Args:
        api: a client of the engine.
        container_id: the container.
        image_id: the id of its image, whose ``/etc/passwd`` is read once per process.
        account: the account to add.

    Raises:
        docker.errors.APIError: the engine refused.
    """
    try:
        if image_id not in _OF_IMAGES:
            _OF_IMAGES[image_id] = _passwd(api, container_id)
    except PasswdIsNoFileError:
        return
    passwd = _OF_IMAGES[image_id]
    changed = with_account(passwd, account.uid, account.home)
    if changed is not None:
        untyped: Any = api
        untyped.put_archive(container_id, "/", _archive(changed, ("etc",) if passwd is None else ()))


def _passwd(api: docker.APIClient, container_id: str) -> bytes | None:
    try:
        archive, _ = api.get_archive(container_id, "/etc/passwd")
    except NotFound:
        return None
    passwd = only_file(archive)
    if passwd is None:
        raise PasswdIsNoFileError
    return passwd


def only_file(archive: Iterable[bytes]) -> bytes | None:
    """Return the content of the only file in a tar archive; None if it is no regular file, or over 1 MiB in all."""
    data = bytearray()
    for chunk in archive:
        data += chunk
        if len(data) > _PASSWD_BYTES:
            return None
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = next(iter(tar), None)
        file = tar.extractfile(member) if member is not None and member.isfile() else None
        return file.read() if file else None


def _archive(content: bytes, folders: Iterable[str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        entry = tarfile.TarInfo("etc/passwd")
        entry.size, entry.mode = len(content), 0o644
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
