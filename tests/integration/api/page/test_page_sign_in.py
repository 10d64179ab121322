"""Signing in on the page: by token and by a one-time link; cookies, form tokens, and whom they keep out."""

import re
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import text

from relay_api.page.browser import own_path
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, api_in_process, settings_for

PORT = "80"
SESSION = f"relay-session-{PORT}"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        api.client.follow_redirects = False
        yield api


def field(answer: httpx.Response, name: str = "csrf") -> str:
    return re.search(f'name="{name}" value="([^"]*)"', answer.text)[1]


def post_sign_in(api: Api, secret: str, **more: str) -> httpx.Response:
    form = api.client.get("/sign-in")
    return api.client.post("/sign-in", data={"csrf": field(form), "secret": secret, "next": "/fleet", **more})


def test_a_stranger_is_sent_to_the_sign_in_and_comes_back(api: Api):
    answer = api.client.get("/fleet?a=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Ffleet%3Fa%3D1")
    answer = post_sign_in(api, api.tokens["ann"])
    assert (answer.status_code, answer.headers["location"]) == (303, "/fleet")
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(SESSION))
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    assert api.tokens["ann"] not in answer.headers["set-cookie"]
    assert api.client.get("/fleet").status_code == 200


@pytest.mark.parametrize("secret", ["relay_nothing", "", "x" * 5000, "code"])
def test_a_wrong_secret_is_refused(api: Api, secret: str):
    answer = post_sign_in(api, secret)
    assert (answer.status_code, SESSION in answer.headers.get("set-cookie", "")) == (403, False)
    assert "relay open" in answer.text


def test_a_code_signs_in_once_and_only_its_hash_is_stored(api: Api, database: Database):
    made = api.post("/v1/sign-in-codes").json()
    assert made["url"] == f"http://testserver/sign-in#{made['code']}"
    leading = api.post("/v1/sign-in-codes?next=/runs/a%23b").json()
    assert leading["url"] == f"http://testserver/sign-in?next=%2Fruns%2Fa%23b#{leading['code']}"
    assert "evil" not in api.post("/v1/sign-in-codes?next=//evil.example").json()["url"]
    with database.connect() as connection:
        stored = connection.execute(
            text("SELECT code_hash, expires_at - now() FROM sign_in_codes ORDER BY created_at")
        ).first()
    assert made["code"].encode() not in bytes(stored[0])
    assert 0 < stored[1].total_seconds() <= 600
    assert post_sign_in(api, made["code"]).status_code == 303
    assert api.client.get("/fleet").status_code == 200
    api.client.cookies.clear()
    assert post_sign_in(api, made["code"]).status_code == 403


def test_behind_a_proxy_with_tls_the_cookie_never_travels_in_the_open(
    database: Database, database_url: str, redis_url: str
):
    settings = settings_for(database_url, redis_url, api_public_url="https://relay.example")
    with api_in_process(database, settings) as api:
        api.client.headers["host"] = "relay.example"
        api.client.follow_redirects = False
        form = api.client.get("/sign-in")
        cookie = form.headers["set-cookie"]
        assert cookie.startswith("__Host-relay-form=")
        assert "Secure" in cookie.split("; ")
        assert api.post("/v1/sign-in-codes").json()["url"].startswith("https://relay.example/sign-in#")


def test_a_code_that_is_too_old_is_refused(api: Api, database: Database):
    code = api.post("/v1/sign-in-codes").json()["code"]
    with database.begin() as connection:
        connection.execute(text("UPDATE sign_in_codes SET expires_at = now() - interval '1 second'"))
    assert post_sign_in(api, code).status_code == 403


def test_a_stranger_gets_no_code(api: Api):
    assert api.client.post("/v1/sign-in-codes").status_code == 401


@pytest.mark.parametrize(
    "change",
    ["UPDATE tokens SET revoked_at = now()", "UPDATE tokens SET expires_at = now()",
     "UPDATE page_sessions SET expires_at = now()", "UPDATE page_sessions SET revoked_at = now()"],
)  # fmt: skip
def test_a_session_ends_with_its_token_and_can_be_revoked(api: Api, database: Database, change: str):
    post_sign_in(api, api.tokens["ann"])
    assert api.client.get("/fleet").status_code == 200
    with database.begin() as connection:
        connection.execute(text(change))
    assert api.client.get("/fleet").status_code == 303


