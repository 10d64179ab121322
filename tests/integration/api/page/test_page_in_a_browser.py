"""The page in a headless Chromium: each view at two widths, a hostile run, a large log, and a run followed live."""

from functools import partial

import zstandard
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from relay_core.domain import execution as machine
from relay_core.domain.agents.conversation import Entry, EntryKind, Tool, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import conversations
from relay_core.store.executions.progress import append_progress
from relay_core.store.logs.log_store import StreamEnd
from relay_core.store.nodes import runtime_nodes
from relay_core.store.transaction import Database
from tests.support.api_fixtures import NODE, RUN, Api, Worker, api_on_a_port, settings_for
from tests.support.browser_fixtures import ATTACK, NARROW, WIDE, open_page, scrolls_sideways, sign_in

HOSTS = ("127.0.0.1", "localhost")
LINK = "https://git.example.org/team/app.git"


def local(api: Api) -> str:
    return f"http://localhost:{api.client.base_url.port}"


def page_of(browser: Browser, api: Api, viewport: dict[str, int] = WIDE) -> Page:
    page = open_page(browser, local(api), viewport)
    sign_in(page, api.tokens["ann"])
    return page


def agent_of(api: Api, worker: Worker, made: dict, words: str = "") -> str:
    """The run's agent step, queued after its clone."""
    clone = worker.claim(made["execution_id"])
    worker.log(clone, [("stderr", b"relay: cloning " + words.encode() + b"\n")])
    worker.finish(clone, log_ends=worker.log_ends(clone))
    worker.ready(made["workspace_id"])
    return api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]["id"]


def say(database: Database, claimed, words: str) -> None:
    entries = [
        Entry(0, 1, EntryKind.ASSISTANT, words),
        Entry(1, 2, EntryKind.REASONING, words),
        Entry(2, 3, EntryKind.TOOL_CALL, "", Tool(words, words, ToolStatus.FAILED, words)),
        Entry(3, 4, EntryKind.FILE_EDIT, "", Tool("Edit", "{}", ToolStatus.COMPLETED, words, (words,)), agent=words),
        Entry(4, 5, EntryKind.ERROR, words),
        Entry(5, 6, EntryKind.NOTICE, words),
    ]
    store_entries(database, claimed, *entries)


def store_entries(database: Database, claimed, *entries: Entry) -> None:
    with database.begin() as connection:
        conversations.store(connection, claimed.execution_id, claimed.fence, entries, "thread")


PATCH = (
    "diff --git a/src/{name} b/src/{name}\nindex 1111111111111111111111111111111111111111..{two} 100644\n"
    "--- a/src/{name}\n+++ b/src/{name}\n@@ -1,3 +1,4 @@ {words}\n def hello():\n-    return 1\n+    return '{words}'\n"
    "+    # more\n \n"
)


def whole_run(api: Api, worker: Worker, words: str, *, file_name: str = "app.py", title: str | None = None) -> dict:
    """A run that failed, with `words` in each place that an agent, its repository or a client fills."""
    labels = {"team": words[:60].splitlines()[0]}
    repos = [{"url": LINK, "target_branch": "main"}]
    made = api.run(title=title or words[:190], prompt=words, labels=labels, repos=repos)
    agent = worker.claim(agent_of(api, worker, made, words))
    worker.log(
        agent, [("stdout", f"{words}\n\x1b[1;31m{words}\x1b[0m done\n".encode()), ("stderr", b"\xff\xfe \x00\n")]
    )
    say(api.database, agent, words)
    patch = PATCH.format(name=file_name, words=words, two="2" * 40).encode()
    state = {
        "before_head_commit": "a" * 40,
        "after_head_commit": "b" * 40,
        "branch": words,
        "patch": zstandard.compress(patch),
        "stat": {
            "files": 1,
            "insertions": 2,
            "deletions": 1,
            "truncated": False,
            "masked": [words],
            "excluded": {"count": 1, "paths": [{"path": words, "pattern": f"*{words}"}]},
        },
        "pinned_commit": "c" * 40,
        "bundle_problem": words,
        "problem": words,
    }
    with api.database.connect() as connection:
        repo = connection.execute(text("SELECT repo_id FROM workspace_repos WHERE workspace_id = :id"),
                                  {"id": made["workspace_id"]}).scalar_one()  # fmt: skip
    end = machine.failed(Reason.EXIT_CODE, words, 3)
    worker.finish(agent, end, repo_states={repo: state}, log_ends=worker.log_ends(agent))
    return {**made, "agent": str(agent.execution_id)}


