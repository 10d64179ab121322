"""Decides which git remotes may be cloned: parses their URLs and checks their hosts. Pure functions.

Git itself accepts far more than this module: ``ext::sh -c ...`` runs a command, ``-u...`` is an option, and ``http``
follows redirects to any host. So git gets no URL that was not parsed here, and only known forms are accepted: there is
no list of bad ones.
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from relay_core.domain.errors import InvalidInput

MAX_URL_LENGTH = 2048

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_TRANSPORT_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@:/\[\]]*)@)?(?P<host>\[[^\]]*\]|[^:/@\[\]]+):(?P<path>.*)", re.DOTALL)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+-]{0,63}")
_NUMBER_HOST = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?")
_INTERNAL_NAMES = ("localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa", "corp", "private")
_CREDENTIALS_IN_TEXT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s]*@")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class RemotePolicy:
    """Which remotes the clients of this deployment may clone.

    The schemes https and ssh are always allowed, for public hosts.
    """

    allow_http: bool = False
    allow_git_protocol: bool = False
    allow_file: bool = False
    """Allow ``file://`` URLs and absolute paths."""
    allow_private_hosts: bool = False
    """Allow loopback, private, link-local and reserved addresses, and internal names."""
    allowed_hosts: tuple[str, ...] = ()
    """Allowed names, or patterns such as ``*.example.com``; empty allows any. Addresses are checked in any case."""


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A parsed URL of a remote that the policy allows; it contains no password."""

    scheme: str
    """``https``, ``ssh``, ``http``, ``git`` or ``file``."""
    host: str
    """Host in lower case, without brackets; empty for ``file``."""
    port: int
    """Port of the URL, or the default port of the scheme; 0 for ``file``."""
    path: str
    """Path on the remote; for ``file`` an absolute path of this machine."""
    user: str | None
    """Login name of an ssh remote. None: the URL has none, or another scheme."""
    display: str
    """The URL as it is shown in messages."""
    text: str
    """The URL that git gets, and that becomes the clone's ``origin``."""


def parse_git_url(text: str, policy: RemotePolicy) -> GitUrl:
    """Parse a git URL, and refuse it if the policy does not allow it. Resolves no names.

    Raises:
        InvalidInput: code ``git_url_invalid``, ``git_url_has_credentials``, ``git_scheme_not_allowed`` or
            ``git_host_not_allowed``. No message repeats a user name or password.
    """
    _check_characters(text)
    if text.startswith("/"):
        return _file_url(text, text, policy)
    if "://" in text:
        return _full_url(text, policy)
    return _scp_like_url(text, policy)


def classify_addresses(addresses: Sequence[str], policy: RemotePolicy) -> list[IPAddress]:
    """Parse the addresses that a host name resolved to; refuse the name if the policy forbids one of them.

    One forbidden address is enough: a name with both public and private addresses is an attack or a mistake.

    Returns:
        The addresses without duplicates.

    Raises:
        InvalidInput: code ``git_host_not_allowed``.
    """
    found = [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]
    if not policy.allow_private_hosts and not all(is_public(address) for address in found):
        raise _host_refused("resolves to a private, loopback or reserved address")
    return list(dict.fromkeys(found))


def is_public(address: IPAddress) -> bool:
    """Return whether an address belongs to the public internet.

    For an IPv6 address that contains an IPv4 address, the IPv4 address decides.
    """
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address.is_site_local:  # fec0::/10: deprecated, and private where it is used
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def why_not_public(host: str) -> str | None:
    """Return why a host is not public, judged by its spelling; None if the spelling does not show it.

    The text is the end of a sentence that begins with the host, such as "is an internal name".

    Raises:
        InvalidInput: code ``git_url_invalid``: the host looks like an address but is not one.
    """
    address = _literal_address(host)
    if address is not None:
        return None if is_public(address) else "is a private, loopback or reserved address"
    return "is an internal name" if _is_internal_name(host) else None


def redact(text: str) -> str:
    """Return the text without user name and password in every URL; used on messages of git and its helpers."""
    return _CREDENTIALS_IN_TEXT.sub(r"\1", text)


def _check_characters(text: str) -> None:
    if not text or len(text) > MAX_URL_LENGTH:
        raise _invalid(f"a git URL has 1 to {MAX_URL_LENGTH} characters")
    if text.startswith("-"):
        raise _invalid("a git URL cannot start with '-'")
    if not text.isprintable() or text != text.strip() or "\\" in text:
        raise _invalid("a git URL has no control characters, backslashes or surrounding blanks")
    if " " in text and not text.startswith(("/", "file://")):
        raise _invalid("a git URL has no blanks; write %20")
    if _TRANSPORT_HELPER.match(text):
        raise _scheme_refused("remote helpers (name::address) are never allowed")