def test_signing_out_ends_the_session_for_a_copy_of_its_cookie_too(api: Api):
    post_sign_in(api, api.tokens["ann"])
    cookie = api.client.cookies[SESSION]
    token = field(api.client.get("/fleet"))
    assert api.client.post("/sign-out").status_code == 403, "without the form token"
    assert api.client.post("/sign-out", data={"csrf": token}).status_code == 303
    assert api.client.get("/fleet", headers={"cookie": f"{SESSION}={cookie}"}).status_code == 303


def test_the_cookie_opens_the_page_and_not_the_api(api: Api):
    post_sign_in(api, api.tokens["ann"])
    assert api.client.get("/v1/nodes").status_code == 401
    assert api.client.post("/v1/runs", json={}).status_code == 401


def test_forms_of_other_sites_are_refused(api: Api):
    post_sign_in(api, api.tokens["ann"])
    token = field(api.client.get("/fleet"))
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        assert api.client.post("/sign-out", data={"csrf": token}, headers=headers).status_code == 403
    form = api.client.get("/sign-in")
    given = {"csrf": "0" * 64, "secret": api.tokens["bob"]}
    assert api.client.post("/sign-in", data=given).status_code == 403, "the form of one browser signs no other one in"
    assert api.client.post("/sign-in", data={**given, "csrf": field(form)}).status_code == 303


def test_a_link_from_another_site_comes_back_with_its_cookie(api: Api):
    answer = api.client.get("/sign-in?next=/fleet", headers={"sec-fetch-site": "cross-site"})
    assert '<meta http-equiv="refresh" content="0;url=/fleet">' in answer.text


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "", "/a\nb"])
def test_after_the_sign_in_one_stays_on_this_server(api: Api, path: str):
    assert own_path(path) == "/"
    assert post_sign_in(api, api.tokens["ann"], next=path).headers["location"] == "/"


def test_the_page_runs_only_its_own_scripts(api: Api):
    answer = api.client.get("/sign-in")
    policy = answer.headers["content-security-policy"]
    nonce = re.search("script-src 'nonce-([^']+)';", policy)[1]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    scripts = re.findall(r"<script([^>]*)>", answer.text)
    assert len(scripts) == 2
    assert all(f'nonce="{nonce}"' in one for one in scripts)
    assert not re.search(r"<[^>]+\s(on\w+|style)=", answer.text)
    again = api.client.get("/sign-in").headers["content-security-policy"]
    assert again != policy, "a nonce is used once"
    for header, value in (
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ):
        assert answer.headers[header] == value


def test_a_token_that_only_reads_sees_no_button_and_can_press_none(api: Api):
    post_sign_in(api, api.tokens["reader"])
    made = api.run()
    page = api.client.get(f"/runs/{made['run_id']}")
    assert page.status_code == 200
    assert "Cancel run" not in page.text
    answer = api.client.post(f"/runs/{made['run_id']}/cancel", data={"csrf": field(page)})
    assert answer.status_code == 403


def test_on_the_loopback_address_the_page_lives_on_localhost(database: Database, database_url: str, redis_url: str):
    """Dev servers, which agents control, are on 127.0.0.1, and cookies ignore ports."""
    names = ("testserver", "127.0.0.1", "localhost")
    with api_in_process(database, settings_for(database_url, redis_url, api_allowed_hosts=names)) as api:
        api.client.follow_redirects = False
        for path in ("/", "/sign-in", "/fleet?a=1"):
            answer = api.client.get(path, headers={"host": "127.0.0.1:8700"})
            assert (answer.status_code, answer.headers["location"]) == (303, f"http://localhost:8700{path}")
        url = api.post("/v1/sign-in-codes", headers={"host": "127.0.0.1:8700"}).json()["url"]
        assert url.startswith("http://localhost:8700/sign-in#")
        assert api.client.get("/", headers={"host": "evil.example"}).status_code == 421
