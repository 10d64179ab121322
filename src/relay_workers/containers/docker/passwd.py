"""The account of a workspace's uid in its container, where the image has none.

It is written into the container's own layer, not mounted: `useradd` of a root step replaces the file.
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


class NoAccounts(Exception):  # noqa: N818 - caught here only
    """``/etc/passwd`` is a link or something else that cannot be replaced."""


_OF_IMAGES: dict[str, bytes | None] = {}
"""``/etc/passwd`` by image id, which names the same files for ever; None: it has none."""


def add_account(api: docker.APIClient, container_id: str, image_id: str, account: Account) -> None:
    """Give a container that never ran the account; one whose ``/etc/passwd`` is no plain file stays as it is.

    Raises:
        docker.errors.APIError: the engine refused.
    """
    try:
        if image_id not in _OF_IMAGES:
            _OF_IMAGES[image_id] = _passwd(api, container_id)
    except NoAccounts:
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
        raise NoAccounts
    return passwd


def only_file(archive: Iterable[bytes]) -> bytes | None:
    """The file in an archive of the engine; None where it is a link or the like, or larger than any such file."""
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
