"""The settings: fields, variables and errors. And what a continued call reports: ``on_round`` and the log."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
from collections.abc import AsyncIterator
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from openai_continue import Continuation, Round, SeamReport, SettingsError, report_of
from openai_continue._tables.call_syntaxes import SYNTAXES
from openai_continue.testing import Emulator, Fault
from tests.support.bodies import ask
from tests.support.ways import DEEPINFRA, Way, listed, settled

NAMES = [field.name for field in fields(Continuation)]
ROUNDS = 4


def test_defaults() -> None:
    """The defaults are the documented ones."""
    assert {name: getattr(Continuation(), name) for name in NAMES} == {
        "provider": None,
        "round_tokens": None,
        "max_tokens": None,
        "request_limit": "answer",
        "usage": "billed",
        "max_rounds": 16,
        "max_seconds": None,
        "max_cost": None,
        "max_repetition": None,
        "trims": None,
        "on_error": "partial",
        "heal_streams": True,
        "stream_rounds": False,
        "continue_tool_calls": None,
        "on_reasoning_cut": "continue",
        "template": None,
        "journal": None,
        "progress": False,
        "on_round": None,
    }


GOOD: list[dict[str, Any]] = [
    {"provider": "deepinfra"},
    {"provider": "vllm"},
    {"round_tokens": 1},
    {"max_tokens": 1_000_000},
    {"request_limit": "round"},
    {"usage": "one_call"},
    {"max_rounds": 1},
    {"max_seconds": 0.5},
    {"max_cost": 1},
    {"max_repetition": 1_000},
    {"trims": True},
    {"trims": False},
    {"on_error": "raise"},
    {"heal_streams": False},
    {"stream_rounds": True},
    {"continue_tool_calls": True},
    {"continue_tool_calls": False},
    {"continue_tool_calls": "hermes"},
    {"on_reasoning_cut": "answer"},
    {"on_reasoning_cut": "stop"},
    {"template": "auto"},
    {"template": Path("qwen3.jinja")},
    {"journal": "folder"},
    {"journal": Path("folder")},
    {"progress": True},
    {"progress": "always"},
    {"on_round": print},
]


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_good_values(values: dict[str, Any]) -> None:
    """Every field accepts what its error message lists, when settings are made, replaced or updated."""
    made = Continuation(**values)

    assert made == replace(Continuation(), **values) == Continuation().updated(values)
    assert values == {name: getattr(made, name) for name in values}


CHARACTERS = "a whole number from 1,000 to 1,000,000,000, or None"
COUNT, COUNT_OR_NONE = "a whole number from 1 to 1,000,000,000", "a whole number from 1 to 1,000,000,000, or None"
FLAG = "True or False"
AMOUNT = "a number above 0, or None"
CALLS = f"True, False or one of {', '.join(repr(row.name) for row in SYNTAXES)}, or None"
BAD: list[tuple[str, Any, str]] = [
    *[("max_rounds", value, COUNT) for value in (0, -1, 1.5, True, "3", None)],
    *[("round_tokens", value, COUNT_OR_NONE) for value in (0, -1, 16384.0, False, "16384")],
    *[("max_tokens", value, COUNT_OR_NONE) for value in (0, -5, 1e6, True, "all")],
    *[("max_repetition", value, CHARACTERS) for value in (0, 999, 10**9 + 1, 4096.0, True, "4096")],
    *[("request_limit", value, "'answer' or 'round'") for value in (None, True, "Answer", 16384)],
    *[("usage", value, "'billed' or 'one_call'") for value in (None, True, "sum")],
    *[(name, value, FLAG) for name in ("heal_streams", "stream_rounds") for value in (None, 1, "no")],
    *[(name, value, AMOUNT) for name in ("max_seconds", "max_cost") for value in (0, -1, True, "1", float("inf"))],
    *[("trims", value, "True or False, or None") for value in (0, "auto")],
    *[("continue_tool_calls", value, CALLS) for value in (1, "qwen", "", [])],
    *[("on_error", value, "'partial' or 'raise'") for value in (None, True, "Partial", "ignore", [])],
    *[("on_reasoning_cut", v, "'continue', 'answer' or 'stop'") for v in (None, True, "Answer", "")],
    *[("template", value, "'auto' or the path of a file or folder, or None") for value in ("", 1, True)],
    *[("journal", value, "the path of a folder, or None") for value in ("", 1, True)],
    *[("progress", value, "True, False or 'always'") for value in (None, "no", "yes", 1, 0)],
    *[(name, value, COUNT_OR_NONE) for name in ("round_tokens", "max_tokens") for value in (10**9 + 1, 10**30)],
    *[("max_rounds", value, COUNT) for value in (10**9 + 1, 10**30)],
    *[("on_round", value, "a function that is not async, or None") for value in (1, "print", [print])],
]


async def async_function(_: object) -> None:
    """A function whose call only makes a coroutine."""


async def async_generator(_: object) -> AsyncIterator[None]:
    yield


class AsyncCallable:
    async def __call__(self, _: object) -> None:
        pass


@pytest.mark.parametrize(
    "function",
    [
        async_function,
        async_generator,
        AsyncCallable(),
        AsyncCallable().__call__,
        partial(async_function),
        partial(AsyncCallable()),
        partial(partial(AsyncCallable(), 1)),
    ],
)
def test_on_round_is_not_async(function: Any) -> None:
    """Nobody would await what an async function returns, so it is refused when the settings are made."""
    with pytest.raises(SettingsError, match="accepted is a function that is not async, or None"):
        Continuation(on_round=function)


@pytest.mark.parametrize("function", [partial(print), AsyncCallable, [].append])
def test_on_round_may_be_anything_that_can_be_called(function: Any) -> None:
    """A class whose objects are async functions is none itself."""
    assert Continuation(on_round=function).on_round is function


@pytest.mark.parametrize("value", [10**300, 10**5000, "9" * 5000], ids=["300 digits", "5000 digits", "text"])
def test_a_long_value_is_shown_short(value: Any) -> None:
    """Python refuses to print a number of more than 4,300 digits."""
    with pytest.raises(SettingsError, match=r"max_rounds: got .*accepted is") as raised:
        Continuation(max_rounds=value)
    assert len(str(raised.value)) < 400
    if isinstance(value, str):
        with pytest.raises(SettingsError, match=r"OPENAI_CONTINUE_MAX_ROUNDS=.99.*accepted is") as raised:
            Continuation.from_env({"OPENAI_CONTINUE_MAX_ROUNDS": value})
        assert len(str(raised.value)) < 400


def test_fields_are_shown_by_editors_and_help() -> None:
    """The signature names each field, and the docstring explains each one."""
    assert list(inspect.signature(Continuation).parameters) == NAMES
    assert [name for name in NAMES if f"``{name}``: " not in (Continuation.__doc__ or "")] == []


@pytest.mark.parametrize(("name", "value", "accepted"), BAD, ids=[f"{name}={value!r}" for name, value, _ in BAD])
def test_bad_values(name: str, value: Any, accepted: str) -> None:
    """A bad value is an error that names the field, the value and the accepted values, when made, replaced or updated."""
    message = f"{name}: got {value!r}, accepted is {accepted}"
    for make in (
        lambda: Continuation(**{name: value}),
        lambda: replace(Continuation(), **{name: value}),
        lambda: Continuation().updated({name: value}),
    ):
        with pytest.raises(SettingsError) as caught:
            make()
        assert message == str(caught.value)


@pytest.mark.parametrize("provider", ["deepInfra", "", "openrouter.ai", 7])
def test_unknown_provider(provider: Any) -> None:
    """An unknown provider is an error that names the known ones."""
    with pytest.raises(SettingsError, match=f"provider: got {provider!r}, accepted are anthropic, .*deepinfra, .*vllm"):
        Continuation(provider=provider)


def test_unknown_fields() -> None:
    """Unknown fields are an error that names them and the known ones. Positional arguments are refused."""
    message = "got unknown 'max_round', 'rounds', accepted are " + ", ".join(NAMES)

    with pytest.raises(SettingsError) as made:
        Continuation(max_round=3, rounds=3, trims=True)  # type: ignore[call-arg]
    with pytest.raises(SettingsError) as updated:
        Continuation().updated({"max_round": 3, "rounds": 3, "trims": True})
    with pytest.raises(TypeError):
        Continuation("deepinfra")  # type: ignore[misc]

    assert (f"Continuation: {message}", f"continuation: {message}") == (str(made.value), str(updated.value))


def test_settings_error_is_a_value_error() -> None:
    """Code that catches ValueError catches a SettingsError."""
    assert issubclass(SettingsError, ValueError)


def test_frozen_and_slotted() -> None:
    """Settings cannot be changed, and take no other attributes."""
    settings = Continuation()

    with pytest.raises(FrozenInstanceError):
        settings.max_rounds = 3  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        settings.rounds = 3  # type: ignore[attr-defined]
    assert not hasattr(settings, "__dict__")


def test_value_semantics() -> None:
    """Settings are compared, hashed, printed, copied and pickled by value."""
    settings = Continuation(provider="deepinfra", max_rounds=3, on_round=print)

    assert settings == Continuation(provider="deepinfra", max_rounds=3, on_round=print)
    assert settings != Continuation(provider="deepinfra", max_rounds=4, on_round=print)
    assert len({settings, replace(settings)}) == 1
    assert settings == copy.copy(settings) == copy.deepcopy(settings)
    assert [settings] * 4 == [pickle.loads(pickle.dumps(settings, protocol)) for protocol in range(2, 6)]
    assert "provider='deepinfra'" in repr(settings)


def test_updated_leaves_the_original() -> None:
    """``updated()`` returns new settings."""
    settings = Continuation(max_rounds=3)

    assert Continuation(max_rounds=3, trims=True) == settings.updated({"trims": True})
    assert Continuation(max_rounds=3) == settings
    assert settings == settings.updated({})


# Variables.

GOOD_VARIABLES: list[tuple[str, str, object]] = [
    ("PROVIDER", "vllm", "vllm"),
    ("ROUND_TOKENS", "8192", 8192),
    ("MAX_TOKENS", " 100000 ", 100_000),
    ("MAX_ROUNDS", "3", 3),
    ("ON_ERROR", "raise", "raise"),
    ("MAX_SECONDS", "1.5", 1.5),
    ("MAX_COST", "2", 2.0),
    ("MAX_REPETITION", "4096", 4096),
    ("TRIMS", "True", True),
    ("TRIMS", "0", False),
    ("REQUEST_LIMIT", "round", "round"),
    ("USAGE", "one_call", "one_call"),
    ("STREAM_ROUNDS", "1", True),
    ("PROGRESS", "always", "always"),
    ("PROGRESS", "1", True),
    ("JOURNAL", "/tmp/answers", "/tmp/answers"),
    ("ON_REASONING_CUT", "answer", "answer"),
    ("TEMPLATE", "qwen3.jinja", "qwen3.jinja"),
    ("CONTINUE_TOOL_CALLS", "1", True),
    ("CONTINUE_TOOL_CALLS", "off", False),
    ("CONTINUE_TOOL_CALLS", " Hermes ", "hermes"),
    *[("HEAL_STREAMS", text, False) for text in ("0", "false", "no", "off", "FALSE", " Off ")],
    *[("HEAL_STREAMS", text, True) for text in ("1", "true", "yes", "on", "YES")],
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD_VARIABLES, ids=[f"{n}={t}" for n, t, _ in GOOD_VARIABLES])
def test_good_variables(name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field has a variable."""
    monkeypatch.setenv(f"OPENAI_CONTINUE_{name}", text)

    settings = Continuation.from_env()

    assert replace(Continuation(), **{name.lower(): value}) == settings
    assert settings == Continuation.from_env({f"OPENAI_CONTINUE_{name}": text})