def views(run: dict) -> list[str]:
    own = f"/runs/{run['run_id']}"
    return ["/", "/fleet", own, f"{own}/conversation", f"{own}/changes", f"/executions/{run['agent']}"]


def test_each_view_at_two_widths(api: Api, worker: Worker, browser: Browser):
    run = whole_run(api, worker, "Make the parser accept an empty line")
    api.run()
    for viewport in (WIDE, NARROW):
        page = page_of(browser, api, viewport)
        problems: list[str] = []
        page.on(
            "console", lambda message, found=problems: found.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error, found=problems: found.append(str(error)))
        for path in views(run):
            assert page.goto(path).status == 200, path
            page.wait_for_load_state("networkidle") if path == "/fleet" else None
            assert not scrolls_sideways(page), (path, viewport)
            assert page.locator("h1").count() == 1, path
        assert problems == []
        page.context.close()


def test_a_run_says_how_it_ended_and_leads_on(api: Api, worker: Worker, browser: Browser):
    run = whole_run(api, worker, "it exited with 3", title="Mend the parser")
    page = page_of(browser, api)
    page.get_by_role("link", name="Mend the parser").click()
    head = page.locator("#head")
    expect(head).to_contain_text("failure")
    expect(head).to_contain_text("exit_code, exit code 3")
    expect(head).to_contain_text("team/app")
    expect(page.locator("#steps li")).to_have_count(2)
    flower = page.get_by_role("link", name="Flower").last.get_attribute("href")
    assert flower.startswith("http://flower.example/task/")
    page.get_by_role("link", name="Log of this step").click()
    expect(page.locator(".log")).to_contain_text("it exited with 3")
    assert page.locator(".log .c1.b").inner_text() == "it exited with 3", "ANSI colours become classes"
    page.get_by_role("link", name="Conversation").click()
    expect(page.locator("#entries .entry")).to_have_count(6)
    page.get_by_role("link", name="Changes").click()
    expect(page.locator("tr.add").first).to_contain_text("+    return 'it exited with 3'")
    expect(page.locator("details.flash summary")).to_contain_text("Left out, as the server's exclude list has it:")
    expect(page.locator("details.flash summary code")).to_have_text("*it exited with 3")
    expect(page.locator("p.flash").last).to_contain_text("No bundle, so relay fetch cannot get this: it exited with 3.")
    page.goto(f"/runs/{run['run_id']}")
    page.get_by_role("button", name="Run again", exact=True).click()
    expect(page.locator("#head")).to_contain_text(f"rerun of {run['run_id'][:8]}")
    page.goto(f"/runs/{run['run_id']}")
    page.get_by_role("button", name="Run again from the failed step").click()
    expect(page.locator("#head")).to_contain_text(f"rerun of {run['run_id'][:8]}")
    expect(page.locator("#steps li")).to_have_count(1)
    page.get_by_role("button", name="Cancel run").click()
    expect(page.locator("#head .word")).to_have_text("cancelled")
    page.context.close()


def test_nothing_that_is_hostile_runs_a_script(api: Api, worker: Worker, browser: Browser):
    run = whole_run(api, worker, ATTACK, file_name="<img src=x onerror=window.owned=1>.py")
    page = page_of(browser, api)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in [
        *views(run),
        f"/?q={ATTACK}",
        f"/?label={ATTACK}",
        f"/sign-in?next=/{ATTACK}",
        f"/executions/{run['agent']}/raw",
    ]:
        page.goto(path)
        page.wait_for_timeout(150)  # anything that loads or fires by itself has done so
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("window.owned") is None, path
        assert page.locator("img, iframe, main script, [onerror], [onload], a[href^='javascript']").count() == 0, path
        assert page.locator("[hx-get='/fleet']").count() == (1 if path == "/fleet" else 0), path
    for path in views(run)[2:]:
        page.goto(path)
        expect(page.locator("body")).to_contain_text("window.owned=1")
    assert [url for url in asked if not url.startswith((local(api), "data:"))] == [], (
        "nothing is fetched from elsewhere"
    )
    page.context.close()


def test_short_ids_and_those_of_related_things_lead_to_the_run(api: Api, worker: Worker, browser: Browser):
    run = whole_run(api, worker, "it failed")
    page = page_of(browser, api)
    for given in (run["run_id"][:8], run["agent"], run["workspace_id"][:12]):
        page.goto(f"/runs/{given}")
        assert page.url == f"{local(api)}/runs/{run['run_id']}", given
    assert page.goto("/runs/0000").status == 404
    expect(page.locator(".top nav")).to_contain_text("Fleet")
    assert page.goto("/runs/no-id/changes").status == 422
    page.get_by_role("link", name="Runs", exact=True).click()
    page.wait_for_selector("#runs")
    page.context.close()


