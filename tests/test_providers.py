"""The provider table: for each row, the requests of later rounds, the replies, and the hosts."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue._tables import providers
from openai_continue.errors import SettingsError
from tests.support.bodies import ask
from tests.support.driving import Drive, drives, streamed, whole
from tests.support.script import Script, reply, usage
from tests.support.ways import DEEPINFRA, SYNC, Way, http, settled, sync_and_async

FLAGS = {"add_generation_prompt": False, "continue_final_message": True}
NAMES = [row.name for row in providers.PROVIDERS]
CONTINUING = [row.name for row in providers.PROVIDERS if row.continues]

#: How a later round differs from the first: fields of the body, fields of its last message, and the tokens asked for.
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "deepinfra": ({"continue_final_message": True}, {}, {}),
    "vllm": (FLAGS, {}, {}),
    "sglang": ({"continue_final_message": True}, {}, {}),
    "llama.cpp": (FLAGS, {}, {}),
    "tgi": ({}, {}, {}),
    "ollama": ({}, {}, {}),
    "deepseek": ({}, {"prefix": True}, {}),
    "mistral": ({}, {"prefix": True}, {}),
    "moonshot": ({}, {"partial": True}, {"max_tokens": 16_384}),
    "dashscope": ({}, {"partial": True}, {}),
    "openrouter": ({}, {}, {}),
    "groq": ({}, {}, {}),
    "together": ({}, {}, {"max_tokens": 16_384}),
    "fireworks": ({}, {}, {"max_tokens": 16_384}),
}
#: Fields of a streamed request.
OF_STREAMS = ("stream", "stream_options")
#: The name of the limit that each row sends if the caller gave ``max_tokens``, ``max_completion_tokens``, or both.
LIMIT_NAMES: dict[str, tuple[str, str, str]] = {
    **dict.fromkeys(CONTINUING, ("max_tokens", "max_tokens", "max_tokens")),
    **dict.fromkeys(
        ("vllm", "sglang", "llama.cpp", "groq"), ("max_tokens", "max_completion_tokens", "max_completion_tokens")
    ),
    "openrouter": ("max_tokens", "max_completion_tokens", "max_tokens"),
}


def test_every_row_is_in_these_tables() -> None:
    """Each row has its request in the table above, and its own name."""
    assert set(CONTINUING) == set(REQUESTS)
    assert len(set(NAMES)) == len(NAMES)
    assert set(NAMES) - set(CONTINUING) == {
        "openai", "anthropic", "gemini", "mlx_lm", "transformers", "llama-cpp-python", "litgpt",
    }  # fmt: skip


# The request, and the reply.


@drives
@pytest.mark.parametrize("row", CONTINUING)
def test_request(row: str, drive: Drive) -> None:
    """Each row marks a later round as its server requires, and changes nothing else. The first round is not changed."""
    body = ask("x", temperature=1)
    marks, message, tokens = REQUESTS[row]
    if row == "fireworks" and drive is whole:
        tokens = {"max_tokens": 4096}
    # A reply of this server; some begin with a copy of the message.
    echo = {"mistral": "one", "llama.cpp": "one" if drive is whole else ""}.get(row, "")
    # The blanks were not sent back, so the model writes them again.
    server = Script(reply("one  "), reply(echo + "  two", finish="stop"))
    answer = drive(server, body, provider=row)

    first, second = ({name: one[name] for name in one if name not in OF_STREAMS} for one in server.bodies)
    assert answer.ending == ("one  two", "stop", "stop")
    assert body == first
    sent = {"role": "assistant", "content": "one", **message}
    assert {**body, **marks, **tokens, "messages": [*body["messages"], sent]} == second


@drives
@pytest.mark.parametrize("row", CONTINUING)
def test_limit_names(row: str, drive: Drive) -> None:
    """Each row's later rounds name the limit as its server reads it, whichever name the caller used."""
    old, new, both = LIMIT_NAMES[row]
    for fields, name, total in (
        ({"max_tokens": 8}, old, 8),
        ({"max_completion_tokens": 8}, new, 8),
        ({"max_tokens": 8, "max_completion_tokens": 9}, both, 8 if both == "max_tokens" else 9),
    ):
        server = Script(reply("one", usage=usage(3, 5)), reply(finish="stop"))
        drive(server, ask("x", **fields), provider=row)

        limits = [{key: sent[key] for key in sent if key.startswith("max_")} for sent in server.bodies]
        assert [fields, {name: total - 5}] == limits


@drives
@pytest.mark.parametrize(
    "case",
    [
        ("mistral", "one\n", "one\ntwo", "one\n", "one\ntwo"),
        ("mistral", " one", " onetwo", " one", " onetwo"),
        ("mistral", " one", "onetwo", " one", " onetwo"),
        ("mistral", "one", "two", "one", "onetwo"),
        ("tgi", "one\n  ", "\n  two", "one", "one\n  two"),
        ("tgi", "one  \n", "  \ntwo", "one", "one  \ntwo"),
        ("ollama", "one\n", "two", "one\n", "one\ntwo"),
        ("deepseek", "one", "onetwo", "one", "oneonetwo"),
        ("moonshot", "one", "onetwo", "one", "oneonetwo"),
        ("deepinfra", "one", "onetwo", "one", "oneonetwo"),
    ],
)
def test_reply(case: tuple[str, ...], drive: Drive) -> None:
    """A copy of the message sent back is dropped if the row says that the server makes one, and only then."""
    row, first, second, sent, merged = case
    server = Script(reply(first), reply(second, finish="stop"))
    answer = drive(server, ask("x"), provider=row)

    assert (merged, "stop", "stop") == answer.ending
    assert sent == server.bodies[1]["messages"][-1]["content"]