def test_variables_of_all_fields() -> None:
    """All fields except the callable have a variable, and all can be set together."""
    environ = {f"OPENAI_CONTINUE_{name}": text for name, text, _ in GOOD_VARIABLES}

    settings = Continuation.from_env({"OPENAI_CONTINUE": "1", "PATH": "/bin", "OPENAI_API_KEY": "key", **environ})

    assert {name.removeprefix("OPENAI_CONTINUE_").lower() for name in environ} == {*NAMES} - {"on_round"}
    assert Continuation() == Continuation.from_env({"OPENAI_CONTINUE": "1"})
    assert (settings.max_rounds, settings.request_limit, settings.on_error) == (3, "round", "raise")


BAD_VARIABLES: list[tuple[str, str, str]] = [
    ("MAX_ROUNDS", "0", "accepted is a whole number from 1 to 1,000,000,000"),
    ("MAX_ROUNDS", "-3", "accepted is a whole number from 1 to 1,000,000,000"),
    ("MAX_ROUNDS", "three", "accepted is a whole number from 1 to 1,000,000,000"),
    ("MAX_ROUNDS", "", "accepted is a whole number from 1 to 1,000,000,000"),
    ("ROUND_TOKENS", "16384.0", "accepted is a whole number from 1 to 1,000,000,000"),
    ("MAX_TOKENS", "none", "accepted is a whole number from 1 to 1,000,000,000"),
    ("MAX_COST", "free", "accepted is a number above 0"),
    ("MAX_REPETITION", "10", "accepted is a whole number from 1,000 to 1,000,000,000"),
    ("MAX_REPETITION", "long", "accepted is a whole number from 1,000 to 1,000,000,000"),
    ("MAX_SECONDS", "0", "accepted is a number above 0"),
    ("TRIMS", "auto", "accepted are 1, true, yes, on and 0, false, no, off"),
    ("HEAL_STREAMS", "", "accepted are 1, true, yes, on and 0, false, no, off"),
    ("REQUEST_LIMIT", "call", "accepted is 'answer' or 'round'"),
    ("USAGE", "all", "accepted is 'billed' or 'one_call'"),
    ("CONTINUE_TOOL_CALLS", "2", "accepted is True, False or one of 'qwen3-coder', "),
    ("HEAL_STREAMS", "2", "accepted are 1, true, yes, on and 0, false, no, off"),
    ("ON_ERROR", "ignore", "accepted is 'partial' or 'raise'"),
    ("PROVIDER", "azure", "accepted are anthropic, "),
    ("ON_ROUND", "print", "no such setting; accepted are OPENAI_CONTINUE_CONTINUE_TOOL_CALLS, OPENAI_CONTINUE_HEAL"),
    ("MAX_ROUND", "3", "no such setting; accepted are OPENAI_CONTINUE_CONTINUE_TOOL_CALLS, OPENAI_CONTINUE_HEAL"),
]


