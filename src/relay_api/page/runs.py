"""Routes of runs: the list, one run with its steps, and its forms (cancel, run again, follow up)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from relay_api.dependencies import ServicesDep
from relay_api.page.browser import Elsewhere, Posted, SignedIn
from relay_api.page.rendering import HEADERS, PageRoute, render
from relay_api.page.run_notes import notes_of
from relay_api.page.steps import shown_step, waits_for
from relay_api.page.troubles import troubles
from relay_api.services import Services
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Conclusion, RunStatus
from relay_core.store.database import Connection
from relay_core.store.runs import change
from relay_core.store.runs.rerun import From, rerun
from relay_core.store.tokens import Principal
from relay_core.store.views import execution_views, lookup, paging, run_views
from relay_core.store.views.access import require_run
from relay_core.store.views.paging import PageRequest
from relay_core.store.views.run_views import RunFilter
from relay_core.store.workspaces.follow_up import add_follow_up

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PAGE = 40
"""Runs on a page of the list."""
MOST_STEPS = 200
STATES = [*(status for status in RunStatus if status is not RunStatus.COMPLETED), *Conclusion]
"""The values of the list's field for the status: statuses of a run that goes on, and conclusions."""
Text = Annotated[str, Query(max_length=200)]
GivenId = Annotated[str, Path(max_length=100)]


@dataclass(frozen=True)
class OfRun:
    """A run with its steps."""

    run: dict[str, Any]
    steps: list[dict[str, Any]]


def load_run(connection: Connection, services: Services, principal: Principal, run_id: UUID) -> OfRun:
    """Return a run with its steps, as the page shows them.

    Raises:
        NotFound: there is no such run, or it belongs to another owner.
    """
    run = run_views.run(connection, run_id, principal)
    page = execution_views.run_executions(connection, run_id, principal, PageRequest(limit=MOST_STEPS))
    waiting = run["current_step"] if run["queue"] else None
    steps = []
    for view in page.items:
        queue = run["queue"] if waiting and waiting["execution_id"] == view["id"] else None
        steps.append(shown_step({**view, "queue": queue}, services.settings.flower_url))
    run["timings"] = _timings_by_now(run)
    why = waits_for(run["queue"]) if run["queue"] else None
    run["waits_because"] = why and why[:1].upper() + why[1:]
    return OfRun(run, steps)


def _timings_by_now(run: dict[str, Any]) -> dict[str, float | None]:
    """Return the clocks of a run; the clock that has begun and not ended shows the time since it began."""
    timings: dict[str, float | None] = dict(run["timings"])
    if run["completed_at"] is None:
        left = (datetime.now(UTC) - run["created_at"]).total_seconds()
        for name in ("queue_seconds", "start_seconds", "run_seconds"):
            known = timings[name]
            if known is None:
                timings[name] = max(0.0, left)
                break
            left -= known
    return timings


@dataclass
class Filters:
    """The fields above the list of runs, as texts; an empty one sets no condition."""

    q: Text = ""
    state: Text = ""
    repo: Text = ""
    label: Text = ""

    def conditions(self) -> RunFilter:
        """Return the filter of the query; a status that does not exist sets no condition."""
        name, _, value = self.label.partition("=")
        return RunFilter(
            status=[RunStatus(self.state)] if self.state in set(RunStatus) else (),
            conclusion=[Conclusion(self.state)] if self.state in set(Conclusion) else (),
            labels=((name.strip(), value.strip()),) if name.strip() else (),
            repo=self.repo.strip() or None,
            q=self.q.strip() or None,
        )


