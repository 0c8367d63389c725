"""The report as the answer carries it, and as ``report_of()`` reads it: the two agree in every field."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, FrozenInstanceError, fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from openai_continue import ErrorReport, PromptTokens, Report, Round, SeamReport, report_of
from openai_continue.report import as_json, prompt_tokens_of
from openai_continue.testing import Emulator
from tests.support.bodies import ask
from tests.support.ways import SYNC, listed, settled

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "nested": {"cached_tokens": 1}}
ROUNDS = (
    Round(id="a", request_id="b", model="m", choice=0, finish_reason="length", usage=USAGE),
    Round(
        id="c",
        request_id="d",
        model="n",
        choice=1,
        finish_reason="stop",
        usage={"prompt_tokens": 22},
        estimated=True,
        seam=SeamReport(held_back=3, cut=1, dropped=2),
    ),
    Round(usage={"prompt_tokens": 25}),
)
FULL = Report(
    rounds=ROUNDS,
    stopped_by="error",
    error=ErrorReport(type="RateLimitError", status=429, request_id="e", message="f"),
    usage={"prompt_tokens": 45, "completion_tokens": 5},
    prompt_tokens=PromptTokens(first=20, last=25),
    resumed=1,
    answered_early=True,
)


def shown() -> dict[str, Any]:
    """Return the full report as it comes out of JSON."""
    read: dict[str, Any] = json.loads(json.dumps(as_json(FULL)))
    return read


def default_of(field: Field[Any]) -> Any:
    assert field.default is not MISSING, f"{field.name} has no default"
    return field.default


def test_what_is_written_is_read() -> None:
    """Each field of a report comes back, and the writer has no key that the reader does not know."""
    assert prompt_tokens_of(ROUNDS) == FULL.prompt_tokens
    assert report_of({"continuation": shown()}) == FULL

    parts = [(shown(), FULL), (shown()["rounds"][1], ROUNDS[1])]
    parts += [(shown()["rounds"][1]["seam"], ROUNDS[1].seam), (shown()["error"], FULL.error)]
    for written, read in [*parts, (shown()["prompt_tokens"], FULL.prompt_tokens)]:
        assert is_dataclass(read)
        assert [field.name for field in fields(read)] == list(written)
        # A field that this test leaves at its default would prove nothing.
        assert all(getattr(read, field.name) != default_of(field) for field in fields(read))


def test_keys_of_later_versions() -> None:
    """Keys that this version does not know are ignored, at every depth."""
    later = {**shown(), "later": {"a": 1}}
    later["error"]["later"] = later["prompt_tokens"]["later"] = 1
    for each in later["rounds"]:
        each["later"] = [1]
    later["rounds"][1]["seam"]["later"] = True

    assert report_of({"continuation": later}) == FULL


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({}, Report()),
        ({"rounds": [{}]}, Report(rounds=(Round(),))),
        ({"rounds": [{"seam": {}}], "error": {}}, Report(rounds=(Round(seam=SeamReport()),), error=ErrorReport())),
        ({"rounds": "x", "stopped_by": 1, "usage": [], "resumed": True, "prompt_tokens": 5}, Report()),
        ({"rounds": [1], "error": "x"}, Report(rounds=(Round(),))),
        ({"rounds": [{"id": 7, "choice": "0", "usage": 5}]}, Report(rounds=(Round(),))),
    ],
)
def test_keys_that_are_missing_or_of_another_type(written: Any, read: Report) -> None:
    """What is missing, or of another type than its field says, has the field's default."""
    assert read == report_of({"continuation": written})


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"continuation": None},
        {"continuation": False},
        SimpleNamespace(),
        SimpleNamespace(continuation="mine"),
        "text",
    ],
    ids=repr,
)
def test_none(answer: object) -> None:
    """Without a report there is None, whatever it is that was given."""
    assert report_of(answer) is None


def test_frozen() -> None:
    """A report cannot be changed."""
    for part in (FULL, ROUNDS[1], ROUNDS[1].seam, FULL.error, FULL.prompt_tokens):
        assert is_dataclass(part)
        assert not hasattr(part, "__dict__")
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, 5)


async def test_of_answers(client: Any) -> None:
    """Whole, parsed and streamed answers, and their dicts, have the same report; an answer of one round has none."""
    whole = await settled(client.chat.completions.create(**ask("Report.")))
    parsed = await settled(client.chat.completions.parse(**ask("Report.")))
    chunks = await listed(await settled(client.chat.completions.create(**ask("Report."), stream=True)))

    found = report_of(whole)
    assert found is not None
    assert (found.stopped_by, len(found.rounds), found.error, found.resumed) == ("stop", 4, None, 0)
    assert whole.usage.completion_tokens == (found.usage or {})["completion_tokens"]
    assert found == report_of(whole.model_dump()) == report_of(whole.to_dict())
    assert found.rounds[0].finish_reason == "length"
    others = [report_of(parsed), report_of(chunks[-1])]
    assert [found.stopped_by, found.stopped_by] == [other and other.stopped_by for other in others]
    assert [len(other.rounds) for other in others if other] == [4, 4]
    assert {report_of(chunk) for chunk in chunks[:-1]} == {None}
    short = await settled(client.chat.completions.create(**ask("Report.", max_tokens=10)))
    assert report_of(short) is None


def test_of_a_stream_of_events(emulator: Emulator) -> None:
    """Of ``.stream()``, the last chunk has it."""
    with (
        SYNC.client(emulator.base_url) as client,
        client.chat.completions.stream(**ask("Report of events.")) as stream,
    ):
        found = [report_of(event.chunk) for event in stream if event.type == "chunk"]

    assert found[-1] is not None
    assert len(found[-1].rounds) == 4


def test_repr_is_one_short_line() -> None:
    """It names the rounds, their tokens and the end, and no usage object of each round."""
    expected = "Report(rounds=<3>, completion_tokens=5, stopped_by='error', error='RateLimitError')"

    assert repr(FULL) == expected
    assert repr(Report(stopped_by="stop")) == "Report(rounds=<0>, completion_tokens=None, stopped_by='stop')"


@pytest.mark.parametrize("kind", [Report, Round, SeamReport, ErrorReport])
def test_fields_are_explained_by_help(kind: type) -> None:
    """The docstring of a class explains each field that its name does not."""
    clear = {"prompt_tokens"}

    assert {field.name for field in fields(kind)} - set(re.findall("``(\\w+)``: ", kind.__doc__ or "")) <= clear
