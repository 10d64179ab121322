# The client of the Agent Client Protocol. It runs in the workspace's container, so a turn continues if its worker dies.
#
# agents/acp/command.py puts a `#!` line before this file and a call of `main` after it. The program starts an agent
# that speaks the protocol (JSON-RPC over the agent's stdin and stdout), reads the prompt from stdin and sends it to the
# agent, answers the agent's requests, and prints JSON lines:
#
#   {"type": "session", "session_id", "loaded", "replayed"}   the conversation is open; replayed: number of old messages
#   {"type": "update", "update"}                              the agent sent this update
#   {"type": "permission", "tool_call", "allowed"}            the agent requested a permission and got this answer
#   {"type": "end", "stop_reason", "usage"}                   the turn has ended
#   {"type": "error", "stage", "message", "code", "data"}     the turn cannot continue
#
# Exit codes: 0 if the agent completed its turn (stop reason end_turn), 143 after SIGTERM, otherwise 1.
"""Program that carries out one turn with an agent over the Agent Client Protocol; see the comment above."""

import asyncio
import json
import logging
import os
import signal
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from acp.connection import Connection, StreamDirection, StreamEvent
from acp.exceptions import RequestError
from acp.meta import PROTOCOL_VERSION

CHUNK_BYTES = 16 << 20
"""Buffer size of asyncio's streams. The library joins longer lines from pieces of this size; 64 KiB would be slow."""
CANCEL_SECONDS = 3.0
"""Time that the agent has to end a cancelled turn."""
EXIT_SECONDS = 3.0
"""Time that the agent has to exit after its turn, and again after SIGTERM."""
QUIET_SECONDS = 0.3
"""A loaded conversation is complete once the agent has sent no update for this time."""
REPLIES = {True: ("allow_once", "allow_always"), False: ("reject_once", "reject_always")}
"""Whether a permission is granted → answers, preferred first: the agent may store an "always" in the repository."""
OWN_MODES = {"auto": True, "reject": False}
"""Permission mode of the driver → whether it grants permissions. The driver sets any other mode in the agent."""
ASKING_MODES = ("default", "ask", "manual", "read-only")
"""Names that agents use for the mode in which they ask before they act; `reject` needs that mode."""
OPENCODE = "OpenCode"
"""Name of an agent without such a mode: OPENCODE_PERMISSION, a variable, sets when the agent asks."""
OPENCODE_PERMISSIONS = {
    "reject": {"edit": "ask", "bash": "ask", "webfetch": "ask", "external_directory": "ask"},
    "plan": {"edit": "deny", "bash": "deny"},
}
OLDER_WAYS = {
    "mode": ("modes", "availableModes", "id", "session/set_mode", "modeId"),
    "model": ("models", "availableModels", "modelId", "session/set_model", "modelId"),
}
"""For agents without `configOptions`: where they list the values of a setting, and the request that sets a value."""


@dataclass(frozen=True)
class Turn:
    """The agent's command line, the id of the conversation to resume (None: a new one), and settings for the agent."""

    command: list[str]
    session_id: str | None = None
    mode: str | None = None
    model: str | None = None
    effort: str | None = None


