"""Uploaded images over HTTP: what is accepted, whose they are, which tasks they belong to, and how long they are kept."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from socket import create_connection
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from relay_api.http.body_limit import MOST_LARGER
from relay_core.store.schema.tables import Image, Project, Task, TaskImage
from relay_core.store.shared import images
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, api_on_a_port, problem_of, settings_for
from tests.support.pictures import gif, png, png_header


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    more = {"image_max_bytes": 6 << 20, "image_max_pixels": 1_000_000}
    with api_in_process(database, settings_for(database_url, redis_url, **more)) as api:
        yield api


def upload(api: Api, data: bytes, name: str = "shot.png", who: str = "ann", **options: Any):
    return api.post("/v1/images", {"name": name, "data": base64.b64encode(data).decode()}, who, **options)


def image(api: Api, data: bytes | None = None, who: str = "ann") -> dict[str, Any]:
    answer = upload(api, png() if data is None else data, who=who)
    assert answer.status_code == 201, answer.text
    return answer.json()


def put(api: Api, path: str, who: str = "ann"):
    return api.client.put(path, headers=api.as_(who))


def count(api: Api, table: Any = Image) -> int:
    with api.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_an_image_is_uploaded_read_and_deleted(api: Api):
    data = png(30, 20)
    made = upload(api, data, "../../My shot.jpg").json()
    assert {
        key: made[key] for key in ("original_name", "mime_type", "size_bytes", "width", "height", "hash", "task_ids")
    } == {
        "original_name": "My shot.jpg",
        "mime_type": "image/png",
        "size_bytes": len(data),
        "width": 30,
        "height": 20,
        "hash": hashlib.sha256(data).hexdigest(),
        "task_ids": [],
    }
    assert made["file_path"] == f"my-shot-{made['hash'][:8]}.png"
    assert api.get(f"/v1/images/{made['id']}", "reader").json() == made
    content = api.get(f"/v1/images/{made['id']}/content")
    assert (content.content, content.headers["content-type"]) == (data, "image/png")
    assert content.headers["content-disposition"] == f'attachment; filename="{made["file_path"]}"'
    assert content.headers["x-content-type-options"] == "nosniff"
    assert api.get("/v1/images").json()["items"] == [made]
    assert api.delete(f"/v1/images/{made['id']}").status_code == 204
    for answer in (api.delete(f"/v1/images/{made['id']}"), api.get(f"/v1/images/{made['id']}/content")):
        assert problem_of(answer)[:2] == (404, "not_found")


def test_the_same_bytes_are_stored_once_for_an_owner(api: Api):
    first, again, other = image(api), upload(api, png(), "another name.gif").json(), image(api, png(shade=9))
    assert (again["id"], again["original_name"]) == (first["id"], "shot.png")
    assert other["id"] != first["id"]
    theirs = image(api, who="bob")
    assert theirs["id"] != first["id"]
    assert count(api) == 3


def test_images_of_others_are_not_seen(api: Api):
    theirs = image(api, who="bob")
    path = f"/v1/images/{theirs['id']}"
    assert [api.get(path).status_code, api.get(f"{path}/content").status_code, api.delete(path).status_code] == [
        404
    ] * 3
    assert api.get("/v1/images").json()["items"] == []
    assert api.get(path, "admin").json() == theirs
    assert problem_of(api.post("/v1/runs", RUN | {"image_ids": [theirs["id"]]})) == (
        422,
        "image_unknown",
        ["image_ids"],
    )
    assert problem_of(upload(api, png(), who="reader"))[:2] == (403, "scope_missing")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_type_unknown"),
        (b"\x7fELF" + bytes(64), "image_type_unknown"),
        (png()[:18], "image_damaged"),
        (png_header(1001, 1000), "image_too_large"),
        (png_header(60_000, 1), "image_too_large"),
        (png() + bytes(6 << 20), "image_too_large"),
    ],
)
def test_a_hostile_image_is_refused(api: Api, data: bytes, code: str):
    assert problem_of(upload(api, data)) == (422, code, ["data"])
    assert count(api) == 0


def test_a_body_may_be_as_large_as_the_largest_image_and_no_larger(api: Api):
    assert upload(api, png() + bytes((6 << 20) - len(png()))).status_code == 201
    assert problem_of(upload(api, png() + bytes(7 << 20)))[:2] == (413, "body_too_large")
    assert problem_of(api.post("/v1/tags", {"tag_name": "a", "content": "x" * (5 << 20)}))[:2] == (
        413,
        "body_too_large",
    )
    assert problem_of(api.post("/v1/images", {"name": "a", "data": "%%%%"})) == (422, "image_damaged", ["data"])


def test_an_upload_that_is_repeated_with_its_key_answers_the_same(api: Api):
    headers = {"Idempotency-Key": "k"}
    first, again = (upload(api, png(), headers=headers) for _ in range(2))
    assert (first.json(), again.headers["idempotency-replayed"]) == (again.json(), "true")


def test_images_are_given_to_tasks_and_taken_from_them(api: Api):
    one, other = image(api), image(api, gif())
    run = api.run(image_ids=[one["id"], one["id"]])
    task = run["task_id"]
    assert api.get(f"/v1/images/{one['id']}").json()["task_ids"] == [task]
    assert put(api, f"/v1/tasks/{task}/images/{other['id']}").status_code == 204
    assert put(api, f"/v1/tasks/{task}/images/{other['id']}").status_code == 204, "asking again changes nothing"
    of_task = api.get(f"/v1/images?task_id={task}").json()["items"]
    assert [each["id"] for each in of_task] == [other["id"], one["id"]]
    assert problem_of(api.delete(f"/v1/images/{one['id']}"))[:2] == (409, "image_in_use")
    assert put(api, f"/v1/tasks/{task}/images/{one['id']}", "bob").status_code == 404
    assert problem_of(put(api, f"/v1/tasks/{task}/images/{uuid4()}"))[:2] == (422, "image_unknown")
    assert api.delete(f"/v1/tasks/{task}/images/{one['id']}").status_code == 204
    assert problem_of(api.delete(f"/v1/tasks/{task}/images/{one['id']}"))[:2] == (404, "not_found")
    assert api.delete(f"/v1/images/{one['id']}").status_code == 204


@pytest.mark.parametrize("deleted", [Task, Project])
def test_an_image_of_deleted_tasks_only_can_be_deleted_and_is_swept(api: Api, deleted: Any):
    first, second, both = image(api), image(api, gif()), image(api, png(shade=1))
    api.run(image_ids=[first["id"], second["id"], both["id"]])
    with api.database.begin() as connection:
        connection.execute(update(deleted).values(deleted_at=func.now()))
        connection.execute(update(Image).values(created_at=Image.created_at - timedelta(hours=25)))
    live = api.run(image_ids=[both["id"]], repos=[{"url": "https://git.example.org/team/other.git"}])["task_id"]
    assert api.get(f"/v1/images/{both['id']}").json()["task_ids"] == [live]
    assert api.delete(f"/v1/images/{first['id']}").status_code == 204
    assert "belongs to 1 task;" in api.delete(f"/v1/images/{both['id']}").json()["detail"]
    with api.database.begin() as connection:
        assert images.forget_unused(connection, 24) == 1
    assert [each["id"] for each in api.get("/v1/images").json()["items"]] == [both["id"]]


def test_bytes_that_are_uploaded_again_have_their_whole_time(api: Api):
    made = image(api)
    with api.database.begin() as connection:
        connection.execute(update(Image).values(created_at=Image.created_at - timedelta(hours=25)))
    assert image(api)["id"] == made["id"]
    with api.database.begin() as connection:
        assert images.forget_unused(connection, 24) == 0


def test_a_follow_up_brings_images_to_the_task(api: Api):
    run = api.run(executor={"name": "claude-code"})
    worker = Worker(api.database)
    worker.finish(worker.claim(run["execution_id"]))
    worker.ready(run["workspace_id"])
    made = image(api)
    body = {"prompt": "look at this", "image_ids": [made["id"]]}
    assert api.post(f"/v1/sessions/{run['session_id']}/follow-ups", body).status_code == 202
    assert api.get(f"/v1/images/{made['id']}").json()["task_ids"] == [run["task_id"]]
    unknown = {"prompt": "and this", "image_ids": [str(uuid4())]}
    assert api.post(f"/v1/sessions/{run['session_id']}/follow-ups", unknown).status_code in {409, 422}


def test_images_are_given_to_a_new_task_with_its_first_attempt_or_without(api: Api):
    one, other, third = image(api), image(api, gif()), image(api, png(shade=1))
    api.post("/v1/projects", {"name": "shop", "repos": RUN["repos"]})
    body = {"project_id": "shop", "title": "Look", "image_ids": [one["id"]]}
    waiting = api.post("/v1/tasks", body)
    assert waiting.status_code == 201, waiting.text
    start = {"executor": RUN["executor"], "image_ids": [third["id"]]}
    started = api.post("/v1/tasks", body | {"image_ids": [one["id"], other["id"]], "start": start})
    assert started.status_code == 202, started.text
    tasks = [waiting.json()["id"], started.json()["id"]]
    assert api.get(f"/v1/images/{one['id']}").json()["task_ids"] == tasks
    of_task = api.get(f"/v1/images?task_id={tasks[1]}").json()["items"]
    assert {each["id"] for each in of_task} == {one["id"], other["id"], third["id"]}
    unknown = api.post("/v1/tasks", body | {"image_ids": [str(uuid4())]})
    assert problem_of(unknown) == (422, "image_unknown", ["image_ids"])
    assert len(api.get("/v1/tasks").json()["items"]) == 2, "nothing is created"


def test_images_for_an_agent_that_cannot_look_at_them_are_refused(api: Api):
    made = image(api)
    blind = [each["name"] for each in api.get("/v1/agents").json()["items"] if not each["can_see_images"]]
    assert blind == ["aider", "mini"]
    refused = (422, "images_unsupported", ["image_ids"])
    api.post("/v1/projects", {"name": "shop", "repos": RUN["repos"]})
    for name in blind:
        with_image = {"executor": {"name": name}, "image_ids": [made["id"]]}
        assert problem_of(api.post("/v1/runs", RUN | with_image)) == refused
        task = {"project_id": "shop", "title": "Look"}
        assert problem_of(api.post("/v1/tasks", task | {"start": with_image})) == refused
        made_task = api.post("/v1/tasks", task).json()["id"]
        assert problem_of(api.post(f"/v1/tasks/{made_task}/workspaces", with_image)) == refused
    run = api.run(executor={"name": "aider"})
    worker = Worker(api.database)
    worker.finish(worker.claim(run["execution_id"]))
    worker.ready(run["workspace_id"])
    follow_up = {"prompt": "look", "image_ids": [made["id"]]}
    assert problem_of(api.post(f"/v1/sessions/{run['session_id']}/follow-ups", follow_up)) == refused
    assert count(api, TaskImage) == 0


def test_clients_without_a_token_hold_no_place_of_an_upload(database: Database, database_url: str, redis_url: str):
    with api_on_a_port(database, settings_for(database_url, redis_url)) as api, ExitStack() as held:
        address = (api.client.base_url.host, api.client.base_url.port)
        length = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {20 << 20}\r\n"
        tokens = {401: "", 403: f"Authorization: Bearer {api.tokens['reader']}\r\n"}
        for status, token in [*tokens.items()] * MOST_LARGER:
            client = held.enter_context(create_connection(address, timeout=30))
            client.sendall(f"POST /v1/images HTTP/1.1\r\n{length}{token}\r\n".encode() + b"{" * 100)
            assert client.recv(12) == f"HTTP/1.1 {status}".encode(), "before the body is there"
        large = png() + bytes(5 << 20)
        assert upload(api, large).status_code == 201


def test_a_task_has_a_limited_number_of_images(api: Api):
    with api.database.begin() as connection:
        many = [
            {
                "file_path": "a", "original_name": "a", "mime_type": "image/png", "size_bytes": 1, "width": 1, "height": 1,
                "hash": str(number), "content": b"", "created_by": "ann",
            }
            for number in range(images.MOST_OF_TASK + 1)
        ]  # fmt: skip
        connection.execute(Image.__table__.insert(), many)
        ids = [str(each) for each in connection.scalars(select(Image.id))]
    assert problem_of(api.post("/v1/runs", RUN | {"image_ids": ids}))[:2] == (422, "validation_failed")
    task = api.run(image_ids=ids[:-1])["task_id"]
    assert problem_of(put(api, f"/v1/tasks/{task}/images/{ids[-1]}"))[:2] == (422, "too_many_images")


def test_images_of_no_task_are_deleted_after_their_time(api: Api):
    used, unused, young = image(api), image(api, gif()), image(api, png(shade=1))
    api.run(image_ids=[used["id"]])
    with api.database.begin() as connection:
        old = [UUID(used["id"]), UUID(unused["id"])]
        aged = update(Image).where(Image.id.in_(old)).values(created_at=Image.created_at - timedelta(hours=25))
        connection.execute(aged)
        assert images.forget_unused(connection, 24) == 1
    left = {each["id"] for each in api.get("/v1/images").json()["items"]}
    assert left == {used["id"], young["id"]}
    assert count(api, TaskImage) == 1
