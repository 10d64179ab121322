"""Stores tags, and completes prompts with them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from relay_core.domain import tags
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.store.schema.tables import Tag
from relay_core.store.tokens import Principal
from relay_core.store.views.paging import Page, PageRequest, cut, paged

View = dict[str, Any]
MOST_PROMPT_CHARACTERS = 1024 * 1024
"""Most characters of a prompt that was completed with tags; a prompt of a client may have as many."""
_COLUMNS: list[Any] = [Tag.id, Tag.tag_name, Tag.content, Tag.created_by, Tag.created_at, Tag.updated_at]


def expand(connection: Connection, prompt: str, owner: str, field: str = "prompt") -> str:
    """Return a prompt with the contents of its owner's tags in place of `@name`.

    A prompt without `@` costs no query.

    Args:
        connection: any transaction.
        prompt: the text of a client.
        owner: whose tags count.
        field: path of the prompt in the request, for the error.

    Raises:
        InvalidInput: `prompt_too_large`: the completed prompt is longer than any prompt may be.
    """
    names = tags.names_in(prompt)
    if not names:
        return prompt
    found = select(Tag.tag_name, Tag.content).where(Tag.created_by == owner, Tag.tag_name.in_(names))
    contents = {name: content for name, content in connection.execute(found)}  # noqa: C416 - rows are no pairs to mypy
    size = tags.expanded_size(prompt, contents)
    if size > MOST_PROMPT_CHARACTERS:
        message = f"the prompt with its tags has {size} characters; at most {MOST_PROMPT_CHARACTERS} are allowed"
        raise InvalidInput(message, code="prompt_too_large", field=field)
    return tags.expanded(prompt, contents)


def create(connection: Connection, name: str, content: str, principal: Principal) -> View:
    """Insert a tag of the principal and return it.

    Raises:
        Conflict: `tag_name_taken`.
    """
    made = upsert(Tag).values(id=uuid4(), tag_name=name, content=content, created_by=principal.owner)
    made = made.on_conflict_do_nothing(constraint="tags_name")
    row = connection.execute(made.returning(*_COLUMNS)).mappings().one_or_none()
    if row is None:
        raise _taken(name)
    return dict(row)


def get(connection: Connection, tag: str, principal: Principal) -> View:
    """Return a tag.

    Args:
        connection: any transaction.
        tag: its id, or the name of a tag of the principal.
        principal: sees its own tags; an admin sees all, by their ids.

    Raises:
        NotFound: there is no such tag, or it belongs to another owner.
    """
    row = connection.execute(_named(tag, principal)).mappings().first()
    if row is None:
        raise NotFound(f"there is no tag {tag}")
    return dict(row)


def listed(connection: Connection, principal: Principal, page: PageRequest, query: str | None = None) -> Page:
    """Return a page of tags, newest first; with ``query`` only those whose names contain it, in any case."""
    statement = _visible(principal)
    if query is not None:
        statement = statement.where(func.strpos(func.lower(Tag.tag_name), query.lower()) > 0)
    rows = connection.execute(paged(statement, Tag.created_at, Tag.id, page, newest_first=True)).mappings()
    return cut([dict(row) for row in rows], page)


def change(connection: Connection, tag: str, values: Mapping[str, str], principal: Principal) -> View:
    """Change the given columns of a tag, and return it.

    Raises:
        NotFound: there is no such tag, or it belongs to another owner.
        Conflict: `tag_name_taken`.
    """
    found = get(connection, tag, principal)
    if not values:
        return found
    changed = update(Tag).where(Tag.id == found["id"]).values(**values, updated_at=func.now()).returning(*_COLUMNS)
    try:
        with connection.begin_nested():
            row = connection.execute(changed).mappings().one_or_none()
    except IntegrityError as error:
        raise _taken(values["tag_name"]) from error
    if row is None:
        raise NotFound(f"there is no tag {tag}")
    return dict(row)


def remove(connection: Connection, tag: str, principal: Principal) -> None:
    """Delete a tag. Prompts that were completed with it stay as they are.

    Raises:
        NotFound: there is no such tag, or it belongs to another owner.
    """
    found = get(connection, tag, principal)
    connection.execute(delete(Tag).where(Tag.id == found["id"]))


def _visible(principal: Principal) -> Select[Any]:
    statement = select(*_COLUMNS)
    return statement if principal.only is None else statement.where(Tag.created_by == principal.only)


def _named(tag: str, principal: Principal) -> Select[Any]:
    mine = (Tag.tag_name == tag) & (Tag.created_by == principal.owner)
    try:
        wanted = mine | (Tag.id == UUID(tag))
    except ValueError:
        wanted = mine
    return _visible(principal).where(wanted).order_by(mine.desc())


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a tag {name!r} already; change it, or take another name", code="tag_name_taken")