def test_reply_of_llama_server() -> None:
    """llama-server copies the message into whole answers, and not into streamed ones."""
    in_whole = whole(Script(reply("one"), reply("onetwo", finish="stop")), provider="llama.cpp")
    in_stream = streamed(Script(reply("one"), reply("one", "two", finish="stop")), provider="llama.cpp")

    assert in_whole.text == "onetwo"
    assert in_stream.text == "oneonetwo"


# Hosts and names.


@pytest.mark.parametrize(
    ("address", "row"),
    [
        ("https://api.deepinfra.com/v1/openai", "deepinfra"),
        ("https://API.DeepInfra.com/v1/openai/", "deepinfra"),
        ("https://api.deepinfra.com./v1/openai", "deepinfra"),
        ("https://deepinfra.com/v1/openai", "deepinfra"),
        ("https://eu.api.deepinfra.com:8443/v1/openai", "deepinfra"),
        ("https://api.deepinfra.ai/v1/openai", "deepinfra"),
        ("https://deepinfra.com.example.org/v1", None),
        ("https://notdeepinfra.com/v1", None),
        ("https://api.deepseek.com/beta", "deepseek"),
        ("https://api.deepseek.com/beta/", "deepseek"),
        ("https://api.deepseek.com", None),
        ("https://api.deepseek.com/v1", None),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.moonshot.cn/v1", "moonshot"),
        ("https://api.moonshot.ai/v1", "moonshot"),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.together.xyz/v1", None),
        ("https://api.fireworks.ai/inference/v1", None),
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai", "openai"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini"),
        ("http://localhost:8000/v1", None),
        ("http://127.0.0.1:8080/v1", None),
        ("https://[::1]:8080/v1", None),
    ],
)
def test_host(address: str, row: str | None) -> None:
    """A server is recognized by the end of its host name, and by the path if only a part of the host continues."""
    url = http.URL(address)
    found = providers.at_address(url.host, url.path)

    assert row == (None if found is None else found.name)


def test_names() -> None:
    """Each row is found by its name."""
    assert [providers.named(name).name for name in NAMES] == NAMES


@pytest.mark.parametrize(
    ("name", "host", "row"),
    [("vllm", "api.mistral.ai", "vllm"), (None, "api.mistral.ai", "mistral"), (None, "example.org", None)],
)
def test_chosen(name: str | None, host: str, row: str | None) -> None:
    """The setting ``provider`` wins over the host."""
    found = providers.chosen(name, host, "/v1")

    assert row == (None if found is None else found.name)


def test_unknown_name() -> None:
    """An unknown name is an error that lists the known names."""
    with pytest.raises(SettingsError, match="got 'deepinfre', accepted are anthropic, dashscope, deepinfra, "):
        providers.named("deepinfre")


class Recorder(http.BaseTransport, http.AsyncBaseTransport):  # type: ignore[misc]
    """A network with one server: it cuts two answers, then ends the third."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def _answer(self, request: Any) -> Any:
        self.urls.append(str(request.url))
        message = {"role": "assistant", "content": "cut"}
        choice = {"index": 0, "message": message, "finish_reason": "length" if len(self.urls) < 3 else "stop"}
        body = {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return http.Response(200, json=body, request=request)

    def handle_request(self, request: Any) -> Any:
        return self._answer(request)

    async def handle_async_request(self, request: Any) -> Any:
        return self._answer(request)


@sync_and_async
@pytest.mark.parametrize(
    ("base_url", "requests"),
    [
        ("https://api.deepinfra.com/v1/openai", 3),
        ("https://api.deepseek.com/beta", 3),
        ("https://api.deepseek.com", 1),
        ("https://api.openai.com/v1", 1),
        ("https://api.anthropic.com/v1", 1),
        ("https://generativelanguage.googleapis.com/v1beta/openai", 1),
        ("https://example.org/v1", 1),
    ],
)
async def test_host_through_a_client(base_url: str, requests: int, way: Way) -> None:
    """Answers of hosts that continue are continued. Hosts that do not, and unknown hosts, are left alone."""
    network = Recorder()
    client = way.client(base_url, transport=network, continuation=replace(DEEPINFRA, provider=None))
    completion = await settled(client.chat.completions.create(**ask("x")))
    await settled(client.close())

    assert requests == len(network.urls)
    assert "cut" * requests == completion.choices[0].message.content
    assert (requests == 1) == (not hasattr(completion, "continuation"))


def test_unknown_host_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown host is left alone, with one line in the log for all its calls."""
    client = SYNC.client("https://unheard.example/v1", transport=Recorder(), continuation=Continuation())
    with caplog.at_level(logging.INFO, "openai_continue"):
        for _ in range(2):
            client.chat.completions.create(**ask("x"))
    client.close()

    assert sum("unheard.example" in record.message for record in caplog.records) == 1


def test_rows_that_continue_responses() -> None:
    """Responses go on where that was measured, or where a schema says so; there less tells of a new turn."""
    rows = {row.name: row.for_responses.is_marked for row in providers.PROVIDERS if row.response_marks is not None}
    assert rows == {"vllm": True, "deepinfra": False}
