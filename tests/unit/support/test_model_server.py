"""The stand-in for the model does what its directives say."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead

import pytest

from tests.support.model_server.in_container import program
from tests.support.model_server.server import ModelServer


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def ask(server, *messages, stream=True, tools=("Bash",)):
    """Messages: a text is a user's; a tuple is the result of a tool call. Returns the status and the raw body."""
    sent = []
    for message in messages:
        result = (
            [{"type": "tool_result", "tool_use_id": "t", "content": message[0]}] if isinstance(message, tuple) else None
        )
        sent.append({"role": "user", "content": result or message})
    body = {"model": "m", "stream": stream, "messages": sent, "tools": [{"name": name} for name in tools]}
    return post(server, "/v1/messages?beta=true", body)


def post(server, path, body):
    connection = HTTPConnection(*server.server_address)
    connection.request("POST", path, json.dumps(body))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


LIST_SHELL = {
    "properties": {"command": {"type": "array"}, "why": {"type": "string"}},
    "required": ["command", "why"],
}


def respond(server, *heard, stream=False, tools=(("exec_command", {"properties": {"cmd": {"type": "string"}}}),)):
    """OpenAI Responses: a text is a user's; a tuple is the output of a call."""
    items = []
    for each in heard:
        if isinstance(each, tuple):
            items.append({"type": "function_call_output", "call_id": "c", "output": each[0]})
        else:
            items.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": each}]})
    offered = [{"type": "function", "name": name, "parameters": schema} for name, schema in tools]
    given = {"model": "m", "input": items, "tools": [*offered, {"type": "web_search"}], "stream": stream}
    return post(server, "/v1/responses", given)


def chat(server, *heard, stream=False, tools=(("bash", LIST_SHELL),)):
    """OpenAI Chat: a text is a user's; a tuple is the result of a call."""
    sent = [{"role": "system", "content": "[[say: no]]"}]
    for each in heard:
        result = {"role": "tool", "tool_call_id": "c", "content": each[0]} if isinstance(each, tuple) else None
        sent.append(result or {"role": "user", "content": [{"type": "text", "text": each}]})
    offered = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in tools]
    body = {"model": "m", "messages": sent, "stream": stream, **({"tools": offered} if offered else {})}
    return post(server, "/v1/chat/completions", body)


def events_of(body):
    """The objects of a stream of events."""
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def said(server, *messages, **given):
    """Content blocks of a whole answer."""
    status, body = ask(server, *messages, stream=False, **given)
    assert status == 200
    return json.loads(body)["content"]


def test_one_tool_call_is_one_turn(server):
    prompt = 'do [[say: first]] [[run: echo a\necho b]] [[tool: Write {"x": [1]}]] [[say: done]]'
    first = said(server, prompt)
    assert first[0] == {"type": "text", "text": "first"}
    assert (first[1]["name"], first[1]["input"]) == ("Bash", {"command": "echo a\necho b"})
    assert [(block["name"], block["input"]) for block in said(server, prompt, ("a\nb",))] == [("Write", {"x": [1]})]
    assert said(server, prompt, ("a\nb",), ("ok",)) == [{"type": "text", "text": "done"}]


def test_a_prompt_without_words_is_answered_with_what_was_heard(server):
    assert said(server, "one", "<system-reminder>[[say: no]]</system-reminder>", "two [[run: x]]", ("out\nmore",)) == [
        {"type": "text", "text": "DONE history=2 result=out"}
    ]


def test_prompts_that_an_agent_joined_are_told_apart(server):
    blocks = [{"type": "text", "text": text} for text in ("[[error: 400]]", "again")]
    assert said(server, blocks) == [{"type": "text", "text": "DONE history=2 result=none"}]


