"""Parts of a workspace: what fits, and what the source refuses before a target does."""

import pytest

from relay_core.domain.errors import Conflict
from relay_core.store.transfer.codec import Record, packed, unpacked


def test_text_of_any_language_takes_its_bytes_only():
    record = Record("entry", {"text": "\u6f22" * (5 << 19) + "\n"})  # 7.5 MiB as UTF-8, and twice as many as escapes
    assert list(unpacked(packed([record]))) == [record]


@pytest.mark.parametrize("records", [[9 << 20], [6 << 20] * 3])
def test_what_a_target_would_refuse_is_refused_by_the_source(records: list[int]):
    with pytest.raises(Conflict, match="bytes") as refused:
        packed([Record("head", {"text": "x" * size}) for size in records])
    assert refused.value.code == "workspace_too_large"
