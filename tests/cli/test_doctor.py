"""``openai-continue doctor``."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import openai
import pytest

from openai_continue._cli import main
from openai_continue._cli.doctor.command import matching_row
from openai_continue._cli.doctor.probes import PROBES, Findings
from openai_continue._cli.doctor.questions import MARKS, MOST_BY_DEFAULT, Doctor
from openai_continue._tables.providers import named
from openai_continue.testing import Emulator, Habits
from tests.support.ways import SYNC, http

#: Each kind of server: the row that continues it, and how it differs from DeepInfra.
HABITS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("deepinfra", {}),
    "trims": ("deepinfra", {"trims": True}),
    "usage never": ("deepinfra", {"usage": "never"}),
    "thinks in a field, r1": ("deepinfra", {"thinks": "reasoning_content", "template": "r1"}),
    "thinks in a field, qwen3": ("deepinfra", {"thinks": "reasoning", "template": "qwen3"}),
    "thinks inline": ("deepinfra", {"thinks": "inline", "template": "r1"}),
    "flags": ("vllm", {"marker": "continue_final_message", "usage": "asked", "limit_field": "both"}),
    "misfiles": (
        "vllm",
        {"marker": "continue_final_message", "usage": "asked", "thinks": "reasoning", "misfiles": "both"},
    ),
    "trims, usage asked": ("tgi", {"trims": True, "usage": "asked"}),
    "prefix, echo": ("mistral", {"marker": "prefix", "strict_marker": True, "echo": "always"}),
    "prefix": ("deepseek", {"marker": "prefix", "usage": "trailing"}),
    "partial": ("moonshot", {"marker": "partial"}),
    "echo": ("llama.cpp", {"echo": "unflagged", "usage": "asked"}),
    "restarts": ("openai", {"ignores_prefill": True}),
    "refuses": ("openai", {"refuses_prefill": True}),
}


#: A text of which each character is a token of its own.
DIGITS = "".join(random.Random(20261126).choices("0123456789", k=500))


def examined(*, text: str | None = None, context: int = 4096, **habits: Any) -> Findings:
    """Return what the doctor finds on a server with these habits."""
    tokens = 3000 if "default_tokens" in habits else 500
    given = dataclasses.replace(Habits(), **habits)
    with (
        Emulator(tokens=tokens, context=context, text=text, habits=given) as emulator,
        openai.OpenAI(base_url=emulator.base_url, api_key="key", max_retries=0) as client,
    ):
        return Doctor(client, "m").examine()


@pytest.mark.parametrize("name", HABITS)
def test_doctor_names_the_row_of_a_server_by_its_habits(name: str) -> None:
    """The doctor names the row that continues a server of unknown host, within 1,000 tokens."""
    row, habits = HABITS[name]
    found = examined(**habits)

    matched = matching_row(found, None)
    assert matched is not None
    assert row == matched.name
    assert found.cannot_continue is (row == "openai")
    assert (habits.get("trims", False) and habits.get("usage") != "never") == bool(found.trims)
    assert found.context_length == 4096
    assert found.completion_tokens < 1000
    assert found.stops_at_default is False


@pytest.mark.parametrize(
    ("habits", "judged"),
    [
        ({}, "continues"),
        ({"echo": "unflagged", "usage": "asked"}, "echoes"),
        ({"echo": "always"}, "echoes"),
        ({"ignores_prefill": True}, "restarts"),
        ({"refuses_prefill": True}, "refused"),
    ],
)
def test_doctor_judges_a_server_whose_tokens_are_characters(habits: dict[str, Any], judged: str) -> None:
    """A copy of the text sent back is told from a restart, however few characters a token has."""
    found = examined(text=DIGITS, **habits)

    assert dict.fromkeys(MARKS, judged) == found.marks


def test_doctor_reads_only_the_beginning_of_an_answer_without_a_limit() -> None:
    """A server that takes any number of tokens, and whose model does not stop, is not read to its end."""
    found = examined(text=DIGITS * 80, context=2_000_000)

    assert found.marks == dict.fromkeys(MARKS, "continues")
    assert found.completion_tokens < 1000


@pytest.mark.parametrize("text", ["OK.", "ab " * 400])
def test_doctor_does_not_judge_a_text_that_shows_nothing(text: str) -> None:
    """The same short answer, or a text that repeats itself, is a copy, a continuation and a restart alike."""
    found = examined(text=text, ignores_prefill=True)

    assert dict.fromkeys(MARKS, "unknown") == found.marks
    assert found.cannot_continue is False
    assert matching_row(found, None) is None


def test_doctor_takes_usage_of_zeros_for_none() -> None:
    """Usage that is all zero does not show that the template trims."""
    found = examined(usage="zero")

    assert (found.reports_usage, found.usage_in_streams) == (False, "all zero")
    assert found.trims is None


@pytest.mark.parametrize(
    ("default", "stops", "tokens"), [(100, True, 100), (None, False, MOST_BY_DEFAULT), (2048, False, MOST_BY_DEFAULT)]
)
def test_doctor_finds_a_small_default_of_max_tokens(default: int | None, stops: bool, tokens: int) -> None:
    """A default of 100 tokens is found. An answer with a larger default is not read to its end."""
    found = examined(default_tokens=default)

    assert (stops, tokens) == (found.stops_at_default, found.default_tokens)


def test_marks_are_those_of_the_table() -> None:
    """The doctor tries each mark of the provider table once, the way without marks first."""
    assert list(MARKS) == ["nothing", "continue_final_message", "prefix", "partial"]
    assert MARKS["continue_final_message"].body_marks == {
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    assert [row.message_marks for row in MARKS.values()] == [{}, {}, {"prefix": True}, {"partial": True}]


ROWS = [
    # What the server does with each mark, whether it trims, its usage in streams, and the row.
    ({}, False, "never", "openai"),
    ({"nothing": "restarts", "prefix": "new turn"}, True, "never", "openai"),
    ({"nothing": "continues"}, False, "never", "deepinfra"),
    ({"nothing": "continues"}, True, "on the last chunk", "deepinfra"),
    ({"nothing": "continues"}, True, "never", "tgi"),
    ({"nothing": "echoes", "prefix": "continues"}, True, "never", "llama.cpp"),
    ({"continue_final_message": "continues", "prefix": "continues"}, True, "never", "vllm"),
    ({"continue_final_message": "echoes"}, False, "never", "llama.cpp"),
    ({"nothing": "refused", "prefix": "continues"}, True, "never", "deepseek"),
    ({"prefix": "echoes"}, True, "never", "mistral"),
    ({"partial": "continues"}, True, "never", "moonshot"),
    ({"partial": "echoes"}, False, "never", "moonshot"),
]


@pytest.mark.parametrize(("marks", "trims", "usage", "row"), ROWS)
def test_matching_row(marks: dict[str, str], trims: bool, usage: str, row: str) -> None:
    """Findings lead to one row; a host that is in the table has the row of its own."""
    judged = {name: marks.get(name, "new turn") for name in MARKS}
    found = Findings(marks=judged, trims=trims, usage_in_streams=usage)
    matched = [matching_row(found, known) for known in (None, named("mistral"))]

    assert [one and one.name for one in matched] == [row, "mistral"]


# Servers that cannot continue.

UNKNOWN_FIELDS = "Unexpected fields in the request: {'add_generation_prompt', 'continue_final_message'}"


class NewTurns(http.BaseTransport):  # type: ignore[misc]
    """A server that answers a message of its own with a new turn."""

    def __init__(self, *, refuses: str = "", status: int = 422) -> None:
        self.refuses = refuses
        self.status = status

    def handle_request(self, request: Any) -> Any:
        body = json.loads(request.content)
        if self.refuses in body:
            return http.Response(self.status, json={"detail": UNKNOWN_FIELDS})
        is_new = body["messages"][-1]["role"] == "assistant"
        content = "Shall I go on?" if is_new else " ".join(map(str, range(1, body.get("max_tokens", 300))))
        head = {"id": "a", "created": 1, "model": "m"}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
        if body.get("stream"):
            chunk = {**head, "object": "chat.completion.chunk", "choices": [{**choice, "delta": {"content": content}}]}
            return http.Response(200, content=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())
        choice["message"] = {"role": "assistant", "content": content}
        usage = {"prompt_tokens": 30, "completion_tokens": 24, "total_tokens": 54}
        return http.Response(200, json={**head, "object": "chat.completion", "choices": [choice], "usage": usage})


@pytest.mark.parametrize("refuses", ["", "continue_final_message"])
@pytest.mark.spread(1)
def test_a_server_that_answers_in_new_turns(refuses: str) -> None:
    """It has the row of those that cannot continue, whether it refuses unknown marks or does not."""
    server = NewTurns(refuses=refuses)
    with SYNC.plain_client("http://127.0.0.1:9/v1", transport=server, max_retries=0) as client:
        found = Doctor(client, "m").examine()

    matched = matching_row(found, None)
    assert matched is not None
    assert (matched.name, matched.continues, found.cannot_continue) == ("openai", False, True)
    assert found.marks["nothing"] == "new turn"
    assert found.trims is None


class GoesOn(http.BaseTransport):  # type: ignore[misc]
    """A server whose model goes on in a new turn, too, like vLLM with a model that counts."""

    def handle_request(self, request: Any) -> Any:
        body = json.loads(request.content)
        last = body["messages"][-1]
        sent = str(last["content"]).split() if last["role"] == "assistant" else []
        first = int(sent[-1]) + 1 if sent and sent[-1].isdigit() else 1
        content = " ".join(map(str, range(first, first + body.get("max_tokens", 400))))
        head = {"id": "a", "created": 1, "model": "m"}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
        turn = 5 if sent and not body.get("continue_final_message") else 0
        usage = {"prompt_tokens": 30 + len(sent) + turn, "completion_tokens": 24, "total_tokens": 99}
        if body.get("stream"):
            chunk = {**head, "object": "chat.completion.chunk", "choices": [{**choice, "delta": {"content": content}}]}
            return http.Response(200, content=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())
        choice["message"] = {"role": "assistant", "content": content}
        return http.Response(200, json={**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def test_doctor_tells_a_new_turn_by_the_tokens_of_the_prompt() -> None:
    """The model goes on as it would in the same turn, but the prompt is longer."""
    with SYNC.plain_client("http://127.0.0.1:9/v1", transport=GoesOn(), max_retries=0) as client:
        found = Doctor(client, "m").examine()

    assert found.marks == {**dict.fromkeys(MARKS, "new turn"), "continue_final_message": "continues"}
    matched = matching_row(found, None)
    assert matched is not None
    assert matched.name == "vllm"


def test_doctor_does_not_conclude_from_a_passing_error() -> None:
    """A server that fails on one way to mark a message may be one that continues."""
    server = NewTurns(refuses="continue_final_message", status=503)
    with SYNC.plain_client("http://127.0.0.1:9/v1", transport=server, max_retries=0) as client:
        found = Doctor(client, "m").examine()

    assert found.marks["continue_final_message"] == "failed"
    assert found.cannot_continue is False


@pytest.mark.parametrize(
    ("habits", "said"), [({"ignores_prefill": True}, "finished turn"), ({"refuses_prefill": True}, "refuses")]
)
def test_doctor_says_that_a_server_cannot_continue(
    habits: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 3, and the last lines say why and what to use instead."""
    with Emulator(habits=dataclasses.replace(Habits(), **habits)) as emulator:
        code = main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--yes"])

    out = capsys.readouterr().out
    assert code == 3
    assert "cannot continue" in out
    assert said in out
    assert "vLLM, llama-server or SGLang" in out
    assert "settings: none needed" in out