@router.get("/")
def list_runs(
    request: Request,
    services: ServicesDep,
    browser: SignedIn,
    filters: Annotated[Filters, Depends()],
    cursor: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Return the list of runs, or for htmx the part of it that changes."""
    given = {name: value for name, value in vars(filters).items() if value}
    page = PageRequest(PAGE, paging.decode(cursor) if cursor else None)
    with services.database.connect() as connection:
        found = run_views.list_runs(connection, browser.principal, filters.conditions(), page)
    values = {
        "runs": [_row(run) for run in found.items],
        "filters": filters,
        "filtered": bool(given),
        "states": STATES,
        "live": not cursor,
        "cursor": cursor,
        "self_url": _url(given),
        "first_url": _url(given),
        "next_url": _url({**given, "cursor": found.next_cursor}) if found.next_cursor else None,
    }
    return render("_runs.html" if "hx-request" in request.headers else "runs.html", values, browser=browser)


def _url(query: dict[str, str]) -> str:
    return "/" + (f"?{urlencode(query)}" if query else "")


def _row(run: dict[str, Any]) -> dict[str, Any]:
    timings = _timings_by_now(run)
    known = [value for value in timings.values() if value is not None]
    note = run["message"] if run["conclusion"] not in {None, Conclusion.SUCCESS} else None
    if run["queue"]:
        note = waits_for(run["queue"])
    return {**run, "note": note, "took": sum(known) if known else None}


@router.get("/runs/{run_id}")
def show_run(run_id: GivenId, services: ServicesDep, browser: SignedIn) -> Response:
    """Return a run with its steps; the first digits of its id, or the id of a related thing, lead to its address."""
    with services.database.connect() as connection:
        found = lookup.resolve(connection, "run", run_id, browser.principal)
    if str(found) != run_id:
        raise Elsewhere(f"/runs/{found}")
    return _render_run("run.html", found, services, browser)


@router.get("/runs/{run_id}/head")
def show_head(run_id: UUID, services: ServicesDep, browser: SignedIn, *, short: bool = False) -> Response:
    """Return the head of a run's page, which changes while the run goes on; `short` is without clocks and forms."""
    return _render_run("_run_head.html", run_id, services, browser, "" if short else "steps")


@router.get("/runs/{run_id}/steps")
def show_steps(run_id: UUID, services: ServicesDep, browser: SignedIn) -> Response:
    """Return the steps of a run's page, which change while the run goes on."""
    return _render_run("_steps.html", run_id, services, browser)


def _render_run(template: str, run_id: UUID, services: Services, browser: SignedIn, tab: str = "steps") -> Response:
    with services.database.connect() as connection:
        of_run = load_run(connection, services, browser.principal, run_id)
        bad = troubles(connection, [of_run.run["workspace_id"]]) if template == "run.html" else []
    values = {"run": of_run.run, "steps": of_run.steps, "tab": tab, "troubles": bad}
    return render(template, values, browser=browser)


@router.post("/runs/{run_id}/cancel")
async def cancel_run(run_id: UUID, services: ServicesDep, browser: SignedIn, form: Posted) -> Response:  # noqa: ARG001 - checks the form
    """Cancel a run."""

    def ask(connection: Connection) -> UUID:
        require_run(connection, run_id, browser.principal)
        change.cancel(connection, run_id, browser.principal.owner)
        return run_id

    return await _act(services, ask)


@router.post("/runs/{run_id}/rerun")
async def run_again(run_id: UUID, services: ServicesDep, browser: SignedIn, form: Posted) -> Response:
    """Queue a run again, from its start or from the failed step, and show the new run."""
    source: From = "failed_step" if form.get("from") == "failed_step" else "start"

    def ask(connection: Connection) -> UUID:
        require_run(connection, run_id, browser.principal)
        return rerun(connection, run_id, source, browser.principal, services.settings)

    return await _act(services, ask)


@router.post("/runs/{run_id}/follow-up")
async def follow_up(run_id: UUID, services: ServicesDep, browser: SignedIn, form: Posted) -> Response:
    """Queue the next turn of the run's agent."""
    prompt = form.get("prompt", "").strip()
    if not prompt:
        raise InvalidInput("say what the agent shall do", field="prompt")
    notes = notes_of(form)

    def ask(connection: Connection) -> UUID:
        session = run_views.run(connection, run_id, browser.principal)["session_id"]
        execution = add_follow_up(connection, session, prompt, browser.principal, notes)
        new: UUID = execution_views.execution(connection, execution, browser.principal)["run_id"]
        return new

    return await _act(services, ask)


async def _act(services: Services, act: Callable[[Connection], UUID]) -> Response:
    """Carry out a form in one transaction, and show the run whose id it returns."""
    run_id = await run_in_threadpool(services.database.transact, act)
    return RedirectResponse(f"/runs/{run_id}", 303, headers=HEADERS)
