"""The kinds of runs that the bench submits, each with its expected outcome."""

from collections.abc import Generator
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Literal

import httpx
from bench.chaos.client import FINAL, ChainEndedError, Client
from bench.chaos.world import World
from tests.support.fault_stack import lines, numbered
from tests.support.plain_http import PLAIN

LINES, PAUSE = 200, 0.03
"""Lines that a long step writes, and seconds between two lines: the step takes some seven seconds, so that faults occur
meanwhile."""
SHORT = 60
ENDLESS = 20_000
"""Lines of a step that is always killed before it has written all of them."""

NOTE = "echo $RELAY_EXECUTION_ID >>/workspace/home/ran\n"
"""Shell command with which each process records that it ran: an execution's id must be in this file exactly once."""
BROKEN_ONCE = "test -f $HOME/tried || { touch $HOME/tried; echo not yet; exit 7; }\n"
SERVE = f"""exec perl -MIO::Socket::INET -MIO::Select -MTime::HiRes=time -e '
$SIG{{PIPE}} = "IGNORE";
$port = IO::Socket::INET->new(LocalAddr => $ENV{{HOST}}, LocalPort => $ENV{{PORT}}, Listen => 5, ReuseAddr => 1) or die;
$ready = IO::Select->new($port);
for $n (0..{ENDLESS - 1}) {{
    syswrite STDOUT, "$n\\n";
    $next = time + {PAUSE};
    while (($left = $next - time) > 0) {{
        for ($ready->can_read($left)) {{
            $client = $port->accept or next;
            sysread $client, $request, 65536;
            syswrite $client, "HTTP/1.0 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nyes";
            close $client;
        }}
    }}
}}'
"""

Play = Generator[None, None, None]


@dataclass(frozen=True)
class Expected:
    """The expected outcome of an execution: status, reason and stdout."""

    status: str
    reason: str | None
    stdout: bytes
    match: Literal["whole", "prefix"] = "whole"
    """`whole`: the log must equal `stdout`. `prefix`: the execution is killed, so its log must be any prefix of it."""
    notes: bool = True
    """Whether the process of the execution records that it ran (see `NOTE`)."""


def writing(count: int, before: str = "") -> str:
    """Return a script that records that it ran, runs the commands ``before``, and writes ``count`` numbered lines."""
    return f"{NOTE}{before}{numbered(count, PAUSE)}"


class Job:
    """One run of the load. The generator `play` drives it, fills `expected` and yields while it has to wait."""

    kind: ClassVar[str]

    def __init__(self, world: World, client: Client, random: Random) -> None:
        self.world = world
        self.client = client
        self.random = random
        self.workspace_id = ""
        self.expected: dict[str, Expected] = {}
        self.done = False
        self.looked_at = False
        self.began: float = 0.0
        self._playing = self.play()

    def advance(self) -> None:
        """Continue `play` until it has to wait again."""
        if not self.done:
            try:
                next(self._playing)
            except (StopIteration, ChainEndedError):  # `look_at` reports missing executions
                self.done = True

    def play(self) -> Play:
        """Drive the run from its submission to its expected end."""
        raise NotImplementedError

    def submit(self, command: str, repos: int = 1, **of_repo: Any) -> Play:
        """Submit the run.

        Args:
            command: shell command of the agent.
            repos: number of repositories.
            of_repo: further fields of each repository, such as scripts.
        """
        sources = [{"url": f"file://{path}", **of_repo} for path in self.world.repos[:repos]]
        body = {
            "repos": sources,
            "prompt": "do it",
            "executor": {"name": "shell", "command": command},
            "limits": {"kill_grace_seconds": 1},
        }
        run = yield from self.client.call("POST", "/v1/runs", body)
        self.workspace_id = run["workspace_id"]
        self.expected[run["execution_id"]] = Expected("completed", None, b"", "prefix", notes=False)

    def completes(self, reason: str, count: int, number: int = 1) -> Play:
        """Wait for the end of the ``number``-th execution of a kind; expect it to complete with ``count`` lines."""
        step = yield from self.client.step(self.workspace_id, reason, FINAL, number)
        self.expected[step["id"]] = Expected("completed", None, lines(count))

    def runs(self) -> Generator[None, None, str]:
        """Wait until the agent runs, then for a random time; return the id of the agent's execution."""
        step = yield from self.client.step(self.workspace_id, "coding_agent", FINAL | {"running"})
        for _ in range(self.random.randrange(20)):
            yield
        return str(step["id"])