def test_hidden_characters_are_shown(api: Api, worker: Worker, browser: Browser):
    run = whole_run(api, worker, "safe\u202eevil\u200b")
    page = page_of(browser, api)
    for path in views(run)[2:]:
        page.goto(path)
        expect(page.locator("main")).to_contain_text("safe<U+202E>evil<U+200B>")
    page.context.close()


def big_log(database: Database, execution_id: str, worker: Worker, lines: int) -> int:
    """A log of `lines` lines of 1,000 bytes, stored as a worker would store it."""
    claimed = worker.claim(execution_id)
    for first in range(0, lines, 4000):
        piece = b"".join(b"line %07d " % number + b"x" * 986 + b"\n" for number in range(first, first + 4000))
        worker.log(claimed, [("stdout", piece)])
    size = lines * 1000
    ends = {name: StreamEnd(0 if name == "stderr" else size, "0" * 64) for name in ("all", "stdout", "stderr")}
    worker.finish(claimed, log_ends=ends)
    return size


def test_a_log_of_200_mb_opens_at_its_end_without_the_rest(api: Api, worker: Worker, browser: Browser):
    made = api.run()
    execution = made["execution_id"]
    size = big_log(api.database, execution, worker, 200_000)
    page = page_of(browser, api)
    page.goto(f"/executions/{execution}")
    page.locator(".row", has_text="line 0199999").wait_for()
    fetched = page.evaluate("performance.getEntriesByType('resource').map(one => one.transferSize)")
    assert 0 < sum(fetched) < 2_000_000  # bytes, as a time would be that of the machine
    assert page.evaluate(
        "(log => log.scrollTop + log.clientHeight >= log.scrollHeight - 4)(document.querySelector('.log'))"
    )
    page.locator(".log").focus()
    page.keyboard.press("Home")
    expect(page.locator(".row").first).to_contain_text("line 0000000")
    assert page.locator(".row .no").nth(4).get_attribute("data-no") == "5"
    page.goto(f"/executions/{execution}#b{size // 2}")
    expect(page.locator(".row.hit")).to_contain_text("line 0100000")
    link = page.locator(".row .no").nth(40)
    at = link.get_attribute("href")
    link.click()
    page.wait_for_url(f"**{at}")
    expect(page.locator(".row.hit .no")).to_have_attribute("href", at)
    for _ in range(3):  # further up, window by window
        before = page.locator(".row").first.inner_text()
        page.evaluate("document.querySelector('.log').scrollTop = 0")
        page.wait_for_function("text => document.querySelector('.row').innerText !== text", arg=before)
    rows = page.locator(".row .t").evaluate_all("rows => rows.map(row => row.textContent.slice(5, 12))")
    numbers = [int(row) for row in rows]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no line is missing or doubled"
    page.context.close()


def test_a_run_is_followed_live_over_a_restart_of_the_api(
    database: Database, database_url: str, redis_url: str, worker: Worker, browser: Browser
):
    settings = settings_for(database_url, redis_url, api_allowed_hosts=HOSTS)
    with api_on_a_port(database, settings) as api:
        port, token = api.client.base_url.port, api.tokens["ann"]
        made = api.run(title="Follow me")
        agent = worker.claim(agent_of(api, worker, made))
        worker.log(agent, [("stdout", b"before\nhalf a ")])
        page = open_page(browser, local(api))
        sign_in(page, token)
        page.goto(f"/executions/{agent.execution_id}")
        expect(page.locator(".log .row")).to_have_text(["before", "half a "])
        worker.log(agent, [("stdout", b"line\nlive\n")])
        expect(page.locator(".log .row")).to_have_text(["before", "half a line", "live"])
        expect(page.locator("#head .word")).to_have_text("running")
    worker.log(agent, [("stdout", b"while it was away\n")])
    with api_on_a_port(database, settings, port=port):
        worker.log(agent, [("stdout", b"after\n")])
        expected = ["before", "half a line", "live", "while it was away", "after"]
        expect(page.locator(".log .row")).to_have_text(expected, timeout=20_000)
        worker.finish(agent, log_ends=worker.log_ends(agent))
        expect(page.locator("#head .word")).to_have_text("success", timeout=20_000)
        expect(page.locator("[data-role=state]")).not_to_contain_text("running")
        page.context.close()


