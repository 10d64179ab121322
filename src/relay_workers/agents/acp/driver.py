# The protocol's other end: runs in the workspace's container, so that a turn outlives the worker that started it.
#
# agents/acp/command.py puts a `#!` line before this file and a call of `main` after it. It starts an agent that speaks
# the Agent Client Protocol (JSON-RPC over the agent's stdin and stdout), gives it the prompt of stdin, answers
# what it asks, and prints a JSON line for each thing that happens:
#
#   {"type": "session", "session_id", "loaded", "replayed"}   the conversation is there; replayed: messages it brought
#   {"type": "update", "update"}                              what the agent tells, as it tells it
#   {"type": "permission", "tool_call", "allowed"}            it asked, and this was the answer
#   {"type": "end", "stop_reason", "usage"}                   its turn is over
#   {"type": "error", "stage", "message", "code", "data"}     or it never will be
#
# Exit codes: 0 where the agent ended its turn by itself, 143 after SIGTERM, else 1.
"""The program that speaks the Agent Client Protocol with an agent; the comment above says how it is used."""

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

from acp import PROTOCOL_VERSION, RequestError
from acp.connection import Connection, StreamDirection, StreamEvent

CHUNK_BYTES = 16 << 20
"""The library puts longer lines together from pieces of this size; asyncio's own 64 KiB make that slow."""
CANCEL_SECONDS = 3.0
"""How long an agent may take to end a turn that is cancelled."""
EXIT_SECONDS = 3.0
"""How long it may take to end after that, and again after SIGTERM."""
QUIET_SECONDS = 0.3
"""A loaded conversation is there when nothing of it has come for so long."""
REPLIES = {True: ("allow_once", "allow_always"), False: ("reject_once", "reject_always")}
"""Kinds of answers to a request for permission; what holds for always would be written into the repository."""
OWN_MODES = {"auto": True, "reject": False}
"""Modes that only say how requests are answered; any other is the agent's own."""
ASKING_MODES = ("default", "ask", "manual", "read-only")
"""What agents call the mode in which they ask before they act; `reject` needs it."""
OPENCODE = "OpenCode"
"""It has no such mode: what it asks for is a part of its configuration, which a variable goes over."""
OPENCODE_PERMISSIONS = {
    "reject": {"edit": "ask", "bash": "ask", "webfetch": "ask", "external_directory": "ask"},
    "plan": {"edit": "deny", "bash": "deny"},
}
OLDER_WAYS = {
    "mode": ("modes", "availableModes", "id", "session/set_mode", "modeId"),
    "model": ("models", "availableModels", "modelId", "session/set_model", "modelId"),
}
"""How agents without `configOptions` list their choices and take one."""


@dataclass(frozen=True)
class Turn:
    """What to do: the agent's command line, the conversation to go on with, and settings it must have."""

    command: list[str]
    session_id: str | None = None
    mode: str | None = None
    model: str | None = None
    effort: str | None = None