class Chain(Job):
    """A run with clone, setup script, agent and cleanup script."""

    kind = "chain"

    def play(self) -> Play:
        yield from self.submit(writing(LINES), setup_script=writing(SHORT), cleanup_script=writing(SHORT))
        yield from self.completes("setup_script", SHORT)
        yield from self.completes("coding_agent", LINES)
        yield from self.completes("cleanup_script", SHORT)


class Parallel(Job):
    """A run with two parallel setup scripts, then an agent."""

    kind = "parallel setups"

    def play(self) -> Play:
        script = writing(2 * SHORT)
        yield from self.submit(writing(SHORT), repos=2, setup_script=script, parallel_setup_script=True)
        for number in (1, 2):
            yield from self.completes("setup_script", 2 * SHORT, number)
        yield from self.completes("coding_agent", SHORT)


class Killed(Job):
    """A run whose agent is killed; the cleanup script must not run."""

    kind = "killed"

    def play(self) -> Play:
        yield from self.submit(writing(ENDLESS), cleanup_script=writing(SHORT))
        agent = yield from self.runs()
        yield from self.client.call("POST", f"/v1/executions/{agent}/kill")
        yield from self.client.final(agent)
        self.expected[agent] = Expected("killed", "user", lines(ENDLESS), "prefix")


class Stopped(Job):
    """A run whose workspace is stopped while the agent runs, then resumed, then given a further step."""

    kind = "stopped and resumed"

    def play(self) -> Play:
        yield from self.submit(writing(ENDLESS))
        agent = yield from self.runs()
        at = f"/v1/workspaces/{self.workspace_id}"
        yield from self.client.call("POST", f"{at}/stop")
        yield from self.client.settled(self.workspace_id, "stopped")
        yield from self.client.final(agent)
        self.expected[agent] = Expected("killed", "user", lines(ENDLESS), "prefix")
        yield from self.client.call("POST", f"{at}/resume")
        body = {"run_reason": "cleanup_script", "script": writing(SHORT)}
        step = yield from self.client.call("POST", f"{at}/executions", body)
        yield from self.client.final(step["id"])
        self.expected[step["id"]] = Expected("completed", None, lines(SHORT))


class Retried(Job):
    """A run whose setup script fails once and is retried; then the agent runs."""

    kind = "retried"

    def play(self) -> Play:
        yield from self.submit(writing(LINES), setup_script=writing(SHORT, BROKEN_ONCE))
        failed = yield from self.client.step(self.workspace_id, "setup_script", FINAL)
        self.expected[failed["id"]] = Expected("failed", "exit_code", b"not yet\n")
        yield from self.client.call("POST", f"/v1/executions/{failed['id']}/retry")
        yield from self.completes("setup_script", SHORT, 2)
        yield from self.completes("coding_agent", LINES)


class DevServer(Job):
    """A run with an agent, then a dev server that answers on its node's port and is stopped."""

    kind = "dev server"

    def play(self) -> Play:
        yield from self.submit(writing(SHORT), dev_server_script=NOTE + SERVE)
        yield from self.completes("coding_agent", SHORT)
        at = f"/v1/workspaces/{self.workspace_id}"
        server = yield from self.client.call("POST", f"{at}/dev-server")
        while not (yield from self._answers(at)):
            yield
        for _ in range(self.random.randrange(20)):
            yield
        yield from self.client.call("DELETE", f"{at}/dev-server")
        yield from self.client.final(server["id"])
        self.expected[server["id"]] = Expected("killed", "user", lines(ENDLESS), "prefix")

    def _answers(self, at: str) -> Generator[None, None, bool]:
        """Return whether the dev server answers. Its port is closed while no worker runs on the node."""
        told = yield from self.client.call("GET", at)
        url = (told.get("dev_server") or {}).get("url")
        if not url:
            return False
        try:
            return PLAIN.get(url, timeout=2).is_success
        except httpx.TransportError:
            return False


KINDS: tuple[type[Job], ...] = (Chain, Parallel, Killed, Stopped, Retried, DevServer)