@pytest.mark.parametrize(("name", "text", "accepted"), BAD_VARIABLES, ids=[f"{n}={t}" for n, t, _ in BAD_VARIABLES])
def test_bad_variables(name: str, text: str, accepted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is an error that names the variable, its value and the accepted forms; if unknown, no value."""
    monkeypatch.setenv("OPENAI_CONTINUE_TRIMS", "1")
    monkeypatch.setenv(f"OPENAI_CONTINUE_{name}", text)

    with pytest.raises(SettingsError) as caught:
        Continuation.from_env()

    # Nobody knows what an unknown variable holds; it may be a key.
    value = "" if accepted.startswith("no such setting") else f"={text!r}"
    assert str(caught.value).startswith(f"OPENAI_CONTINUE_{name}{value}: {accepted}")
    assert "None" not in str(caught.value)


# on_round.


async def test_on_round(way: Way, emulator: Emulator) -> None:
    """``on_round`` gets every round in order, frozen. The report lists the same rounds."""
    seen: list[Round] = []
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, on_round=seen.append))

    completion = await settled(client.chat.completions.create(**ask("Watched.")))
    whole, seen[:] = list(seen), []
    chunks = await listed(await settled(client.chat.completions.create(**ask("Watched."), stream=True)))
    await settled(client.close())

    assert report_of(completion).rounds == tuple(whole)
    assert report_of(chunks[-1]).rounds == tuple(seen)
    for rounds in (whole, seen):
        assert [round_.finish_reason for round_ in rounds] == ["length"] * (ROUNDS - 1) + ["stop"]
        assert [(round_.usage or {})["completion_tokens"] for round_ in rounds[:-1]] == [48, 48, 48]
        assert [round_.choice for round_ in rounds] == [0] * ROUNDS
        assert [type(None), SeamReport, SeamReport, SeamReport] == [type(round_.seam) for round_ in rounds]
    with pytest.raises(FrozenInstanceError):
        whole[0].id = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        whole[1].seam.dropped = 7  # type: ignore[misc, union-attr]


async def test_on_round_comes_between_the_rounds(way: Way, emulator: Emulator) -> None:
    """``on_round`` is called before the next round is sent."""
    sent: list[int] = []
    settings = replace(DEEPINFRA, on_round=lambda _: sent.append(len(emulator.requests)))
    client = way.client(emulator.base_url, continuation=settings)

    for streamed in (False, True):
        answer = await settled(client.chat.completions.create(**ask("When?"), stream=streamed))
        if streamed:
            await listed(answer)
    await settled(client.close())

    assert sent == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_on_round_when_nothing_is_continued(way: Way, emulator: Emulator) -> None:
    """``on_round`` is not called for a call that needs no further round."""
    seen: list[Round] = []
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, on_round=seen.append))

    await settled(client.chat.completions.create(**ask("Just 20 tokens, please.")))
    await settled(client.chat.completions.create(**ask("Limited."), max_tokens=20))
    await settled(client.close())

    assert seen == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_on_round_that_raises(
    way: Way, emulator: Emulator, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """An error raised by ``on_round`` is only logged as a warning, without its message."""

    def watch(_: Round) -> None:
        msg = "private matters"
        raise KeyError(msg)

    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, on_round=watch))

    answer = await settled(client.chat.completions.create(**ask("Raises."), stream=streamed))
    last = (await listed(answer))[-1] if streamed else answer
    await settled(client.close())

    assert len(last.continuation["rounds"]) == ROUNDS
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == ["on_round raised KeyError"] * ROUNDS


async def test_on_round_that_calls(color: Way, emulator: Emulator) -> None:
    """``on_round`` may make calls of its own, and these are continued too."""
    settings = Continuation(provider="deepinfra")
    inner = color.plain_client(emulator.base_url) if not color.is_async else None
    counts: list[int] = []

    def watch(round_: Round) -> None:
        if inner is not None and round_.seam is None and not counts:
            counts.append(-1)
            counts.append(len(inner.chat.completions.create(**ask("Inner.")).continuation["rounds"]))

    client = color.client(emulator.base_url, continuation=replace(settings, on_round=watch))

    completion = await settled(client.chat.completions.create(**ask("Outer.")))
    await settled(client.close())
    if inner is not None:
        inner.close()

    assert len(completion.continuation["rounds"]) == ROUNDS
    assert ([] if inner is None else [-1, ROUNDS]) == counts


# Logging.


def lines_of(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    ours = [record for record in caplog.records if record.name.startswith("openai_continue")]
    return [(record.levelname, record.getMessage()) for record in ours]


@pytest.mark.parametrize("streamed", [False, True])
async def test_log(way: Way, emulator: Emulator, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A continued call logs one line at INFO, and each of its rounds one at DEBUG."""
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    client = way.client(emulator.base_url)

    answer = await settled(client.chat.completions.create(**ask("Logged."), stream=streamed))
    if streamed:
        await listed(answer)
    await settled(client.close())

    tokens = [request.completion_tokens for request in emulator.requests]
    ends = ["length"] * (ROUNDS - 1) + ["stop"]
    assert [
        *[
            ("DEBUG", f"round {number}: finish_reason {end}, completion tokens {count}")
            for number, (end, count) in enumerate(zip(ends, tokens, strict=True), 1)
        ],
        ("INFO", f"continued: {ROUNDS} rounds, stopped by stop"),
    ] == lines_of(caplog)


async def test_log_when_nothing_is_continued(way: Way, emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """A call that needs no further round logs nothing, but once for each model that the caller's own limit ended one."""
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    client = way.client(emulator.base_url)

    await settled(client.chat.completions.create(**ask("Just 20 tokens, please.")))
    for limit in (20, 20, 30):
        await listed(await settled(client.chat.completions.create(**ask("Limited."), max_tokens=limit, stream=True)))
        await settled(client.chat.completions.create(**ask("Limited."), max_tokens=limit))
    other = {**ask("Limited."), "model": "another", "max_completion_tokens": 25}
    await settled(client.chat.completions.create(**other, extra_body={"max_tokens": None}))
    await settled(client.close())

    cut = "an answer was cut and is not continued, since {} of its request holds for the whole answer; "
    goes_on = "with request_limit='round' it goes on"
    limits = ("max_tokens=20", "max_completion_tokens=25")
    assert lines_of(caplog) == [("INFO", cut.format(limit) + goes_on) for limit in limits]


@pytest.mark.parametrize("streamed", [False, True])
async def test_log_when_a_setting_ends_the_first_round(
    way: Way, emulator: Emulator, caplog: pytest.LogCaptureFixture, streamed: bool
) -> None:
    """The line names the setting, and does not say that the answer was continued."""
    caplog.set_level(logging.INFO, logger="openai_continue")
    client = way.client(emulator.base_url, continuation=replace(DEEPINFRA, max_rounds=1))

    answer = await settled(client.chat.completions.create(**ask("One round."), stream=streamed))
    if streamed:
        await listed(answer)
    await settled(client.close())

    assert lines_of(caplog) == [("INFO", "an answer was cut and is not continued: stopped by max_rounds")]


@pytest.mark.parametrize("streamed", [False, True])
async def test_log_holds_no_content(way: Way, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Log and report hold no word of prompt, answer or key, even if a round fails."""
    caplog.set_level(logging.DEBUG, logger="openai_continue")
    secrets = ["sekret-key", "sekret-prompt", "sekret-tool", "sekret-header", "zebrafish"]
    with Emulator(cap=48, text="zebrafish " * 200, faults=[Fault("500", round=3, times=9)]) as emulator:
        client = way.client(emulator.base_url, api_key=secrets[0], max_retries=0)
        tool = {"type": "function", "function": {"name": secrets[2], "parameters": {}}}
        fields = {"tools": [tool], "extra_headers": {"x-mine": secrets[3]}, "stream": streamed}
        answer = await settled(client.chat.completions.create(**ask(secrets[1]), **fields))
        last = (await listed(answer))[-1] if streamed else answer
        await settled(client.close())

    reported = [*lines_of(caplog), str(last.continuation)]
    assert len(reported) == 5
    assert last.continuation["stopped_by"] == "error"
    assert not [secret for secret in secrets if secret in str(reported)]
