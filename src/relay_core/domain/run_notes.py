"""The notes of clients on a run (title, labels, metadata), and how a merge patch (RFC 7396) changes them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay_core.domain.errors import InvalidInput
from relay_core.domain.json_values import fault_of

MOST_LABELS = 50
MOST_LABEL_CHARACTERS = 255
MOST_METADATA_BYTES = 16 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


@dataclass(frozen=True)
class RunNotes:
    """Notes of a client on the run that its request makes."""

    title: str | None = None
    """None: Relay names the run after its prompt or script."""
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise an error unless the notes can be stored.

        Raises:
            InvalidInput: see `check_labels` and `check_metadata`.
        """
        check_labels(self.labels)
        check_metadata(self.metadata)

    def given(self) -> list[str]:
        """Return the names of the fields that the client gave."""
        return [name for name, value in vars(self).items() if value]


NO_NOTES = RunNotes()


def merged(stored: Mapping[str, Any], patch: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an object changed by a merge patch: null removes a value, an object is merged, all else replaces.

    Args:
        stored: the object.
        patch: the changes; None removes everything.
    """
    if patch is None:
        return {}
    result = dict(stored)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise an error unless the labels can be stored.

    Raises:
        InvalidInput: there are too many, or a name or value is not allowed.
    """
    if len(labels) > MOST_LABELS:
        raise InvalidInput(f"a run may have {MOST_LABELS} labels, these are {len(labels)}", field="labels")
    for name, value in labels.items():
        if not _NAME.fullmatch(name):
            message = (
                f"{name[:80]!r} is no name of a label: 1 to 63 of A-Z a-z 0-9 . _ / -, the first a letter or digit"
            )
            raise InvalidInput(message, code="label_invalid", field="labels")
        if len(value) > MOST_LABEL_CHARACTERS or "\0" in value:
            message = f"the value of the label {name!r} may have {MOST_LABEL_CHARACTERS} characters, without NUL"
            raise InvalidInput(message, code="label_invalid", field=f"labels.{name}")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise an error unless the metadata can be stored.

    Raises:
        InvalidInput: they are too large, or a value in them cannot be stored.
    """
    check_object(metadata, "metadata")


def check_object(value: Mapping[str, Any], field: str) -> None:
    """Raise an error unless an object of a client can be stored.

    Raises:
        InvalidInput: `<field>_too_large`, or `<field>_invalid`: a value in it cannot be stored.
    """
    text = json.dumps(value, ensure_ascii=False)
    if len(text.encode("utf-8", "surrogatepass")) > MOST_METADATA_BYTES:
        message = f"{field} may have {MOST_METADATA_BYTES} bytes as JSON"
        raise InvalidInput(message, code=f"{field}_too_large", field=field)
    if fault := fault_of(value):
        raise InvalidInput(f"{field} has {fault}, which cannot be stored", code=f"{field}_invalid", field=field)
