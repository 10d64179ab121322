"""What a remote advertises, as git 2.39.5 traced and listed it."""

import pytest

from relay_workers.git.host.advertisement import Advertisement, read_listing, read_trace

ONE, TWO, LONG = "1" * 40, "2" * 40, "3" * 64


def trace(*packets: str, who: str = "fetch<") -> list[str]:
    return [f"00:25:47.736688 pkt-line.c:80           packet: {who:>12} {packet}" for packet in packets]


def test_protocol_2():
    lines = trace(
        "version 2",
        "object-format=sha1",
        f"{ONE} HEAD symref-target:refs/heads/main",
        f"{ONE} refs/heads/main",
        f"{TWO} refs/heads/caf\\37777777751",
        f"{TWO} refs/tags/v1 peeled:{ONE}",
        f"{TWO} refs/pull/1/merge",
        f"shallow {TWO}",
        f"ACK {TWO}",
    ) + trace(f"want {TWO}", f"{TWO} refs/heads/other", who="upload-pack<")

    found = read_trace(lines)

    refs = {"refs/heads/main": ONE, "refs/heads/caf\udce9": TWO, "refs/tags/v1": TWO}
    assert found == Advertisement(refs, ONE, "refs/heads/main")


def test_protocol_0():
    capabilities = "\\0multi_ack side-band-64k symref=HEAD:refs/heads/dev object-format=sha1"
    found = read_trace(
        trace(f"{ONE} HEAD{capabilities}", f"{ONE} refs/heads/dev", f"{TWO} refs/tags/v^{{}}", who="git<")
    )

    assert found == Advertisement({"refs/heads/dev": ONE}, ONE, "refs/heads/dev")


@pytest.mark.parametrize("escaped", ["\\37777777703\\37777777674", "\\303\\274"])
def test_a_name_in_utf8_where_char_is_signed_and_where_not(escaped):
    found = read_trace(trace(f"{ONE} refs/heads/{escaped}1"))
    assert found is not None
    assert list(found.refs) == ["refs/heads/\N{LATIN SMALL LETTER U WITH DIAERESIS}1"]


def test_an_empty_remote_and_one_that_says_nothing():
    unborn = read_trace(trace("version 2", "unborn HEAD symref-target:refs/heads/main"))
    assert unborn == Advertisement({}, None, "refs/heads/main")
    assert unborn.empty
    assert read_trace(["warning: something else"]) is None


def test_words_of_the_remote_are_no_refs():
    found = read_trace(trace(f"\\2fetch< {ONE} refs/heads/main", who="sideband<"))
    assert found is not None
    assert found.empty


def test_a_listing():
    found = read_listing(
        ["ref: refs/heads/main\tHEAD", f"{ONE}\tHEAD", f"{ONE}\trefs/heads/main", f"{TWO}\trefs/pull/1"]
    )
    assert found == Advertisement({"refs/heads/main": ONE}, ONE, "refs/heads/main")
    assert read_listing(["<html>"]).empty


def test_long_names_are_seen():
    found = read_trace(trace(f"{LONG} HEAD", f"{LONG} refs/heads/main"))
    assert found is not None
    assert found.sha256


def test_what_a_mirror_lacks():
    remote = Advertisement({"refs/heads/main": ONE, "refs/tags/v": TWO}, ONE, None)
    whole = {"refs/heads/main": ONE, "refs/tags/v": TWO, "refs/relay/HEAD": ONE, "refs/heads/other": TWO}

    assert remote.missing(whole) == []
    assert remote.missing(whole | {"refs/heads/main": TWO}) == ["refs/heads/main"]
    assert remote.missing({"refs/heads/main": ONE, "refs/tags/v": TWO}) == ["refs/relay/HEAD"]
