"""The stand-in for the model does what its directives say."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead

import pytest
from tests.model_server.server import ModelServer


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
    connection = HTTPConnection(*server.server_address)
    connection.request("POST", "/v1/messages?beta=true", json.dumps(body))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


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
    events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: ")]
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