def test_a_stream_holds_what_the_whole_does(server):
    _, body = ask(server, "[[flood: 2500]] [[run: true]]")
    events = events_of(body)
    assert [event["type"] for event in events][:2] == ["message_start", "content_block_start"]
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    text = "".join(delta.get("text", "") for delta in deltas)
    assert len(text) == 2500
    assert len(set(text.splitlines())) == len(text.splitlines())
    assert json.loads(deltas[-1]["partial_json"]) == {"command": "true"}


def test_faults_are_given_as_often_as_asked(server):
    prompt = "[[error: 529 x2]] [[drop: x1]] [[say: better]]"
    assert [ask(server, prompt)[0] for _ in range(2)] == [529, 529]
    with pytest.raises(IncompleteRead):
        ask(server, prompt)
    assert b"better" in ask(server, prompt)[1]
    assert json.loads(ask(server, "[[error: 401]]")[1])["error"]["type"] == "authentication_error"
    assert [request["error"] for request in server.requests] == [529, 529, None, None, 401]


def test_a_side_request_obeys_no_directive(server):
    assert said(server, "[[error: 400]] [[run: x]]", tools=()) == [{"type": "text", "text": "A side request"}]


def test_closing_ends_a_stall():
    with ModelServer() as server:
        connection = HTTPConnection(*server.server_address)
        body = {
            "messages": [{"role": "user", "content": "[[stall: 600]]"}],
            "tools": [{"name": "Bash"}],
            "stream": True,
        }
        connection.request("POST", "/v1/messages", json.dumps(body))
        answer = connection.getresponse()
        assert answer.readline() == b"event: message_start\n"
    assert b"message_stop" in answer.read()


def test_what_is_not_served_is_a_404(server):
    connection = HTTPConnection(*server.server_address)
    connection.request("GET", "/v1/models")
    assert connection.getresponse().status == 404


def test_responses_calls_the_shell_that_is_offered(server):
    prompt = "[[say: first]] [[run: echo a]]"
    status, body = respond(server, "<environment_context>\n<cwd>/x</cwd>\n</environment_context>", prompt)
    message, call = json.loads(body)["output"]
    assert (status, message["content"][0]["text"]) == (200, "first")
    assert (call["name"], json.loads(call["arguments"])) == ("exec_command", {"cmd": "echo a"})
    ended = json.loads(respond(server, "# AGENTS.md instructions for /x", "old", prompt, ("a\nb",))[1])
    assert ended["output"][0]["content"][0]["text"] == "DONE history=2 result=a"


def test_responses_streams_what_the_whole_holds(server):
    _, body = respond(server, "[[flood: 2500]] [[run: true]]", stream=True)
    events = events_of(body)
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert (len(text), text) == (2500, done[0]["content"][0]["text"])
    assert events[-1]["response"]["output"] == done
    assert done[1]["type"] == "function_call"


def test_chat_fills_in_what_the_shell_requires(server):
    choice = json.loads(chat(server, "[[run: echo a]]")[1])["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    assert (choice["finish_reason"], function["name"]) == ("tool_calls", "bash")
    assert json.loads(function["arguments"]) == {"command": ["sh", "-c", "echo a"], "why": "a step"}
    ended = json.loads(chat(server, "x", "<system-reminder>y</system-reminder>", "[[run: echo a]]", ("a",))[1])
    assert ended["choices"][0]["message"]["content"] == "DONE history=2 result=a"
    assert ended["choices"][0]["finish_reason"] == "stop"


def test_chat_streams_what_the_whole_holds(server):
    _, body = chat(server, "[[flood: 2500]] [[run: true]]", stream=True)
    assert body.endswith(b"data: [DONE]\n\n")
    *events, usage = events_of(body)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert len("".join(delta.get("content", "") for delta in deltas)) == 2500
    assert [call["function"]["name"] for delta in deltas for call in delta.get("tool_calls", [])] == ["bash"]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 18)


