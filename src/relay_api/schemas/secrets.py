"""Schemas of projects' secrets; answers contain names and times, never values."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from relay_api.schemas.common import Input, Output
from relay_api.schemas.patterns import NO_NUL, VARIABLE
from relay_core.store.projects.secrets import MAX_SECRET_BYTES

SecretName = Annotated[str, StringConstraints(max_length=255, pattern=VARIABLE)]


class SecretIn(Input):
    """Request to store the value of a secret."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SECRET_BYTES, pattern=NO_NUL)] = Field(
        description=f"At most {MAX_SECRET_BYTES} bytes of UTF-8. Write-only. Of less than 8 bytes it is not masked."
    )


class SecretOut(Output):
    """A secret without its value; no answer contains the value."""

    name: str
    created_by: str
    created_at: datetime
    updated_at: datetime = Field(description="When its value was stored.")


class SecretList(Output):
    """All secrets of a project, ordered by name."""

    items: list[SecretOut]
