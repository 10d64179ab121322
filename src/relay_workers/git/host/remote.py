"""Prepare git's connection to a remote (resolve, check and pin the remote's address), and explain git's errors."""

import re
import socket
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote
from threading import Thread

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.git.url import GitUrl, IPAddress, classify_addresses, redact
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.host.local_remote import checked_path
from relay_workers.git.host.process import Deadline
from relay_workers.git.host.version import git_version, too_old_to_pin

WEB = ("https", "http")
SHA256 = "it uses SHA-256 object names, which are not supported"
NOT_GIT = (
    "the server answers, but not as a git server: a login page, a wrong path, or an empty repository as plain files"
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Settings with which git can connect to one remote and to no other."""

    url: str
    """The URL for git; it may contain the resolved address instead of the host name."""
    config: Mapping[str, str]
    """Git configuration for the connection."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for git."""
    options: tuple[str, ...] = ()
    """Options for ``git clone``, ``git fetch`` and ``git ls-remote``."""


def connect(url: GitUrl, settings: Settings, deadline: Deadline) -> Connection:
    """Resolve the address of a remote, check that it is allowed, and return settings that pin git to that address.

    If the worker's environment names an HTTP proxy for the URL, nothing is resolved or checked here: the proxy resolves
    the name, and the rules of the proxy decide which addresses are allowed.

    Raises:
        StepFailed: reason ``clone_failed``: the host is unknown, its address is not allowed, git is too old to pin the
            address, or the local repository is missing or not allowed.
        GitCancelled: the event of the deadline was set.
        DeadlinePassed: the time limit of the deadline has passed.
    """
    config = {f"protocol.{url.scheme}.allow": "always", "http.followRedirects": "false", "protocol.version": "2"}
    if url.scheme == "file":
        return _local(url, settings, config, deadline)
    if settings.ca_bundle is not None:
        config["http.sslCAInfo"] = str(settings.ca_bundle)
    proxy = _proxy_environment(url)
    if proxy:
        return Connection(url.text, config, proxy)
    old = too_old_to_pin(git_version())
    if url.scheme in WEB and not settings.git_allow_private_hosts and old is not None:
        raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {url.display}: {old}")
    addresses = _resolve(url, settings, deadline)
    if url.scheme in WEB:
        pinned = ",".join(f"[{address}]" if address.version == 6 else str(address) for address in addresses)
        config["http.curloptResolve"] = f"{url.host}:{url.port}:{pinned}"
        return Connection(url.text, config)
    if url.scheme == "ssh":
        command = _ssh_command(url, addresses[0], settings)
        return Connection(url.text, config, {"GIT_SSH_COMMAND": command, "GIT_SSH_VARIANT": "ssh"})
    place = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    return Connection(f"git://{place}:{url.port}{url.path}", config)


def explain_failure(errors: bytes, url: GitUrl) -> str:
    """Return an explanation of a failed git command for the person who gave the URL; it contains no credentials.

    Args:
        errors: stderr of git.
        url: the remote.
    """
    text = redact(errors.decode("utf-8", "replace"))
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, text, re.IGNORECASE):
            return f"cannot clone {url.display}: {meaning}"
    lines = [line for line in text.splitlines() if line.startswith(("fatal:", "error:"))] or text.splitlines()[-1:]
    return f"cannot clone {url.display}: {' '.join(lines)[:500] or 'git gave no reason'}"


_MEANINGS = (
    (
        r"File size limit exceeded|signal 25",
        "it is larger than this server allows (RELAY_MIRROR_MAX_PACK_BYTES, RELAY_MIRROR_MAX_BYTES, or the free disk)",
    ),
    (
        r"Out of memory|mmap failed|cannot allocate",
        "git needs more memory for it than this server allows (RELAY_GIT_HOST_MEMORY_BYTES)",
    ),
    (r"info/refs not valid", NOT_GIT),
    (r"No space left on device", "the disk of the node is full"),
    (r"returned error: 30\d|redirect", "the remote answers with a redirect; use the address that it redirects to"),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "its ssh host key is not the one seen before; if that is right, remove the old one from ssh/known_hosts",
    ),
    (r"certificate", "its TLS certificate is not trusted (RELAY_CA_BUNDLE names further authorities)"),
    (
        r"could not read (Username|Password)|Authentication failed|Permission denied|returned error: 40[13]",
        "it asks for authentication, or does not exist",
    ),
    (
        r"returned error: 404|not found|not appear to be a git|not exist|No such file|not a git repository",
        "there is no git repository",
    ),
    (
        r"connect to|Could ?n[o']t connect|unable to connect|Connection \w+|timed out|No route|unreachable|Empty reply",
        "the remote is unreachable",
    ),
    (r"mismatched algorithms", SHA256),
)


def _resolve(url: GitUrl, settings: Settings, deadline: Deadline) -> list[IPAddress]:
    """Return the addresses of the remote's host; raise StepFailed if one is not allowed or the host is unknown.

    The name is resolved in a daemon thread, because a call of the resolver has no time limit and cannot be interrupted.
    """
    found: list[str] = []
    failed: list[OSError] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except OSError as error:
            failed.append(error)
        else:
            found.extend(str(answer[4][0]) for answer in answers)

    thread = Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    while thread.is_alive():
        deadline.check("resolving the remote's name")
        thread.join(0.1)
    if failed or not found:
        raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {url.display}: the host name cannot be resolved")
    try:
        return classify_addresses(found, settings.remote_policy)
    except InvalidInput as error:
        raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {url.display}: {error}") from error


def _proxy_environment(url: GitUrl) -> dict[str, str]:
    """Return the variable that makes git use the HTTP proxy from the worker's environment; empty if none applies."""
    if url.scheme not in WEB:
        return {}
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return {}
    return {f"{url.scheme}_proxy": proxy}


def _ssh_command(url: GitUrl, address: IPAddress, settings: Settings) -> str:
    known_hosts = settings.data_dir / "ssh" / "known_hosts"
    known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    alias = url.host if url.port == 22 else f"[{url.host}]:{url.port}"
    options = {
        "HostName": str(address),
        "HostKeyAlias": alias,
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": f'"{known_hosts}"',
        "GlobalKnownHostsFile": "/dev/null",
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityFile": f'"{settings.git_ssh_key_file}"' if settings.git_ssh_key_file else "none",
        "IdentityAgent": "none",
        "ProxyCommand": "none",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "PermitLocalCommand": "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ConnectTimeout": "15",
    }
    return " ".join(["ssh", "-F", "/dev/null", *(f"-o {quote(f'{key}={value}')}" for key, value in options.items())])


def _local(url: GitUrl, settings: Settings, config: dict[str, str], deadline: Deadline) -> Connection:
    path = checked_path(url, settings.data_dir, deadline)
    # Git refuses to read a repository of another user, but RELAY_GIT_ALLOW_FILE allows it. The git process at the other
    # end of a local fetch gets its configuration only from its command line.
    upload_pack = "--upload-pack=git -c safe.directory=* -c protocol.allow=never upload-pack"
    return Connection(str(path), config, options=(upload_pack,))
