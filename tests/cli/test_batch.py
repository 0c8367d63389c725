"""``openai-continue batch``: the joined output is that of a batch on a server without a cap."""

from __future__ import annotations

import json
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_continue import Continuation
from openai_continue._cli import main
from openai_continue._cli.batch.command import FIELDS, PLACELESS
from openai_continue.testing import Habits
from tests.support.answers import Answer, Json
from tests.support.batches import Batch, answer, answered, line, read, write
from tests.support.bodies import ask
from tests.support.driving import whole
from tests.support.engine import Engine
from tests.support.servers import SERVERS

PROMPT = "Write 60 tokens."
VLLM = SERVERS["vllm"]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}},
    }
]


def body_of(one: Json) -> Json:
    body: Json = one["response"]["body"]
    return body


def without_ids(completion: Json) -> Json:
    """Return a completion without what differs from one run to the next."""
    rounds = [{**one, "id": None, "request_id": None} for one in completion["continuation"]["rounds"]]
    report = {**completion["continuation"], "rounds": rounds}
    return {**completion, "id": None, "created": None, "continuation": report}


def shown(completion: Json, count: int = 1) -> list[tuple[Any, ...]]:
    """Return what a caller reads of each choice."""
    found = [Answer.of_completion(completion, index) for index in range(count)]
    return [(one.text, one.thoughts, one.finish_reason, one.tool_calls) for one in found]


# The whole way.


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.spread(6)
def test_joined_answer_is_the_uncapped_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On each kind of server the text is the uncapped one, and requests, usage and report are those of a call."""
    kind = SERVERS[name]
    body, caps = kind.ask(PROMPT, temperature=0), kind.pattern(20)
    server, called = (Engine(habits=kind.habits, cap=caps) for _ in range(2))
    if kind.trims is not None:
        monkeypatch.setenv("OPENAI_CONTINUE_TRIMS", str(int(kind.trims)))
    batch = Batch(tmp_path, [line("a", body)], {"a": server}, "--provider", kind.provider)

    code, (joined,) = batch.finish()

    expected = whole(called, body, **kind.known)
    assert code == 0
    assert shown(body_of(joined)) == shown(server.uncapped(body).raw)
    assert without_ids(body_of(joined)) == without_ids(expected.raw)
    assert server.bodies == called.bodies
    first = read(tmp_path / "output0.jsonl")[0]
    assert {**joined, "response": None} == {**first, "response": None}
    assert body_of(joined)["id"] == body_of(first)["id"]


BODIES: dict[str, tuple[Json, int]] = {
    "a chat": (ask(PROMPT), 1),
    "a chat that is not cut": (ask("Write 5 tokens."), 1),
    "several choices": (ask(PROMPT, n=3), 3),
    "a stop string": (ask(PROMPT, stop=[" the"]), 1),
    "a limit of its own": (ask(PROMPT, max_tokens=30), 1),
    "logprobs": (ask(PROMPT, logprobs=True), 1),
    "a message to go on from": ({**ask(PROMPT), "messages": [*ask(PROMPT)["messages"], {"role": "assistant", "content": "# "}]}, 1),
    "a text": ({"model": "m", "prompt": "Tell me: "}, 1),
    "several texts": ({"model": "m", "prompt": ["Tell me: ", "Now: "], "n": 2}, 4),
    "a text with an echo": ({"model": "m", "prompt": "Tell me: ", "echo": True}, 1),
}  # fmt: skip


def test_batch_of_many_kinds(tmp_path: Path) -> None:
    """Lines of all kinds go on together, each as long as it needs, and the output has them in the order of the input."""
    lines = [line(name, body) for name, (body, _) in BODIES.items()]
    servers = {name: Engine(cap=20, tokens=60) for name in BODIES}
    batch = Batch(tmp_path, lines, servers)

    code, joined = batch.finish()

    assert code == 3
    assert [one["custom_id"] for one in joined] == list(BODIES)
    for one in joined:
        body, count = BODIES[one["custom_id"]]
        expected = [servers[one["custom_id"]].uncapped(body, index) for index in range(count)]
        got = [Answer.of_completion(body_of(one), index) for index in range(count)]
        assert [(each.text, each.finish_reason) for each in got] == [
            (each.text, each.finish_reason) for each in expected
        ]
        assert got[0].spelled == expected[0].spelled


def test_json_document(tmp_path: Path) -> None:
    """A document whose grammar goes on is whole, and ends where it ends."""
    habits = Habits(grammar_follows=True, echo="unflagged", usage="asked")
    text = json.dumps({"items": list(range(60))})
    body = ask(PROMPT, response_format=SCHEMA)
    server = Engine(text, habits=habits, cap=20)
    batch = Batch(tmp_path, [line("a", body)], {"a": server}, "--provider", "llama.cpp")

    code, (joined,) = batch.finish()

    assert code == 0
    assert json.loads(Answer.of_completion(body_of(joined)).text) == json.loads(text)


def test_tool_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was cut in its arguments goes on by the settings of a call."""
    monkeypatch.setenv("OPENAI_CONTINUE_CONTINUE_TOOL_CALLS", "hermes")
    body = {**ask("Please call the tool with 60 tokens.", model="Qwen/Qwen3-32B"), "tools": TOOLS}
    server = Engine(habits=VLLM.habits, cap=20)
    batch = Batch(tmp_path, [line("a", body)], {"a": server}, "--provider", "vllm")

    code, (joined,) = batch.finish()

    (got,), (expected,) = (
        Answer.of_completion(each).tool_calls for each in (body_of(joined), server.uncapped(body).raw)
    )
    assert code == 0
    assert got["function"] == expected["function"]


