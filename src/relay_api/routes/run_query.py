"""The query parameters by which a list of runs is filtered."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query

from relay_api.ids import OfNamedProject
from relay_api.schemas.patterns import NO_NUL
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Conclusion, RunStatus
from relay_core.store.views.run_views import RunFilter

Text = Annotated[str | None, Query(min_length=1, max_length=2048, pattern=NO_NUL)]


def _end(
    status: Annotated[list[RunStatus] | None, Query(description="Only runs with one of these values.")] = None,
    conclusion: Annotated[list[Conclusion] | None, Query(description="Only runs with one of these values.")] = None,
    since: Annotated[
        str | None,
        Query(
            max_length=64,
            description="Only runs that were created at this time or later: ISO 8601, without offset UTC.",
            examples=["2026-01-31", "2026-01-31T08:00:00Z"],
        ),
    ] = None,
) -> RunFilter:
    return RunFilter(status=status or (), conclusion=conclusion or (), since=None if since is None else _time(since))


def _wanted(
    end: Annotated[RunFilter, Depends(_end)],
    project: OfNamedProject,
    repo: Annotated[Text, Query(description="URL of a repository, or its name.")] = None,
    label: Annotated[
        list[Annotated[str, Query(max_length=512)]] | None,
        Query(max_length=20, description="`name=value`; given several times, a run has all of them."),
    ] = None,
    q: Annotated[Text, Query(description="A text in the title; upper and lower case count as the same.")] = None,
) -> RunFilter:
    named = None if project is None else str(project)
    labels = tuple(_label(text) for text in label or ())
    return RunFilter(end.status, end.conclusion, named, repo, labels, end.since, q)


Wanted = Annotated[RunFilter, Depends(_wanted)]


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is no time; write it as 2026-01-31 or 2026-01-31T08:00:00Z"
        raise InvalidInput(message, code="time_invalid", field="query.since") from error


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInput(f"{text!r} is no label; write name=value", code="label_invalid", field="query.label")
    return name, value
