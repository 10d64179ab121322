"""The fields of a form for a run's title and labels."""

from collections.abc import Mapping

from relay_core.domain.errors import InvalidInput
from relay_core.domain.run_notes import RunNotes

MOST_TITLE_CHARACTERS = 255


def notes_of(form: Mapping[str, str]) -> RunNotes:
    """Return the title and the labels that a person wrote into a form; both may be empty.

    Args:
        form: its fields `title` and `labels` (`name=value`, separated by commas) are read.

    Raises:
        InvalidInput: the title is too long, or a label has no name or no ``=``.
    """
    title = form.get("title", "").strip()
    if len(title) > MOST_TITLE_CHARACTERS or "\0" in title:
        message = f"the title may have {MOST_TITLE_CHARACTERS} characters, without NUL"
        raise InvalidInput(message, field="title")
    labels = {}
    for text in filter(None, (part.strip() for part in form.get("labels", "").split(","))):
        name, equals, value = text.partition("=")
        if not name.strip() or not equals:
            raise InvalidInput(f"{text!r} is no label; write name=value", code="label_invalid", field="labels")
        labels[name.strip()] = value.strip()
    return RunNotes(title or None, labels)
