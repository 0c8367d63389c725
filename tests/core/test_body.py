"""The request of a later round: the caller's own, with one growing message at its end."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any

from tests.support.bodies import ask
from tests.support.driving import Drive, drives
from tests.support.engine import Engine
from tests.support.script import Script, cut_round, last_round
from tests.support.servers import SERVERS


@drives
def test_request(drive: Drive) -> None:
    """A later round is the same body with the text so far as its last message; the caller's body stays as it is."""
    body = ask(temperature=0.5, seed=7, prompt_cache_key="key", tools=[{"type": "function"}])
    before = copy.deepcopy(body)
    server = Script(cut_round("one "), cut_round("two "), last_round("three"))
    drive(server, body)

    first, *later = server.bodies
    assert before == body
    assert server.sent_back == ["one", "one two"]
    for sent in later:
        marked = {**first, "continue_final_message": True}
        assert {**marked, "messages": [*first["messages"], sent["messages"][-1]]} == sent
        # litellm #18229, hermes #58093: nothing is said in the caller's name.
        assert set(sent["messages"][-1]) == {"role", "content"}


@drives
def test_prefix_stays_the_same(drive: Drive) -> None:
    """claude-code #85983: the beginning of the prompt was written differently, and the prompt cache lost."""
    server = Script(cut_round("one two "), cut_round("three\n"), cut_round("four."), last_round("five"))
    drive(server, ask(prompt_cache_key="key"))

    prompts = [json.dumps(sent["messages"]).rstrip('"}]') for sent in server.bodies]
    assert all(later.startswith(earlier) for earlier, later in pairwise(prompts))
    assert {sent["prompt_cache_key"] for sent in server.bodies} == {"key"}


@drives
def test_history_is_the_merged_answer(drive: Drive) -> None:
    """qwen-code #8979: the history differed from the merged answer, so that going on repeated some of it."""
    kind = SERVERS["replaces cut characters"]
    answer = drive(Engine("one  two\n\n three 🦊 four", habits=kind.habits, cap=5), max_rounds=50)
    turn = {"role": "assistant", "content": answer.text}
    server = Script(cut_round("five "), last_round("six"))
    drive(server, ask(messages=[{"role": "user", "content": "x"}, turn, {"role": "user", "content": "y"}]))

    assert answer.text == "one  two\n\n three 🦊 four"
    assert [turn] * 2 == [sent["messages"][1] for sent in server.bodies]


@drives
def test_assistant_messages_in_a_row(drive: Drive) -> None:
    """aider #2974, #2960: two assistant messages in a row were refused."""
    own = {"role": "assistant", "content": "Once upon "}
    bodies: list[dict[str, Any]] = [ask(), ask(messages=[{"role": "user", "content": "x"}, own])]
    for body in bodies:
        server = Script(cut_round("a time "), cut_round("there "), last_round("was"))
        drive(server, body)

        for sent in server.bodies:
            roles = [message["role"] for message in sent["messages"]]
            assert "assistant assistant" not in " ".join(roles)
