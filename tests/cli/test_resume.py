"""``openai-continue write --resume``: any beginning of an answer in a file becomes the whole answer."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openai_continue._cli import main
from openai_continue._cli.resume import Resumption
from openai_continue._tables import providers
from openai_continue.testing import Emulator, Habits
from tests.support.bodies import KNOWN


def resume(emulator: Emulator, file: Path, *arguments: str, model: str = "m", provider: str = "deepinfra") -> int:
    fixed = ["--model", model, "--provider", provider, "--base-url", emulator.base_url]
    return main(["write", "Write it.", "--resume", str(file), *fixed, *arguments])


def uncapped(emulator: Emulator, model: str = "m") -> str:
    return emulator.uncapped({"model": model, "messages": [{"role": "user", "content": "Write it."}]})


@pytest.mark.parametrize("length", [0, *range(120, 126), 1000])
@pytest.mark.spread(2)
def test_any_length(emulator: Emulator, tmp_path: Path, length: int) -> None:
    """A file that was cut anywhere, in blanks too, becomes the whole answer. An empty file is a new answer."""
    file = tmp_path / "answer"
    expected = uncapped(emulator)
    file.write_bytes(expected[:length].encode())

    assert (resume(emulator, file), file.read_bytes().decode()) == (0, expected)


#: Servers that join a continuation in other ways: provider, model, further arguments, habits.
SERVERS: dict[str, tuple[str, str, list[str], Habits]] = {
    "marks": ("vllm", "m", [], Habits(marker="continue_final_message", usage="asked")),
    "mark on the message": ("deepseek", "m", [], Habits(marker="prefix", strict_marker=True)),
    "echo": ("mistral", "m", [], Habits(marker="prefix", strict_marker=True, echo="always", echo_pieces=4)),
    "small default": ("moonshot", "m", [], Habits(marker="partial", default_tokens=20)),
    "trims": ("tgi", "m", [], Habits(trims=True)),
    "trims, temperature 0": ("tgi", "m", ["--temperature", "0"], Habits(trims=True)),
    "trims, known by the model": ("deepinfra", "llama-3", ["--temperature", "0"], Habits(trims=True)),
}


@pytest.mark.parametrize("length", [118, 121, 123, 700])
@pytest.mark.parametrize("name", SERVERS)
def test_servers(name: str, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is joined as within one call: marks, echoes and trimming templates included."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    provider, model, arguments, habits = SERVERS[name]
    file = tmp_path / "answer"
    with Emulator(cap=100, tokens=450, habits=habits) as emulator:
        expected = uncapped(emulator, model)
        file.write_bytes(expected[:length].encode())
        code = resume(emulator, file, *arguments, model=model, provider=provider)

    assert (code, file.read_bytes().decode()) == (0, expected)
    assert emulator.derailed == 0


def test_answer_filed_as_thoughts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may file a continued answer as thoughts: its text is kept, and each resumption adds a round."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    file = tmp_path / "answer"
    habits = Habits(marker="continue_final_message", thinks="reasoning", misfiles="both", usage="asked")
    with Emulator(cap=100, tokens=450, habits=habits) as emulator:
        expected = uncapped(emulator)
        file.write_bytes(expected[:500].encode())
        codes = []
        while not codes or (codes[-1] == 3 and len(codes) < 9):
            codes.append(resume(emulator, file, provider="vllm"))

    assert (codes[-1], file.read_bytes().decode()) == (0, expected)
    assert 1 < len(codes) < 5


def test_cut_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The U+FFFD that a token limit left of a character makes way for the character."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    file = tmp_path / "answer"
    text = "One word and a rare one: 🦊 then the end. " * 20
    with Emulator(cap=100, text=text, habits=Habits(cut_characters="replaced")) as emulator:
        file.write_bytes((text[: text.index("🦊")] + "\ufffd").encode())
        code = resume(emulator, file)

    assert (0, text) == (code, file.read_bytes().decode())


def test_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's own line ends are sent back and kept."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    file = tmp_path / "answer"
    text = "A line.\r\nAnother line.\n" * 30
    with Emulator(cap=100, text=text) as emulator:
        file.write_bytes(text[:300].encode())
        code = resume(emulator, file)

    assert (0, text) == (code, file.read_bytes().decode())
    assert emulator.derailed == 0


@pytest.mark.parametrize("limit", [50, 150])
def test_token_limit(emulator: Emulator, tmp_path: Path, limit: int) -> None:
    """--max-tokens limits the tokens that are added; the tokens in the file do not count."""
    file = tmp_path / "answer"
    expected = uncapped(emulator)
    file.write_bytes(expected[:300].encode())

    assert resume(emulator, file, "--max-tokens", str(limit)) == 3
    written = file.read_bytes().decode()
    assert expected.startswith(written)
    assert limit == sum(request.completion_tokens for request in emulator.requests)


STOPS: dict[str, tuple[str, Habits, int, str]] = {
    # A beginning, the server, the requests, and why the rest could not be taken.
    "restart": ("", Habits(ignores_prefill=True), 1, "restart"),
    "open thoughts": ("<think>\nNow ", Habits(), 0, "reasoning"),
}


@pytest.mark.parametrize("name", STOPS)
def test_answer_that_cannot_be_continued(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file stays as it is if the server begins again, or if its text cannot go back; the exit code is 3."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    beginning, habits, requests, reason = STOPS[name]
    file = tmp_path / "answer"
    with Emulator(cap=100, tokens=450, habits=replace(habits, usage="trailing")) as emulator:
        written = beginning + uncapped(emulator)[:300]
        file.write_bytes(written.encode())
        code = resume(emulator, file, "--json")
        sent = len(emulator.requests)

    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (3, written, requests) == (code, file.read_bytes().decode(), sent)
    assert {"finish_reason": "length", "stopped_by": reason, "exit_code": 3}.items() <= said.items()


def resumed(
    written: str, answers: list[list[str]], *, row: str | None = None, trims: bool | None = None, **fields: Any
) -> tuple[str, list[str], str | None]:
    """Resume with these answers to the requests; return the new text, the prefills, and ``stopped_by``."""
    prefills: list[str] = []

    def ask(request: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        prefills.append(request["messages"][-1]["content"])
        for text in answers[len(prefills) - 1]:
            yield {"choices": [{"index": 0, "delta": {"content": text}}]}
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    request = {"model": "unknown", "messages": [{"role": "user", "content": "x"}], **fields}
    resumption = Resumption(written, request, None if row is None else providers.named(row), trims)
    return "".join(resumption.texts(ask)), prefills, resumption.stopped_by


@pytest.mark.parametrize(
    ("model", "trims", "prefill", "answer"),
    [
        (KNOWN, None, "one.\n", " two"),
        (KNOWN, False, "one.\n", " two"),
        (KNOWN, True, "one", ".\n two"),
        ("unknown", None, "one", ".\n two"),
        ("unknown", False, "one", ".\n two"),
    ],
)
def test_what_is_held_back(model: str, trims: bool | None, prefill: str, answer: str) -> None:
    """The model's name and the setting ``trims`` decide what is held back, also for a server that is in no row."""
    assert ("two", [prefill], None) == resumed("one.\n ", [[answer]], trims=trims, model=model)


def test_text_that_does_not_come_back() -> None:
    """If the model does not write the held back punctuation again, a second request sends it."""
    answers = [["!", " two"], [" tw", "o"]]

    assert resumed("one.\n", answers, row="tgi", temperature=0) == ("two", ["one", "one."], None)
