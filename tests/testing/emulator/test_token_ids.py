"""Token ids: shown with ``return_token_ids``, and read as prompts."""

from __future__ import annotations

from typing import Any

import pytest

from openai_continue.testing import Emulator, Habits
from openai_continue.testing.emulator.tokens import tokenize
from openai_continue.testing.emulator.vocabulary import END, decoded, ids_of
from tests.testing.emulator.asking import BODY, chunks_of, post, streamed_or_not
from tests.testing.emulator.test_raw_prompts import CALL, SHORT
from tests.testing.emulator.test_text_completions import PROMPT, complete, completed

FALLBACK = Habits(cut_characters="dropped")
KINDS = {
    "plain": Habits(),
    "bytes": FALLBACK,
    "thinks": Habits(thinks="reasoning", template="qwen3", think_tokens=30, cut_characters="dropped"),
    "opened": Habits(thinks="reasoning", think_tokens=30, think_blanks="kept"),
}
kinds = pytest.mark.parametrize("habits", KINDS.values(), ids=KINDS)


def chat_ids(emulator: Emulator, body: dict[str, Any], *, stream: bool) -> tuple[list[int], list[int]]:
    """Return the ids of the prompt and of the answer to a chat request."""
    response = post(emulator, **body, stream=stream, return_token_ids=True)
    if not stream:
        return response.json()["prompt_token_ids"], response.json()["choices"][0]["token_ids"]
    chunks = chunks_of(response)
    assert ["prompt_token_ids" in chunk for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    return chunks[0]["prompt_token_ids"], [one for chunk in chunks for one in chunk["choices"][0]["token_ids"]]


def text_ids(
    emulator: Emulator, prompt: Any, *, stream: bool = False, **fields: Any
) -> tuple[list[int], list[int], str]:
    """Return the ids of the prompt and of the text of a text completion, and the text."""
    response = complete(emulator, prompt, stream=stream, return_token_ids=True, **fields)
    assert response.status_code == 200, response.text
    choices = [chunk["choices"][0] for chunk in (chunks_of(response) if stream else [response.json()])]
    assert ["prompt_token_ids" in one for one in choices] == [True] + [False] * (len(choices) - 1)
    return (
        choices[0]["prompt_token_ids"],
        [number for one in choices for number in one["token_ids"]],
        "".join(one["text"] for one in choices),
    )


def test_ids_are_reversible() -> None:
    """An id has the bytes of its token."""
    text = "\x00\x00a🦊\ud800 <think>\n"
    tokens = tokenize(text, byte_fallback=True)
    assert decoded(ids_of(tokens)) == text


@streamed_or_not
@kinds
@pytest.mark.parametrize("body", [SHORT, CALL], ids=["short", "call"])
def test_shown(habits: Habits, body: dict[str, Any], stream: bool) -> None:
    """The ids of an answer have the tags and the end token; those of a prompt are as many as its tokens."""
    with Emulator(habits=habits) as emulator:
        prompt, written = chat_ids(emulator, body, stream=stream)
        assert decoded(prompt) == emulator.prompt_of(body)
        assert decoded(written) == emulator.raw(body) + END.decode()
        assert (emulator.requests[0].prompt_tokens, emulator.requests[0].completion_tokens) == (
            len(prompt),
            len(written),
        )
        assert text_ids(emulator, emulator.prompt_of(body), stream=stream) == (prompt, written, emulator.raw(body))
        assert text_ids(emulator, prompt, stream=stream) == (prompt, written, emulator.raw(body))


@streamed_or_not
def test_shown_when_cut(stream: bool) -> None:
    """Without its end an answer has no end token; with a stop string it has the tokens up to that."""
    with Emulator(habits=FALLBACK) as emulator:
        _, whole = chat_ids(emulator, SHORT, stream=False)
        assert chat_ids(emulator, {**SHORT, "max_tokens": 20}, stream=stream)[1] == whole[:20]
        text = emulator.uncapped(SHORT)
        stopped = chat_ids(emulator, {**SHORT, "stop": text[30:34]}, stream=stream)[1]
        assert stopped == whole[: len(stopped)]
        assert decoded(stopped).startswith(text[:34])


def test_not_asked(plain: Emulator) -> None:
    """Without the field there are no ids."""
    assert "token_ids" not in post(plain, max_tokens=5).text
    assert "token_ids" not in complete(plain, max_tokens=5, stream=True).text


@kinds
@pytest.mark.parametrize("body", [SHORT, CALL], ids=["short", "call"])
@pytest.mark.thorough
def test_every_cut_of_ids(habits: Habits, body: dict[str, Any]) -> None:
    """The model writes the same tokens after every cut; ids that end within a character are no text."""
    with Emulator(habits=habits) as emulator:
        prompt, written = chat_ids(emulator, body, stream=False)
        inside = 0
        for cut in range(len(written)):
            if complete(emulator, prompt + written[:cut]).status_code == 400:
                inside += 1
                continue
            got, rest, text = text_ids(emulator, prompt + written[:cut])
            assert (got, rest) == (prompt + written[:cut], written[cut:])
            assert decoded(written[:cut]) + text == emulator.raw(body)
        assert emulator.derailed == 0
        assert (inside > 0) == (habits.cut_characters is not None)


@streamed_or_not
@pytest.mark.thorough
def test_every_cut_of_the_callers_prompt(stream: bool) -> None:
    """The same for a prompt of the caller's own, in rounds of one to nine tokens."""
    with Emulator(tokens=150) as emulator:
        prompt, whole, text = text_ids(emulator, "Write 150 tokens.")
        for size in range(1, 10):
            written: list[int] = []
            while len(written) < len(whole):
                got, more, _ = text_ids(emulator, prompt + written, stream=stream, max_tokens=size)
                assert got == prompt + written
                assert more
                written += more
            assert written == whole
        assert emulator.derailed == 0
        assert decoded(whole) == text + END.decode()


def test_several_prompts_of_ids() -> None:
    """A list of lists is several prompts."""
    with Emulator() as emulator:
        prompts = [ids_of(tokenize(one)) for one in (PROMPT, "Write 30 tokens.")]
        for at, text in enumerate((PROMPT, "Write 30 tokens.")):
            assert completed(emulator, prompts, index=at)[0] == emulator.uncapped({"prompt": text})
        answer = complete(emulator, prompts, return_token_ids=True).json()
        assert [choice["prompt_token_ids"] for choice in answer["choices"]] == prompts


def test_half_characters() -> None:
    """Ids that are no UTF-8 together are refused."""
    with Emulator(habits=FALLBACK) as emulator:
        prompt, _ = chat_ids(emulator, BODY, stream=False)
        half = ids_of(["🦊".encode()[:2]])
        assert complete(emulator, prompt + half).status_code == 400
        assert complete(emulator, prompt + half + ids_of([b"a"])).status_code == 400
