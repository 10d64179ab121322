"""Schemas of the notes of clients on a run: its title, labels and metadata."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from relay_api.schemas.common import NO_NUL, Input, ShortText
from relay_core.domain.run_notes import MOST_LABEL_CHARACTERS, MOST_LABELS, MOST_METADATA_BYTES, RunNotes

LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelText = Annotated[str, StringConstraints(max_length=MOST_LABEL_CHARACTERS, pattern=NO_NUL)]


class NotesIn(Input):
    """Notes on the run that a request makes."""

    title: ShortText | None = Field(
        None, description="Title of the run; null: the prompt's first line, or the kind of script and its repository."
    )
    labels: dict[LabelName, LabelText] = Field(
        default_factory=dict,
        max_length=MOST_LABELS,
        description="Names and values by which the run is found again (`GET /v1/runs?label=name=value`).",
        examples=[{"team": "web"}],
        json_schema_extra={"additionalProperties": False},
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        description=f"Any JSON object of yours, up to {MOST_METADATA_BYTES} bytes; Relay only keeps it.",
    )

    def notes(self) -> RunNotes:
        """Return the notes as use cases take them."""
        return RunNotes(self.title, self.labels, self.metadata)
