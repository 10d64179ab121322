"""The masker against an oracle that sees the whole text at once."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay_core.domain.logs.masking import SEARCH_BYTES, Masker, SecretMask, context_bytes

LETTERS = st.sampled_from(b"ab")
SECRETS = st.lists(st.lists(LETTERS, min_size=1, max_size=7).map(bytes), min_size=1, max_size=4)
TEXT = st.lists(LETTERS, max_size=60).map(bytes)
CUTS = st.lists(st.integers(0, 60), max_size=12)


def _oracle(text: bytes, secrets: list[bytes]) -> bytes:
    out = bytearray(text)
    for secret in secrets:
        for at in range(len(text) - len(secret) + 1):
            if text[at : at + len(secret)] == secret:
                out[at : at + len(secret)] = b"*" * len(secret)
    return bytes(out)


def _pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=600)
@given(SECRETS, TEXT, CUTS)
@example([b"xab", b"abcd"], b"xabab", [3])
def test_any_chunking_gives_what_the_whole_text_gives(secrets: list[bytes], text: bytes, cuts: list[int]) -> None:
    masker = Masker(secrets)
    out = b"".join(masker.feed(piece) for piece in _pieces(text, cuts)) + masker.finish()
    assert out == _oracle(text, secrets)
    assert masker.held == 0


@settings(max_examples=400)
@given(SECRETS, TEXT, st.integers(0, 60), CUTS)
def test_it_goes_on_at_any_offset_with_the_raw_bytes_before_it(
    secrets: list[bytes], text: bytes, offset: int, cuts: list[int]
) -> None:
    offset = min(offset, len(text))
    masker = Masker(secrets, context=text[max(0, offset - context_bytes(secrets)) : offset])
    assert masker.held == 0
    out = b"".join(masker.feed(piece) for piece in _pieces(text[offset:], cuts)) + masker.finish()
    assert out == _oracle(text, secrets)[offset:]


@settings(max_examples=300)
@given(SECRETS, TEXT, CUTS)
def test_it_holds_back_no_more_than_the_beginning_of_a_secret(
    secrets: list[bytes], text: bytes, cuts: list[int]
) -> None:
    masker, given_out, fed = Masker(secrets), 0, b""
    for piece in _pieces(text, cuts):
        given_out += len(masker.feed(piece))
        fed += piece
        assert masker.held == len(fed) - given_out
        tail = fed[given_out:]
        assert not tail or any(secret.startswith(tail) and secret != tail for secret in secrets)


@settings(max_examples=200)
@given(SECRETS, TEXT)
def test_a_whole_text_is_masked_as_a_stream_is(secrets: list[bytes], text: bytes) -> None:
    mask = SecretMask(secrets)
    assert mask.data(text) == mask.text(text.decode()).encode() == _oracle(text, secrets)


def test_a_text_that_may_grow_does_not_show_the_beginning_of_a_secret() -> None:
    mask = SecretMask([b"a-long-secret", "ein-Schlüssel".encode()])
    assert [mask.text(f"it is {text}") for text in ("a-long-secret!", "a-long-se", "a-long", "ein-Schlüs")] == [
        "it is *************!",
        "it is *********",
        "it is a-long",
        "it is ***********",
    ]
    assert SecretMask().text("anything") == "anything"


def test_a_stream_made_of_secrets_only() -> None:
    for secret in (b"a" * 8, b"abababab", b"0123456789", b"a" * 3000):
        text = secret * (200_000 // len(secret))
        masker = Masker([secret])
        assert masker.feed(text) + masker.finish() == b"*" * len(text)


@settings(max_examples=50)
@given(st.integers(-20, 20), st.binary(min_size=9, max_size=40))
def test_a_secret_across_the_pieces_of_one_search(shift: int, secret: bytes) -> None:
    text = bytearray(b"." * (3 * SEARCH_BYTES))
    for piece in (1, 2):
        at = piece * SEARCH_BYTES + shift
        text[at : at + len(secret)] = secret
    masker = Masker([secret])
    assert masker.feed(bytes(text)) + masker.finish() == bytes(text).replace(secret, b"*" * len(secret))


def test_bytes_that_are_no_secret_stay_what_they_are() -> None:
    text = random.Random(1).randbytes(100_000)
    masker = Masker([b"not in there", b"nor is this one"])
    assert masker.feed(text) + masker.finish() == text
    assert Masker([]).feed(text) is text


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Masker([b""])
