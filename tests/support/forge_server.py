"""A host of pull requests on a port of this machine: the shapes of GitHub's and GitLab's REST APIs, over real HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a-token-that-nobody-may-see"


@dataclass
class ForgeServer:
    """The pull requests of the host, and the requests that it got; a test changes both."""

    shape: str
    url: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    ignores_conditions: bool = False
    """Whether a list has all open pull requests, whatever was asked for."""
    refuse: tuple[int, dict[str, Any], dict[str, str]] | None = None
    """Status, JSON and headers with which every request is answered; None: as it should be."""
    refuse_post: tuple[int, dict[str, Any], dict[str, str]] | None = None

    def merge(self, number: int, commit: str) -> None:
        self._find(number).update(state="merged", commit=commit, merged_at="2026-01-31T08:02:31Z")

    def close(self, number: int) -> None:
        self._find(number).update(state="closed")

    def reopen(self, number: int) -> None:
        self._find(number).update(state="open")

    def _find(self, number: int) -> dict[str, Any]:
        return next(pull for pull in self.pulls if pull["number"] == number)

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        """Answer as the host does."""
        base = "/repos/team/remote/pulls" if self.shape == "github" else "/projects/team/remote/merge_requests"
        if not path.startswith(base):
            return 404, {"message": "Not Found"}
        if method == "POST":
            return self._made(body)
        if rest := path.removeprefix(base).strip("/"):
            found = [pull for pull in self.pulls if str(pull["number"]) == rest]
            return (200, self.shown(found[0])) if found else (404, {"message": "404 Not found"})
        source = query.get("head", "").rpartition(":")[2] or query.get("source_branch")
        open_ones = [one for one in self.pulls if one["state"] == "open"]
        return 200, [self.shown(one) for one in open_ones if self.ignores_conditions or one["source"] == source]

    def _made(self, body: dict[str, Any]) -> tuple[int, Any]:
        source = body.get("head") or body.get("source_branch")
        if any(pull["source"] == source and pull["state"] == "open" for pull in self.pulls):
            return (422 if self.shape == "github" else 409), {"message": "already exists"}
        text = body.get("body") or body.get("description") or ""
        made = {"number": len(self.pulls) + 1, "state": "open", "source": source, "title": body["title"], "text": text}
        made["target"] = body.get("base") or body.get("target_branch")
        self.pulls.append(made)
        return 201, self.shown(made)

    def shown(self, pull: dict[str, Any]) -> dict[str, Any]:
        number, state = pull["number"], pull["state"]
        repo, target = pull.get("repo", "team/remote"), pull.get("target", "main")
        if self.shape == "github":
            return {
                "number": number,
                "head": {"ref": pull["source"], "repo": repo and {"full_name": repo}},
                "base": {"ref": target, "repo": {"full_name": "team/remote"}},
                "html_url": f"https://forge.example/team/remote/pull/{number}",
                "state": "open" if state == "open" else "closed",
                "merged": state == "merged",
                "merged_at": pull.get("merged_at"),
                "merge_commit_sha": pull.get("commit", "7" * 40),  # of a trial merge while it is open
            }
        return {
            "iid": number,
            "source_branch": pull["source"],
            "target_branch": target,
            "source_project_id": repo,
            "target_project_id": "team/remote",
            "web_url": f"https://forge.example/team/remote/-/merge_requests/{number}",
            "state": "opened" if state == "open" else state,
            "merged_at": pull.get("merged_at"),
            "merge_commit_sha": pull.get("commit"),
            "squash_commit_sha": None,
        }


@contextmanager
def forge_server(shape: str) -> Iterator[ForgeServer]:
    """Serve a host of the shape `github` or `gitlab` until the end of the block."""
    state = ForgeServer(shape)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve({})

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _serve(self, body: dict[str, Any]) -> None:
            parts = urlsplit(self.path)
            state.asked.append((self.command, parts.path))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            own = self.headers.get("Authorization") == f"Bearer {TOKEN}" or self.headers.get("PRIVATE-TOKEN") == TOKEN
            headers: dict[str, str] = {}
            refused = state.refuse or (state.refuse_post if self.command == "POST" else None)
            if refused is not None:
                status, answer, headers = refused
            elif not own:
                status, answer = 401, {"message": "Bad credentials"}
            else:
                status, answer = state.answer(self.command, unquote(parts.path), query, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()
