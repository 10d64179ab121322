"""Schemas of the notes of clients on a run: its title, labels and metadata."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from relay_api.schemas.common import Input, ShortText
from relay_api.schemas.patterns import LABEL, NO_NUL
from relay_core.domain.run_notes import MOST_LABEL_CHARACTERS, MOST_LABELS, MOST_METADATA_BYTES, RunNotes

LabelName = Annotated[str, StringConstraints(pattern=LABEL)]
LabelText = Annotated[str, StringConstraints(max_length=MOST_LABEL_CHARACTERS, pattern=NO_NUL)]

Labels = Annotated[
    dict[LabelName, LabelText],
    Field(
        max_length=MOST_LABELS,
        description="Names and values by which the run is found again (`GET /v1/runs?label=name=value`).",
        examples=[{"team": "web"}],
        json_schema_extra={"additionalProperties": False},
    ),
]
Metadata = Annotated[
    dict[str, Any],
    Field(
        description=f"Any JSON object of yours, up to {MOST_METADATA_BYTES} bytes; Relay only keeps it.",
        examples=[{"ticket": "APP-12", "reviewers": ["ann"]}],
    ),
]


class NotesIn(Input):
    """Notes on the run that a request makes."""

    title: ShortText | None = Field(
        None, description="Title of the run; null: the prompt's first line, or the kind of script and its repository."
    )
    labels: Labels = Field(default_factory=dict)
    metadata: Metadata = Field(default_factory=dict)

    def notes(self) -> RunNotes:
        """Return the notes as use cases take them."""
        return RunNotes(self.title, self.labels, self.metadata)