def test_tool_call_that_is_not_continued(tmp_path: Path) -> None:
    """Where a call leaves it as it is, so does the batch, and the report says why."""
    body = {**ask("Please call the tool with 60 tokens.", model="Qwen/Qwen3-32B"), "tools": TOOLS}
    batch = Batch(tmp_path, [line("a", body)], {"a": Engine(cap=20)})
    first = batch.run().read_bytes()

    assert batch.next() == 3
    code, (joined,) = batch.join()

    assert code == 3
    assert without_ids(body_of(joined))["choices"] == json.loads(first)["response"]["body"]["choices"]
    assert body_of(joined)["continuation"]["stopped_by"] == "tool_call"


@given(
    caps=st.lists(st.integers(10, 30), min_size=1, max_size=3),
    limit=st.none() | st.integers(1, 80),
    n=st.sampled_from([1, 2]),
)
def test_never_shorter_and_never_dearer(
    tmp_path_factory: pytest.TempPathFactory, caps: list[int], limit: int | None, n: int
) -> None:
    """An answer is never shorter than the first one, never longer than what was asked for, and no more is bought."""
    body = ask(PROMPT, n=n, **({} if limit is None else {"max_tokens": limit}))
    server = Engine(cap=caps)
    batch = Batch(tmp_path_factory.mktemp("batch"), [line("a", body)], {"a": server})
    first = batch.run()
    batch.next()

    _, (joined,) = batch.finish() if batch.requests is not None else batch.join()

    cut = body_of(read(first)[0])
    for index in range(n):
        got, before = (Answer.of_completion(each, index) for each in (body_of(joined), cut))
        assert got.text.startswith(before.text.rstrip())
        assert server.uncapped(body, index).text.startswith(got.text)
    asked = [one.get("max_tokens") for one in server.bodies]
    if limit is not None:
        assert all(number is not None and number <= limit for number in asked)
        assert sum(server.given) <= n * limit


# What comes back of single lines.


def test_order_and_pieces_of_the_output(tmp_path: Path) -> None:
    """The lines of an output may come in any order, with empty ones between, and in several files."""
    names = [f"line-{number}" for number in range(8)]
    bodies = {name: ask(f"{name} in 60 tokens") for name in names}
    server = Engine(cap=20)
    requests = write(tmp_path / "input", [line(name, bodies[name]) for name in names])
    last = requests
    for number in range(1, 9):
        answers = [answered(one, server) for one in read(last)]
        random.Random(number).shuffle(answers)
        outputs = [write(tmp_path / f"output{number}{part}", answers[part::2]) for part in range(2)]
        outputs[0].write_text("\n\r\n" + outputs[0].read_text(encoding="utf-8").replace("\n", "\r\n"), encoding="utf-8")
        files = [str(last), *map(str, outputs)]
        if main(["batch", "next", *files, "-o", str(tmp_path / f"next{number}")]) == 3:
            break
        last = tmp_path / f"next{number}"

    assert main(["batch", "join", *files, "-o", str(tmp_path / "joined")]) == 0
    joined = read(tmp_path / "joined")
    assert [one["custom_id"] for one in joined] == names
    for one in joined:
        assert Answer.of_completion(body_of(one)).text == server.uncapped(bodies[one["custom_id"]]).text


EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
PASSING: dict[str, Any] = {
    "missing": lambda name, _: None,
    "expired": lambda name, one: {**one, "response": None, "error": EXPIRED},
    "too many requests": lambda name, _: answer(name, {"error": {"message": "slow down"}}, 429),
    "of vLLM": lambda name, _: {**answer(name, None, 500), "error": {"error": {"message": "busy", "code": 500}}},
}


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.spread(12)
def test_failure_that_passes(kind: str, at: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that failed for now is asked again, the same to the letter, and its answer is whole in the end."""
    body = ask(PROMPT)
    server = Engine(cap=20)
    batch = Batch(tmp_path, [line("a", body)], {"a": server})

    code, (joined,) = batch.finish(lambda name, one: PASSING[kind](name, one) if len(batch.ran) == at else one)

    assert code == 0
    assert Answer.of_completion(body_of(joined)).text == server.uncapped(body).text
    assert server.bodies[at] == server.bodies[at + 1]
    assert "1 asked again" in capsys.readouterr().out


@pytest.mark.parametrize("kind", PASSING)
def test_failure_that_stays(kind: str, tmp_path: Path) -> None:
    """A request of a later round is asked again twice, as the SDK does; then the answer ends with what has arrived."""
    server = Engine(cap=20)
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": server})

    code, (joined,) = batch.finish(lambda name, one: PASSING[kind](name, one) if batch.ran else one)

    got = Answer.of_completion(body_of(joined))
    assert code == 3
    assert (got.finish_reason, got.stopped_by) == ("length", "error")
    assert got.text == Answer.of_completion(body_of(read(batch.ran[0][1])[0])).text
    assert len(batch.ran) == 4


@pytest.mark.parametrize("kind", PASSING)
def test_first_request_that_stays_without_an_answer(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last error of a first request is in the output as it came; one that never had an answer is counted."""
    lines = [line("a", ask(PROMPT)), line("b", ask("Write 5 tokens."))]
    batch = Batch(tmp_path, lines, {"a": Engine(), "b": Engine()})

    code, joined = batch.finish(lambda name, one: PASSING[kind](name, one) if name == "a" else one)

    lost = [one for one in joined if one["custom_id"] == "a"]
    assert code == 3
    assert lost == ([] if kind == "missing" else [PASSING[kind]("a", answer("a", None))])
    assert ("1 without an answer" if kind == "missing" else "1 failed") in capsys.readouterr().out


def test_refused_line_comes_back_as_it_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A first request that the server refuses is not asked again, and its error is in the output byte for byte."""
    refused = answer("a", {"error": {"message": "no such model"}}, 404)
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": Engine()})
    output = batch.run(lambda _, __: refused)

    assert batch.next() == 3
    code, _ = batch.join()

    assert code == 3
    assert output.read_bytes() == (tmp_path / "joined.jsonl").read_bytes()
    assert "failed: NotFoundError (1)" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["openai", "vllm"])
def test_context_that_is_full(shape: str, tmp_path: Path) -> None:
    """A later round that does not fit ends the answer as it ends in a call, with its text."""
    habits = Habits(overflow="400")
    body = ask(PROMPT, max_tokens=1000)
    server = Engine(habits=habits, cap=20)
    batch = Batch(tmp_path, [line("a", body)], {"a": server})
    error = {
        "error": {"message": "This model's maximum context length is 30 tokens. However, your prompt has 45 tokens."}
    }
    full = answer("a", error, 400) if shape == "openai" else {**answer("a", None, 400), "error": error}

    code, (joined,) = batch.finish(lambda _, one: full if len(batch.ran) == 1 else one)

    got = Answer.of_completion(body_of(joined))
    assert code == 3
    assert (got.finish_reason, got.stopped_by) == ("length", "context")
    assert got.text == Answer.of_completion(body_of(read(batch.ran[0][1])[0])).text


LEFT_ALONE: dict[str, Json] = {
    "POST /v1/responses": line("a", {"model": "m", "input": "x"}, "/v1/responses"),
    "POST /v1/embeddings": line("a", {"model": "m", "input": "x"}, "/v1/embeddings"),
    "GET /v1/chat/completions": {**line("a", ask()), "method": "GET"},
    "/v1/completions with the body of another endpoint": line("a", ask(), "/v1/completions"),
    "stream: true": line("a", ask(stream=True)),
    "continuation: false": line("a", ask(continuation=False)),
    "openai/gpt-5, which continues no assistant message": line("a", ask(model="openai/gpt-5")),
    "text completions with a suffix": line("a", {"model": "m", "prompt": "x", "suffix": "y"}),
}


@pytest.mark.parametrize("why", LEFT_ALONE)
@pytest.mark.spread(8)
def test_lines_that_are_left_alone(why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the library does not continue comes back byte for byte, and is counted with the reason."""
    requests = write(tmp_path / "input", [LEFT_ALONE[why]])
    cut = '{"custom_id":"a", "response":{"status_code":200,"body":{"choices":[{"finish_reason":"length"}], "x":1.0}}}\n'
    output = tmp_path / "output"
    output.write_text(cut, encoding="utf-8")

    assert main(["batch", "next", str(requests), str(output), "-o", str(tmp_path / "next")]) == 3
    assert main(["batch", "join", str(requests), str(output), "-o", str(tmp_path / "joined")]) == 3

    assert (tmp_path / "joined").read_text(encoding="utf-8") == cut
    assert f"left alone: {why} (1)" in capsys.readouterr().out


def test_whole_answers_come_back_byte_for_byte(tmp_path: Path) -> None:
    """An output without a cut answer is its own joined output, however it is written."""
    requests = write(tmp_path / "input", [line("a", ask(), "/v1/openai/chat/completions")])
    raw = '{ "custom_id" : "a", "response": {"status_code": 200, "body": {"choices": [{"index": 0, "message": {"content": "\\u00e9\\ud83d"}, "finish_reason": "stop"}], "n": 1.50}}, "error": null}\n'
    output = tmp_path / "output"
    output.write_text(raw, encoding="utf-8")

    assert main(["batch", "next", str(requests), str(output), "-o", str(tmp_path / "next")]) == 3
    assert not (tmp_path / "next").exists()
    assert main(["batch", "join", str(requests), str(output), "-o", str(tmp_path / "joined")]) == 0
    assert (tmp_path / "joined").read_text(encoding="utf-8") == raw


def test_join_before_the_end(tmp_path: Path) -> None:
    """Answers that could go on are joined as far as they came."""
    batch = Batch(tmp_path, [line("a", ask(PROMPT, n=2))], {"a": (server := Engine(cap=20))})
    batch.run()
    batch.next()
    batch.run()

    code, (joined,) = batch.join()

    body = ask(PROMPT, n=2)
    got = [Answer.of_completion(body_of(joined), index) for index in range(2)]
    assert code == 3
    assert [one.finish_reason for one in got] == ["length", "length"]
    assert all(server.uncapped(body, index).text.startswith(one.text) for index, one in enumerate(got))
    assert len(got[0].text) > len(got[1].text) > 0


# Files and settings.


def test_run_that_is_repeated_changes_nothing(tmp_path: Path) -> None:
    """Each command may be run again, and writes the same files; the files that it reads stay as they are."""
    batch = Batch(tmp_path, [line("a", ask(PROMPT)), line("b", ask(PROMPT, n=2))], dict.fromkeys("ab", Engine(cap=20)))
    batch.finish()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for number, (requests, output) in enumerate(batch.ran):
        main(["batch", "next", str(requests), str(output), "-o", str(tmp_path / f"next{number + 1}.jsonl")])
    batch.join()

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


GOOD = line("a", ask(PROMPT))
CUT = answer("a", {"choices": [{"index": 0, "message": {"content": "secret"}, "finish_reason": "length"}]})
BAD: dict[str, tuple[str, str, str]] = {
    "broken input": (json.dumps(GOOD) + '\n{"custom_id": "secret', json.dumps(CUT), "input, line 2: it is no JSON object"),
    "broken output": (json.dumps(GOOD), "\n" + json.dumps(CUT)[:-9], "output, line 2: it is no JSON object"),
    "a list": (json.dumps([GOOD]), json.dumps(CUT), "input, line 1: it is no JSON object"),
    "bytes that are no text": (json.dumps(GOOD), json.dumps(CUT).replace("secret", "\udcff"), "output, line 1: it is no JSON"),
    "no input": ("\n", json.dumps(CUT), "input: it is empty; accepted are lines such as"),
    "the files the other way round": (json.dumps(CUT), json.dumps(GOOD), "input, line 1: it has no 'url', no 'body'"),
    "no custom_id": (json.dumps({**GOOD, "custom_id": None}), json.dumps(CUT), 'input, line 1: its "custom_id" is no text'),
    "a body that is none": (json.dumps({**GOOD, "body": "secret"}), json.dumps(CUT), '"body" no object'),
    "twice in the input": (f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}", json.dumps(CUT), "input, line 2: its"),
    "twice in the output": (json.dumps(GOOD), f"{json.dumps(CUT)}\n{json.dumps(CUT)}", "output, line 2: its"),
    "another batch": (json.dumps(GOOD), json.dumps({**CUT, "custom_id": "b"}), "Is it the output of another batch?"),
    "a bad setting": (json.dumps(line("a", ask(continuation=7))), json.dumps(CUT), "input, line 1: extra_body"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["next", "join"])
@pytest.mark.parametrize("case", BAD)
@pytest.mark.spread(24)
def test_bad_files(case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names file and line, shows nothing of the content, and no file is written or replaced."""
    requests, output, complaint = BAD[case]
    for name, text in {"input": requests, "output": output, "next": "old"}.items():
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    names = {path.name for path in tmp_path.iterdir()}
    files = [str(tmp_path / name) for name in ("input", "output")]

    assert main(["batch", command, *files, "-o", str(tmp_path / "next")]) == 1

    said = capsys.readouterr().err
    assert complaint in said
    assert "secret" not in said
    assert (tmp_path / "next").read_text(encoding="utf-8") == "old"
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.fixture
def begun(tmp_path: Path) -> Batch:
    """A batch with one pass behind it, whose next requests were run."""
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": Engine(cap=20)})
    batch.run()
    batch.next()
    batch.run()
    return batch


def refused(batch: Batch, requests: Path, output: Path, *options: str) -> bool:
    """Whether a pass is refused, and writes nothing."""
    path = batch.folder / "another"
    code = main(["batch", "next", str(requests), str(output), "-o", str(path), *options])
    return code == 1 and not path.exists()


def test_output_of_an_earlier_pass(begun: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same answer is not taken twice, so no text is doubled by the wrong file."""
    assert refused(begun, begun.ran[1][0], begun.ran[0][1])
    assert "it is an answer of an earlier batch; accepted is the output of" in capsys.readouterr().err


def test_requests_that_were_changed(begun: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests that the state does not lead to are refused: what came of them has another seam."""
    requests = begun.ran[1][0]
    requests.write_text(requests.read_text(encoding="utf-8").replace("role", "rôle"), encoding="utf-8")

    assert refused(begun, *begun.ran[1])
    assert "next1.jsonl, line 1: it is not the request that" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "{"])
def test_state_that_is_none(text: str, begun: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """A state that was damaged is an error."""
    state = begun.folder / "next1.jsonl.state"
    state.write_text(text, encoding="utf-8")

    assert refused(begun, *begun.ran[1])
    assert "what batch next has written" in capsys.readouterr().err


def test_state_that_is_gone(begun: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but a request that ends in a message of the assistant shows that a state is missing."""
    state = begun.folder / "next1.jsonl.state"
    begun.next()
    before = capsys.readouterr().err
    state.unlink()
    begun.next()

    assert before == ""
    assert f"1 requests go on from a message of the assistant, and {state} is not there" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["input.jsonl", "output0.jsonl", "link"])
def test_file_that_is_read_is_not_written(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No file takes the place of one that is read, by a link neither."""
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": Engine(cap=20)})
    output = batch.run()
    (tmp_path / "link").symlink_to(output)

    for command in ("next", "join"):
        assert main(["batch", command, str(tmp_path / "input.jsonl"), str(output), "-o", str(tmp_path / name)]) == 1
        assert "give another name with -o" in capsys.readouterr().err


def test_output_that_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder, or a device, is not replaced."""
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": Engine(cap=20)})
    output = batch.run()

    assert main(["batch", "join", str(tmp_path / "input.jsonl"), str(output), "-o", str(tmp_path)]) == 1
    assert "it is no regular file" in capsys.readouterr().err


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is named."""
    assert main(["batch", "next", str(tmp_path / "none"), str(tmp_path / "none"), "-o", str(tmp_path / "next")]) == 1
    assert f"{tmp_path / 'none'}" in capsys.readouterr().err


def test_settings_of_the_first_pass_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first pass read of the environment is kept beside the requests."""
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "2")
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": Engine(cap=20)})
    batch.run()
    batch.next()
    monkeypatch.delenv("OPENAI_CONTINUE_MAX_ROUNDS")

    _, (joined,) = batch.finish()

    got = Answer.of_completion(body_of(joined))
    assert (got.stopped_by, len(got.rounds)) == ("max_rounds", 2)


def test_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``max_repetition`` holds for batches: nothing more is asked for of a loop that is as long."""
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_REPETITION", "2000")
    server = Engine(text="It begins. " + "And again, and again. " * 2000, cap=1000)
    batch = Batch(tmp_path, [line("a", ask())], {"a": server})

    code, (joined,) = batch.finish()

    assert (code, len(server.bodies)) == (3, 1)
    assert body_of(joined)["choices"][0]["finish_reason"] == "length"


def test_every_setting_is_for_batches_or_is_not() -> None:
    """A setting holds for batches, is refused, or is of a call that runs."""
    of_calls = {"on_error", "heal_streams", "stream_rounds", "journal", "progress", "on_round"}
    assert {each.name for each in fields(Continuation)} == {*FIELDS, *PLACELESS} | of_calls


def test_budget_in_money(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line costs more than one request above ``max_cost``."""
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_COST", "1e-9")
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": Engine(cap=20)})
    batch.run()

    assert batch.next() == 3
    _, (joined,) = batch.join()
    assert Answer.of_completion(body_of(joined)).stopped_by == "max_cost"


def test_another_provider(begun: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """A batch stays on the row that it was begun with."""
    assert refused(begun, *begun.ran[1], "--provider", "vllm")
    assert "--provider: got 'vllm', accepted is that of the first pass, 'deepinfra'" in capsys.readouterr().err
    assert not refused(begun, *begun.ran[1], "--provider", "deepinfra")


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("OPENAI_CONTINUE", "0", "OPENAI_CONTINUE switches continuation off. Unset it"),
        ("OPENAI_CONTINUE_ROUND_TOKENS", "5", "OPENAI_CONTINUE_ROUND_TOKENS: this setting has no place in a batch"),
        ("OPENAI_CONTINUE_MAX_SECONDS", "5", "OPENAI_CONTINUE_MAX_SECONDS: this setting has no place in a batch"),
        ("OPENAI_CONTINUE_TEMPLATE", "auto", "OPENAI_CONTINUE_TEMPLATE: this setting has no place in a batch"),
        ("OPENAI_CONTINUE_PROVIDER", "none", "OPENAI_CONTINUE_PROVIDER='none': accepted are"),
    ],
)
def test_bad_settings(
    variable: str,
    value: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A setting that cannot hold for a batch is an error that says what to do."""
    batch = Batch(tmp_path, [line("a", ask(PROMPT))], {"a": Engine(cap=20)})
    batch.run()
    monkeypatch.setenv(variable, value)

    assert batch.next() == 1
    assert complaint in capsys.readouterr().err


def test_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts say what became of each line, and the last words what to do; ``--json`` gives the same."""
    lines = [
        line("a", ask(PROMPT)),
        line("b", ask("Write 5 tokens.")),
        line("c", ask(PROMPT, max_tokens=10)),
        line("d", ask()),
    ]
    batch = Batch(tmp_path, lines, dict.fromkeys("abcd", Engine(cap=20)))
    batch.run(lambda name, one: None if name == "d" else one)
    batch.next()
    said = capsys.readouterr().out
    batch.options = ("--json",)
    batch.next()
    summary = json.loads(capsys.readouterr().out)

    assert "Lines: 4 (1 asked again, 1 cut, 1 to go on, 1 whole)\n  cut: max_tokens (1)\n" in said
    path = tmp_path / "next1.jsonl"
    assert f"Requests in {path}: 2. Run them, then: openai-continue batch next {path} OUTPUT -o NEXT" in said
    assert summary == {
        "lines": 4, "whole": 1, "to go on": 1, "asked again": 1, "cut": 1, "why": {"cut: max_tokens": 1}, "written": str(path),
    }  # fmt: skip