class TurnFailed(Exception):  # noqa: N818 - an event of the turn
    """The turn cannot continue. `line` is the driver's `error` line; its `stage` names the request that failed."""

    def __init__(self, stage: str, message: str, code: int | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.line = {"type": "error", "stage": stage, "message": message, "code": code, "data": data}


@dataclass
class Client:
    """The driver's end of the connection to the agent; `allow` is whether it grants the agent's permission requests."""

    allow: bool
    prompting: bool = False  # whether the prompt was sent: from then on, updates belong to the turn
    updates: int = 0  # number of updates that the agent has sent
    replayed: int = 0  # number of old user messages that the agent sent while it loaded the conversation
    session_id: str | None = None
    connection: Connection = field(init=False)

    def watch(self, event: StreamEvent) -> None:
        """Print each update of the agent; before the prompt, only count the old messages of a loaded conversation."""
        params = event.message.get("params")
        if event.direction is not StreamDirection.INCOMING or event.message.get("method") != "session/update":
            return
        self.updates += 1
        update = params.get("update") if isinstance(params, dict) else None
        if self.prompting:
            say({"type": "update", "update": update})
        elif isinstance(update, dict) and update.get("sessionUpdate") == "user_message_chunk":
            self.replayed += 1

    async def answer(self, method: str, params: Any, is_notification: bool) -> Any:  # noqa: FBT001 - called by the library
        """Return the answer to a request of the agent: only permission requests are supported."""
        if method == "session/request_permission":
            options = {option.get("kind"): option.get("optionId") for option in params.get("options") or []}
            chosen = next((options[kind] for kind in REPLIES[self.allow] if kind in options), None)
            say({"type": "permission", "tool_call": params.get("toolCall"), "allowed": self.allow and bool(chosen)})
            selected = {"outcome": "selected", "optionId": chosen}
            return {"outcome": selected if chosen else {"outcome": "cancelled"}}
        if not is_notification:
            raise RequestError.method_not_found(method)
        return None

    async def ask(self, stage: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the agent and return the answer; `stage` names the request in an error.

        Raises:
            TurnFailed: the agent answered with an error, or closed the connection.
        """
        try:
            answer = await self.connection.send_request(method, params)
        except RequestError as error:
            raise TurnFailed(stage, str(error), error.code, error.data) from error
        except OSError as error:
            raise TurnFailed(stage, "the agent closed the connection") from error
        return answer if isinstance(answer, dict) else {}


async def converse(client: Client, turn: Turn, prompt: str) -> dict[str, Any]:
    """Carry out the whole turn and return the `end` line.

    Raises:
        TurnFailed: a request failed before the turn ended.
    """
    hello = {
        "protocolVersion": PROTOCOL_VERSION,
        "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
        "clientInfo": {"name": "relay", "version": "1"},
    }
    agent = await client.ask("initialize", "initialize", hello)
    if (version := agent.get("protocolVersion")) != PROTOCOL_VERSION:
        raise TurnFailed("initialize", f"the agent speaks version {version} of the protocol, not {PROTOCOL_VERSION}")
    session = await open_session(client, turn, agent)
    say(
        {
            "type": "session",
            "session_id": client.session_id,
            "loaded": bool(turn.session_id),
            "replayed": client.replayed,
        }
    )
    if turn.mode == "reject":
        await set_asking_mode(client, session, agent)
    elif turn.mode is not None and turn.mode not in OWN_MODES:
        await choose(client, session, "mode", turn.mode)
    if turn.model is not None:
        await choose(client, session, "model", turn.model)
    if turn.effort is not None:
        await choose(client, session, "thought_level", turn.effort)
    client.prompting = True
    began = time.time()
    content = [{"type": "text", "text": prompt}]
    ended = await client.ask("prompt", "session/prompt", {"sessionId": client.session_id, "prompt": content})
    end = {"type": "end", "stop_reason": ended.get("stopReason"), "usage": ended.get("usage")}
    return {**end, **opencode_end(began, end)} if name_of(agent) == OPENCODE else end


async def open_session(client: Client, turn: Turn, agent: dict[str, Any]) -> dict[str, Any]:
    """Start a conversation, or resume that of `turn`; return the agent's answer. A failed resume raises TurnFailed."""
    where: dict[str, Any] = {"cwd": os.getcwd(), "mcpServers": []}  # noqa: PTH109 - the agent gets a string
    if turn.session_id is None:
        session = await client.ask("new", "session/new", where)
        client.session_id = session.get("sessionId")
        if not isinstance(client.session_id, str):
            raise TurnFailed("new", "the agent gave its conversation no id")
        return session
    if not (agent.get("agentCapabilities") or {}).get("loadSession"):
        raise TurnFailed("load", "the agent cannot go on with an earlier conversation (loadSession)")
    client.session_id = turn.session_id
    session = await client.ask("load", "session/load", {**where, "sessionId": turn.session_id})
    updates_before = -1
    while updates_before != client.updates:  # Gemini CLI answers before it has sent the old messages
        updates_before = client.updates
        await asyncio.sleep(QUIET_SECONDS)
    if not client.replayed:
        raise TurnFailed("load", f"the agent brought nothing back of the conversation {turn.session_id}")
    return session


async def set_asking_mode(client: Client, session: dict[str, Any], agent: dict[str, Any]) -> None:
    """Set a mode in which the agent asks before it acts, so that the driver can refuse.

    Raises:
        TurnFailed: the agent has no such mode, so it might act without asking.
    """
    if name_of(agent) == OPENCODE:
        return
    offered = way_to_set(session, "mode", "")[2]
    asking = next((mode for mode in ASKING_MODES if mode in offered), None)
    if asking is None:
        there_are = f" among {', '.join(offered)}" if offered else ": it offers no choice"
        message = f"the agent has no mode in which it asks before it acts{there_are}; so 'reject' cannot be kept"
        raise TurnFailed("mode", message)
    await choose(client, session, "mode", asking)


def name_of(agent: dict[str, Any]) -> Any:
    """Return the agent's name from its answer to `initialize`."""
    return (agent.get("agentInfo") or {}).get("name")


def opencode_end(began: float, end: dict[str, Any]) -> dict[str, Any]:
    """Return the usage and stop reason of the turn from opencode's database: opencode does not send them completely.

    Args:
        began: start of the turn, in seconds since 1970.
        end: the driver's `end` line, with the stop reason that opencode sent.
    """
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111 - as the agent does
    try:
        database = sqlite3.connect(f"file:{data}/opencode/opencode.db?mode=ro", uri=True)
        with closing(database):
            rows = database.execute(
                "SELECT data FROM message WHERE time_created >= ? ORDER BY time_created", (int(began * 1000),)
            )
            answers = [message for row in rows if (message := json.loads(row[0])).get("role") == "assistant"]
        counts = [answer["tokens"] for answer in answers if answer.get("tokens")]
        usage = {
            "inputTokens": sum(tokens["input"] for tokens in counts),
            "outputTokens": sum(tokens["output"] for tokens in counts),
            "thoughtTokens": sum(tokens["reasoning"] for tokens in counts),
            "cachedReadTokens": sum(tokens["cache"]["read"] for tokens in counts),
            "cachedWriteTokens": sum(tokens["cache"]["write"] for tokens in counts),
            "cost_usd": sum(answer.get("cost") or 0 for answer in answers),
        }
        reason = {"length": "max_tokens", "content-filter": "refusal"}.get(answers[-1].get("finish"))
    except (sqlite3.Error, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {"usage": None}  # opencode sends only the usage of the last request: that would be misleading
    return {"usage": usage, "stop_reason": reason or end["stop_reason"]}


async def choose(client: Client, session: dict[str, Any], what: str, value: str) -> None:
    """Set the agent's mode, model or thought_level (`what`) to `value`; raise TurnFailed if it is not offered."""
    method, params, offered = way_to_set(session, what, value)
    if value not in offered:
        there_are = f"; there are: {', '.join(offered)}" if offered else ": it offers no choice"
        raise TurnFailed(what, f"the agent has no {what} {value!r}{there_are}")
    await client.ask(what, method, {"sessionId": client.session_id, **params})


def way_to_set(session: dict[str, Any], what: str, value: str) -> tuple[str, dict[str, Any], list[str]]:
    """Return the method and parameters of a request that sets `what` to `value`, and the values the agent offers."""
    for option in session.get("configOptions") or []:
        if option.get("category") == what:
            params = {"configId": option.get("id"), "value": value}
            return "session/set_config_option", params, values_of(option.get("options") or [])
    key, listed, identity, method, parameter = OLDER_WAYS.get(what, ("", "", "", "", ""))
    offered = (session.get(key) or {}).get(listed) or []
    return method, {parameter: value}, [str(choice.get(identity)) for choice in offered]


def values_of(options: list[dict[str, Any]]) -> list[str]:
    """Return the values of a setting's options; an option may be a group of options."""
    flat = [member for option in options for member in option.get("options") or [option]]
    return [str(option.get("value")) for option in flat]


async def drive(turn: Turn, prompt: str) -> int:
    """Start the agent, carry out the turn, and stop the agent; return the exit code of the driver."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    try:
        agent = await asyncio.create_subprocess_exec(
            *turn.command, stdin=PIPE, stdout=PIPE, limit=CHUNK_BYTES, start_new_session=True, env=environment(turn)
        )
    except OSError as error:
        say(TurnFailed("start", f"{turn.command[0]} could not be started: {error.strerror}").line)
        return 1
    client = Client(allow=OWN_MODES.get(turn.mode or "auto", turn.mode != "plan"))
    lines = asyncio.StreamReader(limit=CHUNK_BYTES)
    filtering = asyncio.create_task(pass_objects(agent.stdout, lines))
    client.connection = Connection(client.answer, agent.stdin, lines, observers=[client.watch])  # type: ignore[arg-type]
    conversation = asyncio.create_task(converse(client, turn, prompt))
    stop = asyncio.create_task(stopping.wait())
    death = asyncio.create_task(ended(agent))
    await asyncio.wait({conversation, stop, death}, return_when=asyncio.FIRST_COMPLETED)
    if stopping.is_set() and client.prompting:
        with suppress(OSError, TimeoutError):  # the agent may have exited, or may have stopped reading
            cancel = client.connection.send_notification("session/cancel", {"sessionId": client.session_id})
            await asyncio.wait_for(cancel, EXIT_SECONDS)
    # Lines of an agent that has exited may still be unread. The timeout is needed if its children keep the pipe open.
    if not conversation.done():
        await asyncio.wait({conversation, death} if stopping.is_set() else {conversation}, timeout=CANCEL_SECONDS)
    if conversation.done() and connection_ended(conversation.exception()):  # the pipes close before the agent exits
        await asyncio.wait({death}, timeout=EXIT_SECONDS)
    code = conclude(conversation, agent)
    stop.cancel()
    filtering.cancel()
    await end_agent(agent, death, at_once=stopping.is_set())
    return 128 + signal.SIGTERM if stopping.is_set() else code


def environment(turn: Turn) -> dict[str, str]:
    """Return the agent's environment: the driver's, and opencode's permissions for the mode `reject` or `plan`."""
    permissions = OPENCODE_PERMISSIONS.get(turn.mode or "")
    return {**os.environ, **({"OPENCODE_PERMISSION": json.dumps(permissions)} if permissions else {})}


async def pass_objects(source: asyncio.StreamReader | None, target: asyncio.StreamReader) -> None:
    """Copy lines that begin with "{"; at other JSON, such as `null`, the library would close the connection."""
    held: list[bytes] = []
    while source is not None and (chunk := await source.read(1 << 16)):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            line = b"".join([*held, piece]).strip()
            held.clear()
            if line.startswith(b"{"):
                target.feed_data(line + b"\n")
            elif line:
                print(f"acp: no message: {line[:200].decode(errors='replace')}", file=sys.stderr)  # noqa: T201
        if rest:
            held.append(rest)
    target.feed_eof()


def conclude(conversation: asyncio.Task[dict[str, Any]], agent: Process) -> int:
    """Print the driver's last line, `end` or `error`; return the driver's exit code."""
    gone = "" if agent.returncode is None else f" (exit code {agent.returncode})"
    if not conversation.done():
        conversation.cancel()
        say(TurnFailed("prompt", f"the agent ended in the middle of its turn{gone}").line)
        return 1
    try:
        last = conversation.result()
    except TurnFailed as failed:
        ending = {"message": f"the agent ended in the middle of its turn{gone}"} if connection_ended(failed) else {}
        say({**failed.line, **ending})
        return 1
    except Exception as error:  # noqa: BLE001 - the driver must print a last line for any answer of the agent
        say(TurnFailed("prompt", f"the agent sent a message that cannot be understood ({type(error).__name__})").line)
        return 1
    say(last)
    return 0 if last["stop_reason"] == "end_turn" else 1


def connection_ended(error: BaseException | None) -> bool:
    """Return whether the error means that the connection to the agent closed before the agent answered a request."""
    return isinstance(error, TurnFailed) and isinstance(error.__cause__, OSError)


async def ended(agent: Process) -> None:
    """Wait until the process has ended. Polls: in some Python versions, `Process.wait` also waits for the pipes."""
    while agent.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def group_ended(group: int) -> None:
    """Wait until the process group is empty. Polls: there is no event for processes that are not children."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            await asyncio.sleep(0.05)


async def end_agent(agent: Process, death: asyncio.Task[None], *, at_once: bool) -> None:
    """Close the agent's input, wait for its end (`death`) unless `at_once`, then TERM and KILL its process group."""
    if agent.stdin is not None:
        agent.stdin.close()
    if not at_once:
        await asyncio.wait({death}, timeout=EXIT_SECONDS)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(agent.pid, signal_number)
        except ProcessLookupError:
            return
        await asyncio.wait({asyncio.create_task(group_ended(agent.pid))}, timeout=EXIT_SECONDS)


def say(line: dict[str, Any]) -> None:
    """Print one JSON line; write a question mark for half of a surrogate pair, which UTF-8 cannot encode."""
    sys.stdout.buffer.write(json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")
    sys.stdout.buffer.flush()


class ShortFormatter(logging.Formatter):
    """Formats log records of the library without tracebacks, for example a record about a line that is not JSON."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - a name of the library
        """Return the message of the error."""
        return str(ei[1])[:500]


def main(turn: str) -> NoReturn:
    """Carry out a turn and exit; `turn` is a JSON object with the fields of `Turn`, stdin contains the prompt."""
    handler = logging.StreamHandler()
    handler.setFormatter(ShortFormatter("acp: %(message)s"))
    logging.basicConfig(handlers=[handler])
    prompt = sys.stdin.buffer.read().decode(errors="replace")
    code = asyncio.run(drive(Turn(**json.loads(turn)), prompt))
    os._exit(code)  # after a normal exit, asyncio would log errors if a child of the agent keeps the pipes open