def _full_url(text: str, policy: RemotePolicy) -> GitUrl:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _invalid("the host or port of the git URL cannot be read") from error
    scheme = parts.scheme.lower()
    _check_scheme(scheme, policy)
    if scheme == "file":
        return _local_url(text, parts, policy)
    user = _user(parts, scheme)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _invalid("a git URL has no query or fragment")
    host = _check_host(parts.hostname or "", policy)
    if not parts.path.strip("/"):
        raise _invalid("the git URL names a host but no repository")
    if port == 0:
        raise _invalid("the port of the git URL cannot be read")
    login = f"{user}@" if user else ""
    place = f"[{host}]" if ":" in host else host
    clean = f"{scheme}://{login}{place}{f':{port}' if port else ''}{parts.path}"
    return GitUrl(scheme, host, port or _DEFAULT_PORTS[scheme], parts.path, user, clean, clean)


def _user(parts: SplitResult, scheme: str) -> str | None:
    """Return the login name of an ssh URL; refuse a password, and any user name in a URL of another scheme."""
    if "@" not in parts.netloc:
        return None
    if scheme != "ssh" or parts.password is not None:
        raise _has_credentials()
    return _check_user(parts.username or "")


def _check_user(user: str) -> str:
    if not _USER.fullmatch(user):
        raise _has_credentials()
    return user


def _scp_like_url(text: str, policy: RemotePolicy) -> GitUrl:
    match = _SCP_LIKE.fullmatch(text)
    if match is None:
        raise _invalid("not a git URL: expected https://host/path, ssh://user@host/path or user@host:path")
    user, host, path = match["user"], match["host"], match["path"]
    if "@" in path.partition("/")[0]:  # user:password@host:path
        raise _has_credentials()
    if user is not None:
        _check_user(user)
    host = _check_host(host.removeprefix("[").removesuffix("]"), policy)
    if not path.strip("/") or path.startswith("-"):
        raise _invalid("the git URL names a host but no repository")
    return GitUrl("ssh", host, _DEFAULT_PORTS["ssh"], path, user, text, text)


def _local_url(text: str, parts: SplitResult, policy: RemotePolicy) -> GitUrl:
    if parts.netloc not in {"", "localhost"}:
        raise _has_credentials() if "@" in parts.netloc else _invalid("a file:// URL names no host")
    try:
        path = unquote(text.split("://", 1)[1].removeprefix(parts.netloc), errors="strict")
    except UnicodeDecodeError as error:
        raise _invalid("the path of the git URL is not UTF-8 behind its % signs; write a % itself as %25") from error
    return _file_url(text, path, policy)


def _file_url(text: str, path: str, policy: RemotePolicy) -> GitUrl:
    _check_scheme("file", policy)
    if not path.isprintable() or not path.startswith("/") or ".." in path.split("/"):
        raise _invalid("a local repository is named by an absolute path without '..'")
    return GitUrl("file", "", 0, path, None, text, path)


def _check_scheme(scheme: str, policy: RemotePolicy) -> None:
    allowed = {"https", "ssh"}
    allowed |= {"http"} if policy.allow_http else set()
    allowed |= {"git"} if policy.allow_git_protocol else set()
    allowed |= {"file"} if policy.allow_file else set()
    if scheme not in allowed:
        raise _scheme_refused(f"this server clones over {', '.join(sorted(allowed))}, not {scheme[:20]}")


def _check_host(host: str, policy: RemotePolicy) -> str:
    host = host.lower()
    address = _literal_address(host)
    if address is None and (len(host) > 253 or not _HOST_NAME.fullmatch(host)):
        raise _invalid("the host name of the git URL is not valid (write international names in punycode)")
    host = host.removesuffix(".")
    if not policy.allow_private_hosts and (problem := why_not_public(host)):
        raise _host_refused(problem)
    if policy.allowed_hosts and not any(_matches(host, pattern.lower()) for pattern in policy.allowed_hosts):
        raise _host_refused("is not in this server's list of allowed hosts")
    return host


def _literal_address(host: str) -> IPAddress | None:
    """Return the address that a host part stands for; None for a name.

    Every spelling that resolvers accept counts (0x7f000001, 2130706433, 127.1).
    """
    if ":" in host:
        if "%" in host:
            raise _invalid("an address with a zone is not taken")
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as error:
            raise _invalid("the IPv6 address of the git URL cannot be read") from error
    if not _NUMBER_HOST.fullmatch(host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.removesuffix(".")))
    except OSError as error:
        raise _invalid("the IPv4 address of the git URL cannot be read") from error


def _is_internal_name(host: str) -> bool:
    return "." not in host or any(host == name or host.endswith(f".{name}") for name in _INTERNAL_NAMES)


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, code="git_url_invalid", field="url")


def _scheme_refused(message: str) -> InvalidInput:
    return InvalidInput(message, code="git_scheme_not_allowed", field="url")


def _host_refused(message: str) -> InvalidInput:
    return InvalidInput(f"the host of the git URL {message}", code="git_host_not_allowed", field="url")


def _has_credentials() -> InvalidInput:
    return InvalidInput(
        "the git URL contains credentials; remove them, they would be stored and shown",
        code="git_url_has_credentials",
        field="url",
    )
