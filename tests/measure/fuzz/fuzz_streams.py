"""
Fuzz the event reader and the merged answer, guided by coverage. Two properties must hold: the events do not depend on
how the bytes were split, and the text of the stream's chunks is the text of the completion. The events of responses
come in any order, and must only be taken without an error.

    pip install atheris    # Linux and macOS
    python tests/measure/fuzz/fuzz_streams.py -max_total_time=300 -max_len=4096

Each run explores with a new seed; ``.ci/run`` uses a fixed one. The fuzzer stops at the first input that breaks a
property, and writes it to a file. With that file as an argument, it runs only that input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import atheris

with atheris.instrument_imports(include=["openai_continue"]):
    from openai_continue import Continuation
    from openai_continue._core.chunks import choices_of
    from openai_continue._core.codec.endpoints import endpoint_of
    from openai_continue._core.json import load
    from openai_continue._core.learned import Learned
    from openai_continue._core.rounds import Rounds
    from openai_continue._core.setup import Setup
    from openai_continue._sdk.sse import EventReader, write_event
    from openai_continue._tables import providers

ROUNDS = 4
TEXTS = ["word", " ", "\n", "\ufffd", "ab", "}", '{"a": 1', "<think>", "</think>\n\n", "日", "a b c d e f g h " * 6]
ENDS = [None, None, None, "length", "stop", "tool_calls", "content_filter", 5]
FIELDS = ["content", "content", "content", "tool_calls", "role", "refusal"]
THOUGHTS = ["reasoning_content", "reasoning"]
ROWS = ["deepinfra", "vllm", "mistral", "llama.cpp", "deepseek"]
EVENTS = ["created", *["output_item.added", "content_part.added", "output_text.delta", "output_text.done"] * 2]
EVENTS += ["reasoning_text.delta", "content_part.done", "output_item.done", "completed", "incomplete", "failed"]
ITEMS = ["message", "message", "reasoning", "function_call"]
STATUSES = ["completed", "incomplete", "incomplete", "failed", None]
SEPARATORS = [b"\n\n", b"\r\n\r\n", b"\r\r", b": ping\n\n", b"event: x\ndata: "]


def chunk(data: atheris.FuzzedDataProvider, running: set[int], fields: list[str]) -> bytes:
    """Return an event with a chunk of some of the running choices, or arbitrary bytes."""
    if data.ConsumeProbability() < 0.1:
        return data.ConsumeBytes(20) + data.PickValueInList(SEPARATORS)
    items: list[dict[str, Any]] = []
    for index in sorted(running):
        if data.ConsumeBool():
            continue
        delta = {data.PickValueInList(fields): data.PickValueInList(TEXTS) for _ in range(data.ConsumeIntInRange(0, 2))}
        end = data.PickValueInList(ENDS)
        items.append({"index": index, "delta": delta, "finish_reason": end})
        if end is not None:
            running.discard(index)
    made: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": items}
    if data.ConsumeBool():
        made["usage"] = {"prompt_tokens": 3, "completion_tokens": data.ConsumeIntInRange(-1, 50)}
    return write_event(made)


def response_event(data: atheris.FuzzedDataProvider) -> bytes:
    """Return an event of a response with one message, in any order, or arbitrary bytes."""
    if data.ConsumeProbability() < 0.1:
        return data.ConsumeBytes(20) + data.PickValueInList(SEPARATORS)
    kind = data.PickValueInList(EVENTS)
    text = data.PickValueInList(TEXTS)
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "i", "type": data.PickValueInList(ITEMS), "status": "in_progress", "content": [part]}
    end = {"status": data.PickValueInList(STATUSES), "incomplete_details": {"reason": "max_output_tokens"}}
    made: dict[str, Any] = {"type": f"response.{kind}", "item_id": "i", "output_index": data.ConsumeIntInRange(0, 1)}
    made.update({"content_index": 0, "delta": text, "text": text, "part": part, "item": item})
    return write_event({**made, "response": {"id": "r", "model": "m", "output": [item], **end}})


def read(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """Read a stream in pieces; return the data of its events, and all of its bytes."""
    reader = EventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [event.data for event in events if event.data is not None], b"".join(
        event.raw for event in events
    ) + reader.rest()


def split(data: atheris.FuzzedDataProvider, stream: bytes) -> list[bytes]:
    """Split a stream at up to eight places."""
    edges = sorted(data.ConsumeIntInRange(0, len(stream)) for _ in range(data.ConsumeIntInRange(0, 8)))
    return [stream[start:end] for start, end in zip([0, *edges], [*edges, len(stream)], strict=True)]


def texts(choices: Iterable[dict[str, Any]], name: str) -> dict[tuple[int, str], str]:
    """Return the joined text of each choice and field that has any, as the caller of a stream joins it."""
    joined: dict[tuple[int, str], str] = {}
    for item in choices:
        for field in ("content", *THOUGHTS):
            text = (item.get(name) or {}).get(field)
            if isinstance(text, str) and text:
                joined[item["index"], field] = joined.get((item["index"], field), "") + text
    return joined


def fuzz(raw: bytes) -> None:
    """Run one call, whose rounds are made from these bytes."""
    data = atheris.FuzzedDataProvider(raw)
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    body.update(data.PickValueInList([{}, {"stop": ["b c", "d"]}, {"n": 3}, {"max_tokens": 60}, {"logprobs": True}]))
    if is_response := data.ConsumeBool():
        body = {"model": "m", "input": "x", "stream": True, "max_output_tokens": data.PickValueInList([None, 60])}
    settings = Continuation(max_rounds=ROUNDS, trims=data.ConsumeBool())
    row = providers.named(data.PickValueInList(ROWS))
    rounds = Rounds(Setup(body, endpoint_of(body), row, settings, Learned()))
    fields = [*FIELDS, data.PickValueInList(THOUGHTS)]
    given: list[dict[str, Any]] = []
    while (request := rounds.next_request()) is not None:
        running = {0, 1, 2} if request.number == 1 and body.get("n") else {0}
        number = data.ConsumeIntInRange(0, 6)
        stream = b"".join(response_event(data) if is_response else chunk(data, running, fields) for _ in range(number))
        events, rest = read([stream])
        if (events, rest) != read(split(data, stream)):
            raise AssertionError("the events depend on how the bytes were split")
        for event in events:
            value = load(event)
            if isinstance(value, dict):
                given += rounds.feed(request, value)
            if rounds.enough:
                break
        given += rounds.end_of_stream(request)
    given += rounds.last_chunks()
    json.dumps(given)
    if rounds.continued and not is_response:
        got = texts((item for one in given for item in choices_of(one) or []), "delta")
        taken = texts(rounds.completion()["choices"], "message")
        if got != taken:
            raise AssertionError(f"the stream has {got}, the completion has {taken}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