def test_a_conversation_grows_while_the_agent_works(api: Api, worker: Worker, browser: Browser):
    made = api.run(title="Talk", executor={"name": "claude-code"})
    claimed = worker.claim(agent_of(api, worker, made))
    entry = partial(store_entries, api.database, claimed)
    entry(Entry(0, 1, EntryKind.ASSISTANT, "I begin"))
    page = page_of(browser, api)
    page.goto(f"/runs/{made['run_id']}/conversation")
    entries = page.locator("#entries > .entry")
    expect(entries).to_have_text(["I begin"])
    entry(Entry(0, 2, EntryKind.ASSISTANT, "I begin with <b>"), Entry(1, 3, EntryKind.NOTICE, "second"))
    expect(entries).to_have_text(["I begin with <b>", "second"])
    entry(*(Entry(number, 2 + number, EntryKind.ASSISTANT, f"entry {number}") for number in range(2, 500)))
    for count in (202, 402, 500):  # a window of entries each time that its end is seen
        expect(entries).to_have_count(count)
        page.locator("#more").scroll_into_view_if_needed()
    worker.finish(claimed, log_ends=worker.log_ends(claimed))
    expect(page.locator("#more")).to_have_text("End of the conversation.")
    assert entries.evaluate_all("all => all.every((one, at) => one.id === `entry-${at}`)"), "in order, none doubled"
    page.context.close()


def test_the_keyboard_is_enough(api: Api, worker: Worker, browser: Browser):
    whole_run(api, worker, "it failed", title="Mend the parser")
    page = page_of(browser, api)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("/")
    page.keyboard.type("parser")
    page.keyboard.press("Enter")
    expect(page.locator(".runs li")).to_have_count(1)
    page.get_by_role("link", name="Mend the parser").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#head h1")).to_contain_text("Mend the parser")
    page.keyboard.press("g")
    page.keyboard.press("f")
    expect(page.locator("h1")).to_have_text("Fleet")
    page.context.close()


def test_the_fleet_shows_the_slots_of_each_worker(api: Api, worker: Worker, browser: Browser):
    told = {"slots_per_worker": 100, "workers": ["w1@test-node", "w2@test-node"]}
    with api.database.begin() as connection:
        runtime_nodes.heartbeat(connection, NODE, pool="default", client_version="1", capabilities=told)
    worker.claim(api.run()["execution_id"])
    page = page_of(browser, api)
    page.goto("/fleet")
    row = page.locator("#fleet tbody tr").filter(has_text=NODE)
    expect(row).to_contain_text("1 of 300")
    for each in ("w1 0 of 100", "w2 0 of 100", "worker 1 of 100"):
        expect(row).to_contain_text(each)
    page.context.close()


def test_the_fleet_shows_the_clone_of_a_project_and_how_far_it_has_come(api: Api, worker: Worker, browser: Browser):
    wanted = {"name": "the-shop", "repos": [{"url": RUN["repos"][0]["url"]}]}
    project = api.post("/v1/projects", wanted).json()
    claimed = worker.claim(api.get(f"/v1/executions/{project['id']}").json()["id"])
    state = {"remote": "r", "phase": "receiving", "objects": 450, "total": 1000, "bytes": None}
    with api.database.begin() as connection:
        assert append_progress(connection, claimed.execution_id, claimed.fence, state)
    page = page_of(browser, api)
    page.goto("/fleet")
    row = page.locator("#fleet li").filter(has_text="clone of project the-shop")
    expect(row).to_contain_text("receiving 45% of 1,000 objects")
    row.get_by_role("link").click()
    page.wait_for_url(f"**/executions/{claimed.execution_id}")
    page.context.close()
    worker.finish(claimed)


def test_a_follow_up_is_sent_and_a_one_time_link_signs_in(api: Api, worker: Worker, browser: Browser):
    agent = {"name": "claude-code"}
    made = api.run(title="Talk", executor=agent, prompt=RUN["prompt"])
    claimed = worker.claim(agent_of(api, worker, made))
    say(api.database, claimed, "done")
    worker.finish(claimed, log_ends=worker.log_ends(claimed))
    page = open_page(browser, local(api))
    page.goto(api.post("/v1/sign-in-codes").json()["url"])
    page.wait_for_selector(".top nav")
    assert "#" not in page.url, "the code leaves the address"
    page.get_by_role("link", name="Talk").first.click()
    page.fill("#prompt", "Now add a test")
    page.get_by_text("Title and labels").click()
    page.get_by_label("Title of the new run").fill("Test it")
    page.get_by_label("Labels").fill("team=web, ticket=4 2")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("h1")).to_contain_text("Test it")
    assert page.locator("#head .label").all_inner_texts() == ["team=web", "ticket=4 2"]
    page.get_by_role("link", name="Conversation").click()
    expect(page.locator(".entry.prompt")).to_contain_text("Now add a test")
    page.context.close()