def test_chat_without_tools_is_a_side_request_unless_the_prompt_says_otherwise(server):
    def text(*heard):
        return json.loads(chat(server, *heard, tools=())[1])["choices"][0]["message"]["content"]

    assert text("Name this: x") == "A side request"
    assert text("`[[say: here]] [[run: ls -l]]`") == "here\n```bash\nls -l\n```"


@pytest.mark.parametrize("api", [respond, chat])
def test_openai_faults(server, api):
    assert api(server, "[[error: 401]]")[0] == 401
    assert json.loads(api(server, "[[error: 500]]")[1])["error"]["message"] == "scripted error 500"
    with pytest.raises(IncompleteRead):
        api(server, "[[drop: x1]] [[say: better]]", stream=True)
    assert b"better" in api(server, "[[drop: x1]] [[say: better]]", stream=True)[1]


def gemini(server, *messages, verb="generateContent", tools=("run_shell_command",)):
    """Messages as for `ask`, after what Gemini CLI begins with; the last is answered."""
    contents = [{"role": "user", "parts": [{"text": "<session_context>\nToday is …\n</session_context>"}]}]
    for message in messages:
        response = {"name": "run_shell_command", "response": {"output": message[0]}}
        part = {"functionResponse": response} if isinstance(message, tuple) else {"text": message}
        contents += [{"role": "user", "parts": [part]}, {"role": "model", "parts": [{"text": "ok"}]}]
    offered = [{"functionDeclarations": [{"name": name} for name in tools]}] if tools else []
    return post(server, f"/v1beta/models/gemini-x:{verb}", {"contents": contents[:-1], "tools": offered})


def gemini_parts(server, *messages, **given):
    status, body = gemini(server, *messages, **given)
    assert status == 200
    return json.loads(body)["candidates"][0]["content"]["parts"]


def test_gemini_does_as_the_directives_say(server):
    prompt = "[[say: first]] [[run: echo a]] [[error: 500 x1]]"
    text, call = gemini_parts(server, "before", prompt)
    assert text == {"text": "first"}
    assert (call["functionCall"]["name"], call["functionCall"]["args"]) == ("run_shell_command", {"command": "echo a"})
    status, error = gemini(server, "before", prompt, ("a\nb",))
    assert (status, json.loads(error)["error"]["status"]) == (500, "INTERNAL")
    assert gemini_parts(server, "before", prompt, ("a\nb",)) == [{"text": "DONE history=2 result=a"}]
    assert gemini_parts(server, prompt, tools=()) == [{"text": "A side request"}]
    assert server.requests[0]["model"] == "gemini-x"


def test_gemini_streams(server):
    stream = "streamGenerateContent"
    _, body = gemini(server, "[[flood: 2500]] [[run: true]]", verb=f"{stream}?alt=sse")
    events = [json.loads(line[6:])["candidates"][0] for line in body.decode().splitlines() if line]
    parts = [part for event in events for part in event["content"]["parts"]]
    assert len("".join(part.get("text", "") for part in parts)) == 2500
    assert parts[-1]["functionCall"]["args"] == {"command": "true"}
    assert [event.get("finishReason") for event in events] == [None] * (len(events) - 1) + ["STOP"]
    with pytest.raises(IncompleteRead) as broken:
        gemini(server, "[[drop]]", verb=stream)
    assert broken.value.partial.startswith(b"data: ")


def test_gemini_counts_tokens(server):
    assert json.loads(post(server, "/v1beta/models/m:countTokens", {})[1])["totalTokens"] == 11


def test_the_server_runs_as_one_program_where_only_python_is(tmp_path):
    command = [sys.executable, "-I", "-c", program(), "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        host, _, port = running.stdout.readline().removeprefix("listening on http://").strip().rpartition(":")
        connection = HTTPConnection(host, int(port))
        connection.request("POST", "/v1/messages", json.dumps({"messages": [{"role": "user", "content": "hello"}]}))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        running.kill()
    assert answer["content"] == [{"type": "text", "text": "A side request"}]
