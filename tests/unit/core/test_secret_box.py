"""What is sealed opens with any of the keys, for its own project and name only."""

import base64
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from relay_core.secret_box import SecretBox, SecretName, SecretsNotConfigured, Undecryptable
from relay_core.settings import Settings, wrong_settings

OLD, NEW = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (251, 252))
PLACE = SecretName(UUID(int=1), "TOKEN")


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_a_value_comes_back_and_is_not_in_the_ciphertext(value: str) -> None:
    box = SecretBox([NEW])
    sealed = box.seal(PLACE, value)
    assert box.open(PLACE, sealed) == value
    assert box.seal(PLACE, value) != sealed
    assert len(value) < 8 or value.encode() not in base64.urlsafe_b64decode(sealed)


def test_a_new_key_in_front_opens_what_the_old_one_sealed_and_the_other_way_round_not() -> None:
    sealed = SecretBox([OLD]).seal(PLACE, "x")
    assert SecretBox([NEW, OLD]).open(PLACE, sealed) == "x"
    newer = SecretBox([NEW, OLD]).seal(PLACE, "y")
    with pytest.raises(Undecryptable, match="no key of RELAY_SECRET_KEYS decrypts the secret TOKEN"):
        SecretBox([OLD]).open(PLACE, newer)


@pytest.mark.parametrize("other", [SecretName(UUID(int=2), "TOKEN"), SecretName(UUID(int=1), "OTHER")])
def test_a_ciphertext_in_another_row_is_refused(other: SecretName) -> None:
    box = SecretBox([NEW])
    with pytest.raises(Undecryptable, match="was not stored as that"):
        box.open(other, box.seal(PLACE, "x"))


def test_without_a_key_it_says_what_to_set() -> None:
    for use in (lambda box: box.seal(PLACE, "x"), lambda box: box.open(PLACE, b"x"), SecretBox.check):
        with pytest.raises(SecretsNotConfigured, match="set RELAY_SECRET_KEYS"):
            use(SecretBox([]))


def test_keys_come_from_the_environment_and_then_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{OLD}\n")
    monkeypatch.setenv("RELAY_SECRET_KEYS", NEW.replace("-", "+").replace("_", "/"))
    assert Settings(secret_keys_file=file).all_secret_keys == (NEW, OLD)
    assert NEW not in repr(Settings())


@pytest.mark.parametrize("wrong", ["sesame-sesame", NEW[:-8], NEW + "AAAA", "ä" * 43, ""])
def test_a_key_that_is_none_is_refused_without_repeating_it(wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(wrong)
    given: list[dict] = [{"secret_keys_file": file}, {"secret_keys": f"{NEW},{wrong}"}]
    for values in given[: 2 if wrong else 1]:
        with pytest.raises(ValidationError) as caught:
            Settings(**values)
        said = wrong_settings(caught.value)
        assert "RELAY_SECRET_KEYS" in said
        assert "openssl rand -base64 32" in said or "holds no key" in said
        assert not wrong or wrong not in said
    with pytest.raises(ValidationError, match="cannot be read: No such file"):
        Settings(secret_keys_file=tmp_path / "none")
