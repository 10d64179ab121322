"""`relay workspace quarantine | restore | purge`, `relay project restore | purge | clean-up`: what was deleted."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from relay_cli import completion, output
from relay_cli.asking import Yes, make_sure
from relay_cli.client import Api, connect
from relay_cli.commands.ids import id_argument
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import age, local_time, plural, seconds_between
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line
from relay_core.domain.quantities import quantity

COLUMNS = ("ID", "TITLE", "PROJECT", "NODE", "STATE", "DELETED", "KEPT UNTIL")
DeletedIds = Annotated[list[str], id_argument("Ids of deleted workspaces; see `relay workspace quarantine`.")]
ProjectId = Annotated[
    str, typer.Argument(metavar="PROJECT", help="Id of a project; a name finds one that is not deleted.")
]
Project = Annotated[
    str | None, typer.Option(help="Only those of this project: its name or id.", autocompletion=completion.projects)
]


def quarantine(
    project: Project = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List deleted workspaces whose files are kept and can be restored, newest first.

    Example: relay workspace quarantine
    """
    found = list(connect().items("/v1/quarantine", limit, project_id=project))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    now = datetime.now(UTC)
    print_table(COLUMNS, [_cells(each, now) for each in found])


def _cells(found: Mapping[str, Any], now: datetime) -> list[str]:
    return [
        short(found["id"]),
        safe_line(found["title"]),
        safe_line(found["project"]),
        safe_line(found["node_id"] or "-"),
        found["quarantine"] or "-",
        age(seconds_between(found["deleted_at"], None, now)),
        local_time(found["kept_until"]) if found["kept_until"] else "-",
    ]


def restore(ids: DeletedIds, as_json: Json = False) -> None:
    """Bring deleted workspaces back, with all of their files; they are stopped then.

    Example: relay workspace restore 3f2a91bc
    """
    api = connect()
    asked = [api.call("POST", f"/v1/workspaces/{each}/restore") for each in ids]
    if as_json:
        output.show_list(asked, (), as_json=True)
        return
    for each in asked:
        note(f"workspace {short(each['id'])} comes back, stopped: relay workspace resume {short(each['id'])}")


def purge(
    ids: Annotated[list[str], id_argument("Ids of workspaces, deleted or not.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete workspaces for good: their files are removed at once, and nothing brings them back.

    Example: relay workspace purge 3f2a91bc
    """
    api = connect()
    purged = [_purge(api, f"/v1/workspaces/{each}", f"workspace {each}", yes=yes) for each in ids]
    _say(purged, "workspace", as_json=as_json)


def restore_project(name: ProjectId, as_json: Json = False) -> None:
    """Bring a deleted project back, with its workspaces that are kept. Its secrets have to be stored again.

    Example: relay project restore fc90ec5e
    """
    back = connect().call("POST", f"{_path(name)}/restore")
    if as_json:
        output.show(back, as_json=True)
    else:
        note(f"project {short(back['id'])} is back; {plural(len(back['workspaces']), 'workspace')} of it come back")


def purge_project(name: ProjectId, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a project for good: the files of all its workspaces are removed at once.

    Example: relay project purge shop
    """
    _say([_purge(connect(), _path(name), f"project {safe_line(name)}", yes=yes)], "project", as_json=as_json)


def clean_up(
    name: ProjectId,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Only workspaces that have not changed for so long: 12h, 7d.")
    ] = "0s",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete the archived workspaces of a project, except pinned ones; they can be restored for a while.

    Example: relay project clean-up shop --older-than 7d
    """
    try:
        unchanged = quantity("age_seconds", older_than)
    except ValueError as error:
        raise CommandFailed(f"--older-than: {error}", 2) from error
    api, path, body = connect(), f"{_path(name)}/clean-up", {"unchanged_seconds": unchanged}
    preview = api.call("POST", f"{path}/preview", json=body)
    _consent(preview, f"clean up the archive of {safe_line(name)}", yes=yes)
    done = api.call("POST", path, json={**body, "generation": preview["generation"]})
    if as_json:
        output.show(done, as_json=True)
    else:
        note(f"deleted {plural(len(done['workspaces']), 'archived workspace')}; relay workspace quarantine lists them")


def _purge(api: Api, path: str, what: str, *, yes: bool) -> dict[str, Any]:
    preview = api.call("POST", f"{path}/purge/preview")
    _consent(preview, f"remove {what} for good", yes=yes)
    done: dict[str, Any] = api.call("POST", f"{path}/purge", json={"generation": preview["generation"]})
    return done


def _consent(preview: Mapping[str, Any], what: str, *, yes: bool) -> None:
    if preview["blockers"]:
        raise CommandFailed("; ".join(safe_line(one["message"]) for one in preview["blockers"]))
    for one in preview["warnings"]:
        note(safe_line(one["message"]))
    make_sure(f"{what}: {'; '.join(safe_line(one['change']) for one in preview['mutations'])}", yes=yes)


def _say(purged: list[dict[str, Any]], kind: str, *, as_json: bool) -> None:
    if as_json:
        output.show_list(purged, (), as_json=True)
        return
    for each in purged:
        ended = f"; {plural(each['killed'], 'execution')} asked to end" if each["killed"] else ""
        note(f"{kind} {short(each['id'])} is removed for good{ended}")


def _path(name: str) -> str:
    return f"/v1/projects/{quote(name, safe='')}"