class TurnFailed(Exception):  # noqa: N818 - reads as what it says
    """The turn cannot go on; `stage` says what was under way."""

    def __init__(self, stage: str, message: str, code: int | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.line = {"type": "error", "stage": stage, "message": message, "code": code, "data": data}


@dataclass
class Peer:
    """What the agent talks to."""

    allow: bool
    prompting: bool = False
    updates: int = 0
    replayed: int = 0
    session_id: str | None = None
    connection: Connection = field(init=False)

    def watch(self, event: StreamEvent) -> None:
        """Print updates in the order in which they come; those of a conversation that is loaded are its past."""
        params = event.message.get("params")
        if event.direction is not StreamDirection.INCOMING or event.message.get("method") != "session/update":
            return
        self.updates += 1
        update = params.get("update") if isinstance(params, dict) else None
        if self.prompting:
            say({"type": "update", "update": update})
        elif isinstance(update, dict) and update.get("sessionUpdate") == "user_message_chunk":
            self.replayed += 1

    async def answer(self, method: str, params: Any, is_notification: bool) -> Any:  # noqa: FBT001 - the library's
        """AiderAnswer a request of the agent's; files and terminals are not among what `initialize` offers."""
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
        """Ask the agent.

        Raises:
            TurnFailed: it refused, or is gone.
        """
        try:
            answer = await self.connection.send_request(method, params)
        except RequestError as error:
            raise TurnFailed(stage, str(error), error.code, error.data) from error
        except OSError as error:
            raise TurnFailed(stage, "the agent closed the connection") from error
        return answer if isinstance(answer, dict) else {}


async def converse(peer: Peer, turn: Turn, prompt: str) -> dict[str, Any]:
    """The whole turn; returns its last line.

    Raises:
        TurnFailed: it did not come to an end.
    """
    hello = {
        "protocolVersion": PROTOCOL_VERSION,
        "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
        "clientInfo": {"name": "relay", "version": "1"},
    }
    agent = await peer.ask("initialize", "initialize", hello)
    if (version := agent.get("protocolVersion")) != PROTOCOL_VERSION:
        raise TurnFailed("initialize", f"the agent speaks version {version} of the protocol, not {PROTOCOL_VERSION}")
    session = await open_session(peer, turn, agent)
    say({"type": "session", "session_id": peer.session_id, "loaded": bool(turn.session_id), "replayed": peer.replayed})
    if turn.mode == "reject":
        await have_it_ask(peer, session, agent)
    elif turn.mode is not None and turn.mode not in OWN_MODES:
        await choose(peer, session, "mode", turn.mode)
    if turn.model is not None:
        await choose(peer, session, "model", turn.model)
    if turn.effort is not None:
        await choose(peer, session, "thought_level", turn.effort)
    peer.prompting = True
    began = time.time()
    content = [{"type": "text", "text": prompt}]
    ended = await peer.ask("prompt", "session/prompt", {"sessionId": peer.session_id, "prompt": content})
    end = {"type": "end", "stop_reason": ended.get("stopReason"), "usage": ended.get("usage")}
    return {**end, **opencode_end(began, end)} if name_of(agent) == OPENCODE else end


async def open_session(peer: Peer, turn: Turn, agent: dict[str, Any]) -> dict[str, Any]:
    """A new conversation, or the one to go on with: never a new one in its place."""
    where: dict[str, Any] = {"cwd": os.getcwd(), "mcpServers": []}  # noqa: PTH109 - as the agent is told it
    if turn.session_id is None:
        session = await peer.ask("new", "session/new", where)
        peer.session_id = session.get("sessionId")
        if not isinstance(peer.session_id, str):
            raise TurnFailed("new", "the agent gave its conversation no id")
        return session
    if not (agent.get("agentCapabilities") or {}).get("loadSession"):
        raise TurnFailed("load", "the agent cannot go on with an earlier conversation (loadSession)")
    peer.session_id = turn.session_id
    session = await peer.ask("load", "session/load", {**where, "sessionId": turn.session_id})
    seen = -1
    while seen != peer.updates:  # the past comes before the answer, but for agents (Gemini CLI) that do not wait for it
        seen = peer.updates
        await asyncio.sleep(QUIET_SECONDS)
    if not peer.replayed:
        raise TurnFailed("load", f"the agent brought nothing back of the conversation {turn.session_id}")
    return session


async def have_it_ask(peer: Peer, session: dict[str, Any], agent: dict[str, Any]) -> None:
    """Choose a mode in which the agent asks before it acts; what it then asks for is refused.

    Raises:
        TurnFailed: it has none, so it might act without asking.
    """
    if name_of(agent) == OPENCODE:
        return
    offered = way_to_set(session, "mode", "")[2]
    asking = next((mode for mode in ASKING_MODES if mode in offered), None)
    if asking is None:
        there_are = f" among {', '.join(offered)}" if offered else ": it offers no choice"
        message = f"the agent has no mode in which it asks before it acts{there_are}; so 'reject' cannot be kept"
        raise TurnFailed("mode", message)
    await choose(peer, session, "mode", asking)


def name_of(agent: dict[str, Any]) -> Any:
    """What the agent calls itself."""
    return (agent.get("agentInfo") or {}).get("name")


def opencode_end(began: float, end: dict[str, Any]) -> dict[str, Any]:
    """What opencode notes and does not tell: the tokens of all requests since, and how the last answer ended."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111 - as the agent does it
    try:
        database = sqlite3.connect(f"file:{data}/opencode/opencode.db?mode=ro", uri=True)
        with closing(database):
            rows = database.execute(
                "SELECT data FROM message WHERE time_created >= ? ORDER BY time_created", (int(began * 1000),)
            )
            answers = [said for row in rows if (said := json.loads(row[0])).get("role") == "assistant"]
        tokens = [each["tokens"] for each in answers if each.get("tokens")]
        usage = {
            "inputTokens": sum(each["input"] for each in tokens),
            "outputTokens": sum(each["output"] for each in tokens),
            "thoughtTokens": sum(each["reasoning"] for each in tokens),
            "cachedReadTokens": sum(each["cache"]["read"] for each in tokens),
            "cachedWriteTokens": sum(each["cache"]["write"] for each in tokens),
            "cost_usd": sum(each.get("cost") or 0 for each in answers),
        }
        reason = {"length": "max_tokens", "content-filter": "refusal"}.get(answers[-1].get("finish"))
    except (sqlite3.Error, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {"usage": None}  # what it tells by the protocol is that of its last request: none is better than that
    return {"usage": usage, "stop_reason": reason or end["stop_reason"]}


async def choose(peer: Peer, session: dict[str, Any], what: str, value: str) -> None:
    """Set the mode, the model or the thought level."""
    method, given, offered = way_to_set(session, what, value)
    if value not in offered:
        there_are = f"; there are: {', '.join(offered)}" if offered else ": it offers no choice"
        raise TurnFailed(what, f"the agent has no {what} {value!r}{there_are}")
    await peer.ask(what, method, {"sessionId": peer.session_id, **given})


def way_to_set(session: dict[str, Any], what: str, value: str) -> tuple[str, dict[str, Any], list[str]]:
    """The method and parameters by which this agent takes it, and the values it offers."""
    for option in session.get("configOptions") or []:
        if option.get("category") == what:
            given = {"configId": option.get("id"), "value": value}
            return "session/set_config_option", given, values_of(option.get("options") or [])
    key, listed, identity, method, parameter = OLDER_WAYS.get(what, ("", "", "", "", ""))
    offered = (session.get(key) or {}).get(listed) or []
    return method, {parameter: value}, [str(each.get(identity)) for each in offered]


def values_of(options: list[dict[str, Any]]) -> list[str]:
    """The values of a choice, which may be in groups."""
    flat = [each for option in options for each in option.get("options") or [option]]
    return [str(option.get("value")) for option in flat]


async def drive(turn: Turn, prompt: str) -> int:
    """Start the agent, have the turn, end the agent; returns the exit code."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    try:
        agent = await asyncio.create_subprocess_exec(
            *turn.command, stdin=PIPE, stdout=PIPE, limit=CHUNK_BYTES, start_new_session=True, env=environment(turn)
        )
    except OSError as error:
        say(TurnFailed("start", f"{turn.command[0]} could not be started: {error.strerror}").line)
        return 1
    peer = Peer(allow=OWN_MODES.get(turn.mode or "auto", turn.mode != "plan"))
    lines = asyncio.StreamReader(limit=CHUNK_BYTES)
    sieve = asyncio.create_task(pass_objects(agent.stdout, lines))
    peer.connection = Connection(peer.answer, agent.stdin, lines, observers=[peer.watch])  # type: ignore[arg-type]
    talk = asyncio.create_task(converse(peer, turn, prompt))
    stop = asyncio.create_task(stopping.wait())
    death = asyncio.create_task(ended(agent))
    await asyncio.wait({talk, stop, death}, return_when=asyncio.FIRST_COMPLETED)
    if stopping.is_set() and peer.prompting:
        with suppress(OSError, TimeoutError):  # it may be gone, or read nothing any more
            cancel = peer.connection.send_notification("session/cancel", {"sessionId": peer.session_id})
            await asyncio.wait_for(cancel, EXIT_SECONDS)
    # What a dead agent has said may still be on its way; a pipe that its children hold never ends.
    if not talk.done():
        await asyncio.wait({talk, death} if stopping.is_set() else {talk}, timeout=CANCEL_SECONDS)
    if talk.done() and is_lost(talk.exception()):  # its pipes close a moment before it ends
        await asyncio.wait({death}, timeout=EXIT_SECONDS)
    code = conclude(talk, agent)
    stop.cancel()
    sieve.cancel()
    await end_agent(agent, death, at_once=stopping.is_set())
    return 128 + signal.SIGTERM if stopping.is_set() else code


def environment(turn: Turn) -> dict[str, str]:
    """The agent's: as it is, but that a mode goes over what opencode's own configuration allows."""
    held = OPENCODE_PERMISSIONS.get(turn.mode or "")
    return {**os.environ, **({"OPENCODE_PERMISSION": json.dumps(held)} if held else {})}


async def pass_objects(source: asyncio.StreamReader | None, target: asyncio.StreamReader) -> None:
    """Pass on the lines that can be messages; at any other that is JSON, such as `null`, the library would end."""
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


def conclude(talk: asyncio.Task[dict[str, Any]], agent: Process) -> int:
    """Print the last line; returns the exit code."""
    gone = "" if agent.returncode is None else f" (exit code {agent.returncode})"
    if not talk.done():
        talk.cancel()
        say(TurnFailed("prompt", f"the agent ended in the middle of its turn{gone}").line)
        return 1
    try:
        last = talk.result()
    except TurnFailed as failed:
        ending = {"message": f"the agent ended in the middle of its turn{gone}"} if is_lost(failed) else {}
        say({**failed.line, **ending})
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it was that the agent said: the turn has an end, and so has the agent
        say(TurnFailed("prompt", f"the agent said what cannot be understood ({type(error).__name__})").line)
        return 1
    say(last)
    return 0 if last["stop_reason"] == "end_turn" else 1


def is_lost(error: BaseException | None) -> bool:
    """Whether this is the end of the connection and no answer."""
    return isinstance(error, TurnFailed) and isinstance(error.__cause__, OSError)


async def ended(agent: Process) -> None:
    """Return once the process has ended. `Process.wait` of some versions waits for its pipes too, hence the looking."""
    while agent.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def group_ended(group: int) -> None:
    """Return once no process of the group is left; nothing tells of those that are not our children."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            await asyncio.sleep(0.05)


async def end_agent(agent: Process, death: asyncio.Task[None], *, at_once: bool) -> None:
    """An agent ends when its input does; else it is told, then killed, with the program behind its launcher."""
    if agent.stdin is not None:
        agent.stdin.close()
    if not at_once:
        await asyncio.wait({death}, timeout=EXIT_SECONDS)
    for insist in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(agent.pid, insist)
        except ProcessLookupError:
            return
        await asyncio.wait({asyncio.create_task(group_ended(agent.pid))}, timeout=EXIT_SECONDS)


def say(line: dict[str, Any]) -> None:
    """Print one line. Halves of surrogate pairs, which JSON can hold and UTF-8 cannot, become question marks."""
    sys.stdout.buffer.write(json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")
    sys.stdout.buffer.flush()


class Short(logging.Formatter):
    """What the library complains of, such as a line that is no JSON, without its tracebacks."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's
        """The error's own words."""
        return str(ei[1])[:500]


def main(turn: str) -> NoReturn:
    """Have the turn that this JSON object describes."""
    handler = logging.StreamHandler()
    handler.setFormatter(Short("acp: %(message)s"))
    logging.basicConfig(handlers=[handler])
    prompt = sys.stdin.buffer.read().decode(errors="replace")
    code = asyncio.run(drive(Turn(**json.loads(turn)), prompt))
    os._exit(code)  # where a child of the agent still holds its pipes, asyncio would complain of them at the end
