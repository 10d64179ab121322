"""Looks up images on a Docker engine, pulls them, and determines the uid of their user."""

from typing import Any

import docker
from docker.errors import APIError, NotFound

from relay_workers.containers.docker.failure import translated
from relay_workers.containers.docker.passwd import only_file
from relay_workers.containers.docker.pull import pull, unavailable
from relay_workers.containers.docker.user import uid_in_passwd
from relay_workers.containers.port import ImageInfo, PullTerms


def ensure_image(api: docker.APIClient, ref: str, terms: PullTerms | None) -> ImageInfo:
    """Return an image of the node; pull it first if needed and allowed (`Containers.ensure_image`)."""
    with translated():
        found = _find(api, ref)
        if found is None and terms is not None:
            terms.judge()
            pull(api, ref, terms)
            found = _find(api, ref)
        if found is None:
            raise unavailable(ref, "it is not on this node")
        config = found.get("Config") or {}
        user = str(config.get("User") or "")
        return ImageInfo(
            id=str(found["Id"]),
            digest=next(iter(found.get("RepoDigests") or []), None),
            user=user,
            uid=_uid(api, str(found["Id"]), user),
            env=dict(item.split("=", 1) for item in config.get("Env") or [] if "=" in item),
            architecture=str(found.get("Architecture") or ""),
            volumes=tuple(config.get("Volumes") or ()),
        )


def _find(api: docker.APIClient, ref: str) -> dict[str, Any] | None:
    untyped: Any = api
    try:
        found: dict[str, Any] = untyped.inspect_image(ref)
    except NotFound:
        return None
    except APIError as error:
        if error.status_code != 400:
            raise
        raise unavailable(ref, "that is no name of an image") from error
    return found


def _uid(api: docker.APIClient, image_id: str, user: str) -> int | None:
    by_number = uid_in_passwd(user, b"")
    if by_number is not None or not user:
        return by_number
    # A name is looked up in the image's /etc/passwd, read from a container that is created but never started.
    container = str(api.create_container(image_id, command=["none"], network_disabled=True)["Id"])
    try:
        archive, _ = api.get_archive(container, "/etc/passwd")
        return uid_in_passwd(user, only_file(archive) or b"")
    except NotFound:  # the image has no /etc/passwd
        return None
    finally:
        api.remove_container(container, force=True, v=True)
