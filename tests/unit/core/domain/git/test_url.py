import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.url import RemotePolicy, classify_addresses, parse_git_url, redact

PUBLIC = RemotePolicy()
OPEN = RemotePolicy(allow_http=True, allow_git_protocol=True, allow_file=True, allow_private_hosts=True)


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "path", "user"),
    [
        ("https://example.com/a/b.git", "https", "example.com", 443, "/a/b.git", None),
        ("HTTPS://Example.COM:8443/a", "https", "example.com", 8443, "/a", None),
        ("https://example.com./a", "https", "example.com", 443, "/a", None),
        ("https://8.8.8.8/a", "https", "8.8.8.8", 443, "/a", None),
        ("https://[2606:4700::1111]/a", "https", "2606:4700::1111", 443, "/a", None),
        ("ssh://git@example.com/a/b", "ssh", "example.com", 22, "/a/b", "git"),
        ("ssh://git@example.com:2222/~me/b", "ssh", "example.com", 2222, "/~me/b", "git"),
        ("git@example.com:a/b.git", "ssh", "example.com", 22, "a/b.git", "git"),
        ("example.com:a/b.git", "ssh", "example.com", 22, "a/b.git", None),
        ("git@[2606:4700::1111]:a", "ssh", "2606:4700::1111", 22, "a", "git"),
    ],
)
def test_urls_that_are_always_allowed(text, scheme, host, port, path, user):
    url = parse_git_url(text, PUBLIC)

    assert (url.scheme, url.host, url.port, url.path, url.user) == (scheme, host, port, path, user)


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("http://localhost:3000/a", "http", "/a"),
        ("git://10.0.0.1/a", "git", "/a"),
        ("file:///srv/a%20b.git", "file", "/srv/a b.git"),
        ("file://localhost/srv/a", "file", "/srv/a"),
        ("/srv/my repos/a", "file", "/srv/my repos/a"),
    ],
)
def test_urls_that_a_policy_allows(text, scheme, path):
    url = parse_git_url(text, OPEN)
    assert (url.scheme, url.path) == (scheme, path)

    with pytest.raises(InvalidInput) as error:
        parse_git_url(text, PUBLIC)
    assert error.value.code == "git_scheme_not_allowed"


@pytest.mark.parametrize(
    "text",
    [
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "fd::3",
        "https::https://example.com/a",
        "::x",
        "ftp://example.com/a",
        "javascript://example.com/a",
    ],
)
def test_helpers_and_other_schemes_are_refused_whatever_the_policy(text):
    with pytest.raises(InvalidInput) as error:
        parse_git_url(text, OPEN)
    assert error.value.code in {"git_scheme_not_allowed", "git_url_invalid"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " https://example.com/a",
        "https://example.com/a\n",
        "https://example.com/a\x00",
        "https://exa\tmple.com/a",
        "https://example.com/a b",
        "https://example.com/a\u2028b",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x",
        "ssh://-oProxyCommand=x/a",
        "-oProxyCommand=x:a",
        "git@-oProxyCommand=x:a",
        "git@example.com:-a",
        "https://example.com\\@evil.example/a",
        "https://example.com:99999/a",
        "https://example.com:0/a",
        "https://example.com",
        "https://example.com//",
        "https:///a",
        "https://ex%61mple.com/a",
        "https://exämple.com/a",
        "https://[::1/a",
        "https://[fe80::1%25eth0]/a",
        "https://256.1.1.1/a",
        "https://example.com/a?token=x",
        "https://example.com/a#x",
        "relative/path",
        "./a",
        "file:///a/../b",
        "file:///per%cent",
        "/a/../../etc",
        "file://host/a",
        "https://example.com/" + "a" * 3000,
    ],
)
def test_malformed_urls_are_refused(text):
    with pytest.raises(InvalidInput):
        parse_git_url(text, OPEN)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:sesame@example.com/a",
        "https://sesame@example.com/a",
        "https://:sesame@example.com/a",
        "https://user:ses%40ame@example.com/a",
        "http://user:sesame@example.com/a",
        "ssh://git:sesame@example.com/a",
        "git:sesame@example.com:a",
        "git://sesame@example.com/a",
        "file://sesame@localhost/a",
        "ssh://ses$ame@example.com/a",
    ],
)
def test_credentials_are_refused_and_not_repeated(text):
    with pytest.raises(InvalidInput) as error:
        parse_git_url(text, OPEN)

    assert error.value.code == "git_url_has_credentials"
    assert "sesame" not in str(error.value)
    assert "ses" not in str(error.value).replace("addresses", "")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "metadata.google.internal",
        "printer.local",
        "postgres",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:db8::1]",
    ],
)
def test_private_hosts_are_refused_unless_allowed(host):
    for text in (f"https://{host}/a", f"ssh://git@{host}/a"):
        with pytest.raises(InvalidInput) as error:
            parse_git_url(text, PUBLIC)
        assert error.value.code == "git_host_not_allowed"
        assert parse_git_url(text, OPEN).host


def test_an_allow_list_of_hosts_is_exact_or_a_domain():
    policy = RemotePolicy(allowed_hosts=("git.example.com", "*.example.org"))

    for good in ("https://git.example.com/a", "git@x.example.org:a", "https://GIT.example.com./a"):
        parse_git_url(good, policy)
    for bad in ("https://example.com/a", "https://evilexample.org/a", "https://example.org/a", "https://x.com/a"):
        with pytest.raises(InvalidInput) as error:
            parse_git_url(bad, policy)
        assert error.value.code == "git_host_not_allowed"
    with pytest.raises(InvalidInput):
        parse_git_url("https://127.0.0.1/a", RemotePolicy(allowed_hosts=("127.0.0.1",)))


def test_one_private_answer_of_a_resolver_refuses_all():
    assert [str(a) for a in classify_addresses(["8.8.8.8", "8.8.8.8", "2606:4700::1111"], PUBLIC)] == [
        "8.8.8.8",
        "2606:4700::1111",
    ]
    with pytest.raises(InvalidInput) as error:
        classify_addresses(["8.8.8.8", "10.0.0.1"], PUBLIC)
    assert error.value.code == "git_host_not_allowed"
    assert len(classify_addresses(["10.0.0.1", "fe80::1%eth0"], OPEN)) == 2


def test_redaction_finds_every_url():
    text = "fatal: unable to access 'https://me:pw@ex.com/a/': and ssh://git@h/x, https://t%40k@h/, plain@mail"

    assert redact(text) == "fatal: unable to access 'https://ex.com/a/': and ssh://h/x, https://h/, plain@mail"


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    for policy in (PUBLIC, OPEN):
        try:
            url = parse_git_url(text, policy)
        except InvalidInput:
            continue
        assert url.text.isprintable()
        assert not url.text.startswith("-")


@given(st.integers(0, 2**32 - 1))
def test_every_spelling_of_an_ipv4_address_is_judged_alike(number):
    dotted = socket.inet_ntoa(number.to_bytes(4, "big"))
    outcomes = set()
    for spelling in (dotted, str(number), hex(number)):
        try:
            parse_git_url(f"https://{spelling}/a", PUBLIC)
            outcomes.add("allowed")
        except InvalidInput as error:
            outcomes.add(error.code)
    assert len(outcomes) == 1
