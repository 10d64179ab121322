"""The states of a clone's and a pull's progress, read from the lines of the log that Relay keeps of a clone."""

import re
from dataclasses import dataclass

_STATE = re.compile(
    r"(?:remote: )?(?P<label>[A-Z][A-Za-z ]{2,30}): +\d{1,3}% \((?P<done>\d{1,15})/(?P<total>\d{1,15})\)(?P<rest>.*)"
)


@dataclass(frozen=True)
class Progress:
    """How far a part of the work has come: `done` of `total` things (objects, files, MiB)."""

    label: str
    done: int
    total: int
    detail: str = ""
    """Amount and speed, as git prints them behind the numbers."""


def read_progress(line: str) -> Progress | None:
    """Return the progress that a line of a clone's log tells; None for any other line."""
    found = _STATE.fullmatch(line.strip())
    if found is None:
        return None
    detail = found["rest"].strip(" ,").removesuffix("done.").rstrip(" ,")
    return Progress(found["label"], int(found["done"]), int(found["total"]), detail)