def test_doctor_says_that_it_could_not_find_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1 if it is unknown whether the server continues."""
    with Emulator(text="OK.", habits=Habits(ignores_prefill=True)) as emulator:
        code = main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--yes"])

    assert code == 1
    assert "could not be found out" in capsys.readouterr().out


def test_doctor_names_its_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists them."""
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])

    assert "3 if they cannot be" in " ".join(capsys.readouterr().out.split())


# What it prints.


def test_doctor_prints_what_it_found_as_json(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the findings, the row and the settings to stdout, and the price to stderr."""
    code = main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--json", "--yes"])

    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (code, said["provider"], said["settings"]) == (0, "deepinfra", {"provider": "deepinfra"})
    assert said["continues"] is True
    assert "output tokens" in err


def test_doctor_prints_a_table(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The table ends with the settings to use."""
    code = main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--yes"])

    out = capsys.readouterr().out
    assert code == 0
    assert "Continuation(provider='deepinfra')" in out


def test_doctor_without_an_answer_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint without an answer ends with 1, and its errors are named."""
    with Emulator() as emulator:
        address = emulator.base_url.replace("/openai", "/nowhere")

        assert main(["doctor", "--model", "m", "--base-url", address, "--yes"]) == 1
    assert "NotFoundError 404" in capsys.readouterr().err


CALLS: list[tuple[str, dict[str, Any], str, bool]] = [
    ("Qwen/Qwen3-32B", {}, "continues", True),
    ("Qwen/Qwen3-32B", {"cut_calls": "content"}, "continues", True),
    ("Qwen/Qwen3-Coder-30B", {"calls": "qwen3_coder"}, "continues", True),
    ("Qwen/Qwen3-32B", {"echo": "unflagged", "usage": "asked", "calls_in_prefill": "deltas"}, "continues", False),
    ("Qwen/Qwen3-32B", {"cut_calls": "closed"}, "closed", False),
    ("Qwen/Qwen3-32B", {"calls": "glm45"}, "not continued", False),
    ("my-own-model", {}, "syntax unknown", False),
]


@pytest.mark.parametrize(("model", "habits", "found", "sets"), CALLS, ids=[f"{m} {h}" for m, h, *_ in CALLS])
def test_tool_calls(
    model: str, habits: dict[str, Any], found: str, sets: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor says whether a cut tool call goes on, and names the setting where the row does not have it."""
    with Emulator(tokens=500, context=4096, habits=Habits(**habits)) as emulator:
        assert main(["doctor", "--base-url", emulator.base_url, "--model", model, "--json", "--yes"]) == 0
        said = json.loads(capsys.readouterr().out)
        main(["doctor", "--base-url", emulator.base_url, "--model", model, "--yes"])

    assert found == said["tool_calls"]
    assert sets == ("continue_tool_calls" in said["settings"])
    assert PROBES["tool_calls"][found].sentence in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")
    assert said["completion_tokens"] < 1200


def test_doctor_continues_where_continuation_is_switched_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the variables switch off is the user's programs; the doctor says what the server can do."""
    monkeypatch.setenv("OPENAI_CONTINUE", "0")
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "1")
    with Emulator(tokens=500, context=4096) as emulator:
        code = main(["doctor", "--model", "m", "--base-url", emulator.base_url, "--yes", "--json"])

    assert code == 0
    assert json.loads(capsys.readouterr().out)["marks"]["nothing"] == "continues"
