"""A tiny agent that speaks the Agent Client Protocol, for tests of the other end: the prompt says what it does.

Plain JSON lines and no library, so that a misunderstanding of the library's shows. It keeps its conversations in the
file that its first argument names; with ``--no-load`` it says that it cannot load them, with ``--no-asking`` it has no
mode in which it asks before it acts.
"""

import json
import signal
import sys
import time
from pathlib import Path

SESSIONS = Path(sys.argv[1])
MODES = {"currentModeId": "code", "availableModes": [{"id": "code", "name": "Code"}, {"id": "plan", "name": "Plan"}]}
if "--no-asking" not in sys.argv:
    MODES["availableModes"].append({"id": "default", "name": "Ask"})
CHOICES = [{"id": "m", "category": "model", "type": "select", "options": [{"value": "big", "name": "Big"}]}]

DONE = {"stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}


def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def update(what, **more):
    send(method="session/update", params={"sessionId": "s1", "update": {"sessionUpdate": what, **more}})


def speak(text):
    update("agent_message_chunk", content={"type": "text", "text": text})


def ask_permission():
    kinds = ("allow_always", "allow_once", "reject_once")
    options = [{"optionId": f"id-{kind}", "name": kind, "kind": kind} for kind in kinds]
    call = {"toolCallId": "t1", "title": "write x.txt", "kind": "edit", "rawInput": {"path": "x.txt"}}
    params = {"sessionId": "s1", "toolCall": call, "options": options}
    send(id="ask-1", method="session/request_permission", params=params)
    outcome = json.loads(sys.stdin.readline())["result"]["outcome"]
    return outcome.get("optionId", outcome["outcome"])


def ask(_):
    chosen = ask_permission()
    if chosen == "id-allow_once":
        Path("x.txt").write_text("x")
        diff = {"type": "diff", "path": str(Path("x.txt").absolute()), "oldText": None, "newText": "x"}
        update("tool_call_update", toolCallId="t1", status="completed", content=[diff])
    else:
        update("tool_call_update", toolCallId="t1", status="failed", rawOutput="refused")
    speak(f"permission: {chosen}")


def files(_):
    """Ask for what was not offered."""
    send(id="f1", method="fs/read_text_file", params={"sessionId": "s1", "path": "/etc/passwd"})
    speak(json.loads(sys.stdin.readline())["error"]["message"])


def odd(_):
    """Lines that are JSON and no message."""
    print('null\n[1]\n7\n"x"\n{"half', flush=True)
    speak("went on")


def die(_):
    speak("so far")
    sys.exit(7)


def hang(how):
    update("tool_call", toolCallId="t2", title="sleep", kind="execute", status="in_progress")
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if json.loads(sys.stdin.readline())["method"] == "session/cancel":
        return {"stopReason": "cancelled"}
    return None


def fail(words):
    raise ValueError({"code": -32603, "message": "Internal error", "data": {"details": words}})


SCENES = {
    "ask": ask,
    "files": files,
    "flood": lambda size: speak("x" * int(size)),
    "die": die,
    "odd": odd,
    "hang": hang,
    "stop": lambda reason: {"stopReason": reason},
    "fail": fail,
    "prompts": lambda _: speak(f"prompts={len(SESSIONS.read_text().splitlines())}"),
}


def prompt(text):
    """Play the scene that the first word names; without one, tell the prompt's length."""
    scene, _, argument = text.partition(" ")
    if scene in SCENES:
        return SCENES[scene](argument) or DONE
    speak(f"{len(text)} ")
    speak("characters, grüße \ud800")
    return DONE


def load(session_id):
    if session_id != "s1" or not SESSIONS.exists():
        raise ValueError({"code": -32602, "message": "Invalid params", "data": {"details": "Session not found"}})
    for line in SESSIONS.read_text().splitlines():
        update("user_message_chunk", content={"type": "text", "text": json.loads(line)})
        speak("an answer of the past")
    return {"modes": MODES, "configOptions": CHOICES}


def answer(method, params):
    if method == "initialize":
        return {"protocolVersion": 1, "agentCapabilities": {"loadSession": "--no-load" not in sys.argv}}
    if method == "session/new":
        return {"sessionId": "s1", "modes": MODES, "configOptions": CHOICES}
    if method == "session/load":
        return load(params["sessionId"])
    if method in {"session/set_mode", "session/set_config_option"}:
        speak(f"before the turn: {params}")
        with Path("settings").open("a") as file:
            file.write(f"{method} {params.get('modeId') or params['value']}\n")
        return {}
    text = params["prompt"][0]["text"]
    with SESSIONS.open("a") as file:
        file.write(json.dumps(text) + "\n")
    return prompt(text)


print("a line that is no JSON")
for request in map(json.loads, iter(sys.stdin.readline, "")):
    try:
        send(id=request["id"], result=answer(request["method"], request.get("params", {})))
    except ValueError as error:
        send(id=request["id"], error=error.args[0])
