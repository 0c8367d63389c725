"""An agent writes a file of three caps' length by one tool call: a plain loop over the SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue.testing import Emulator, Habits
from tests.support.answers import live
from tests.support.bodies import ask
from tests.support.ways import ASYNC, SYNC, Way, settled, streamed_or_not

CAP = 400
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["path", "content"],
}
BODY = ask(
    "Please call the tool write_file with 1200 tokens, and sum the file up in 600 tokens.",
    model="Qwen/Qwen3-32B",
    tools=[{"type": "function", "function": {"name": "write_file", "parameters": PARAMETERS}}],
)

# A whole answer of vLLM has a call that was cut as text. vLLM needs marks in the body to continue an answer.
SERVERS = {
    "deepinfra": Habits(),
    "vllm": Habits(cut_calls="content", marker="continue_final_message", usage="asked"),
}

kinds = pytest.mark.parametrize("provider", SERVERS)
sync_and_async = pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])


class Agent:
    """Asks a model, and executes its calls, until it answers with a text."""

    def __init__(self, client: Any, folder: Path, *, streamed: bool) -> None:
        self._client = client
        self._folder = folder
        self._streamed = streamed
        self.messages: list[dict[str, Any]] = [*BODY["messages"]]

    async def run(self) -> str:
        """Return the text with which the model ends."""
        while True:
            answer = await live(self._client, {**BODY, "messages": self.messages}, streamed=self._streamed)
            said = {"role": "assistant", "content": answer.text or None}
            if not answer.tool_calls:
                self.messages.append(said)
                return answer.text
            self.messages.append({**said, "tool_calls": answer.tool_calls})
            for call in answer.tool_calls:
                result = self.write_file(**json.loads(call["function"]["arguments"]))
                self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})

    def write_file(self, path: str, content: str) -> str:
        """Write a file; return what the model is told."""
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())
        return f"{len(content)} characters were written to {path}."


def files(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder, by their paths."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@kinds
@sync_and_async
@streamed_or_not
@pytest.mark.spread(1)
async def test_writes_the_whole_file(provider: str, way: Way, streamed: bool, tmp_path: Path) -> None:
    """The file is the one of an uncapped server to the byte, and the model goes on from the result of its call."""
    with Emulator(cap=CAP, habits=SERVERS[provider]) as emulator:
        settings = Continuation(provider=provider, continue_tool_calls=True)
        client = way.client(emulator.base_url, continuation=settings)
        agent = Agent(client, tmp_path, streamed=streamed)
        text = await agent.run()
        await settled(client.close())
        ((name, arguments),) = emulator.uncapped_calls(BODY)
        wanted = json.loads(arguments)
        # The first request of the second turn ends in the result.
        sent = next(logged.body["messages"] for logged in emulator.requests if len(logged.body["messages"]) == 3)
        expected = emulator.uncapped({**BODY, "messages": sent})
        statuses, derailed = {logged.status for logged in emulator.requests}, emulator.derailed
        requests = len(emulator.requests)

    assert {wanted["path"]: wanted["content"].encode()} == files(tmp_path)
    assert text == expected
    user, call, result, end = agent.messages
    assert [user, call, result] == sent
    (made,) = call["tool_calls"]
    assert (made["id"], "function", {"name": name, "arguments": arguments}) == (
        result["tool_call_id"],
        made["type"],
        made["function"],
    )
    assert end == {"role": "assistant", "content": expected}
    assert (statuses, derailed) == ({200}, 0)
    # Four rounds for the file, for its syntax needs tokens too, and two for the text.
    assert requests == 6


@kinds
@sync_and_async
@streamed_or_not
async def test_without_the_library(provider: str, way: Way, streamed: bool, tmp_path: Path) -> None:
    """The same loop writes nothing: the call does not parse, or the model seems to have answered with a text."""
    with Emulator(cap=CAP, habits=SERVERS[provider]) as emulator:
        client = way.plain_client(emulator.base_url)
        agent = Agent(client, tmp_path, streamed=streamed)
        if provider == "vllm" and not streamed:
            assert (await agent.run()).startswith("<tool_call>")
        else:
            with pytest.raises(json.JSONDecodeError, match="Unterminated string"):
                await agent.run()
        await settled(client.close())

    assert files(tmp_path) == {}
