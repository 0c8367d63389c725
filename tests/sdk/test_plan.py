"""The plan of a call: made once, when its request is built; carried by that request; and gone when it is answered."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import Continuation, disabled
from openai_continue._sdk.options import Plan
from tests.support.bodies import KNOWN
from tests.support.script import Script, reply
from tests.support.ways import ASYNC, DEEPINFRA, SYNC, Way, http, settled

BODY: dict[str, Any] = {"model": KNOWN, "messages": [{"role": "user", "content": "secret"}]}
ROUNDS = (reply("One ", finish="length"), reply("two.", finish="stop"))

both_colors = pytest.mark.parametrize("way", [SYNC, ASYNC], ids=["sync", "async"])


class Asked:
    """A transport that lets a test look at each request, and answers the first ones itself."""

    def __init__(self, look: Any, *rounds: Any) -> None:
        self._look = look
        self._script = Script(*rounds)

    def __call__(self, request: Any) -> Any:
        return self._look(request) or self._script.handle_request(request)


async def text_of(way: Way, transport: Any, **options: Any) -> str:
    """Ask once over this transport; return the text of the answer."""
    kind = http.AsyncClient if way.is_async else http.Client
    with_client = {"http_client": kind(transport=transport, follow_redirects=True, auth=options.pop("auth", None))}
    client = way.client("http://x/v1", max_retries=0, **with_client)
    completion = await settled(client.chat.completions.create(**BODY))
    await settled(client.close())
    return str(completion.choices[0].message.content)


@both_colors
async def test_through_a_redirect(way: Way) -> None:
    """A redirected request carries the plan of the one that was built."""

    def look(request: Any) -> Any:
        moved = request.url.path.startswith("/v2")
        return None if moved else http.Response(307, headers={"location": "http://x/v2/chat/completions"})

    assert await text_of(way, http.MockTransport(Asked(look, *ROUNDS))) == "One two."


class Login(http.Auth):  # type: ignore[misc, name-defined]
    """Sends a request again with a token when it is refused."""

    def auth_flow(self, request: Any) -> Iterator[Any]:
        response = yield request
        if response.status_code == 401:
            request.headers["x-token"] = "let me in"
            yield request


@both_colors
async def test_through_a_login(way: Way) -> None:
    """A request that the HTTP client's auth sends twice carries the plan."""

    def look(request: Any) -> Any:
        return None if "x-token" in request.headers else http.Response(401)

    assert await text_of(way, http.MockTransport(Asked(look, *ROUNDS)), auth=Login()) == "One two."


@both_colors
async def test_through_a_transport_that_makes_requests_of_its_own(way: Way) -> None:
    """A proxy's transport may send a request of its own, without extensions; the caller's keeps the plan."""
    script = Script(*ROUNDS)

    def handle(request: Any) -> Any:
        return script.handle_request(http.Request(request.method, request.url, content=request.content))

    assert await text_of(way, http.MockTransport(handle)) == "One two."


@both_colors
@pytest.mark.parametrize("streamed", [False, True])
async def test_switches_are_read_when_the_request_starts(
    way: Way, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is switched or set while a request is on its way holds for the next call, not for this one."""
    opened = ExitStack()

    def look(_: Any) -> None:
        opened.enter_context(disabled())
        monkeypatch.setenv("OPENAI_CONTINUE", "0")
        openai_continue.patch(Continuation(provider="openai"))

    client = way.client("http://x/v1", transport=http.MockTransport(Asked(look, *ROUNDS)), max_retries=0)
    answer = await settled(client.chat.completions.create(**BODY, stream=streamed))
    if not streamed:
        text = answer.choices[0].message.content
    elif way.is_async:
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices])
    else:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    await settled(client.close())
    opened.close()

    assert text == "One two."


@both_colors
async def test_response_without_a_plan(way: Way) -> None:
    """The response to a request that was built before ``patch()`` is the SDK's own."""
    client = way.plain_client(
        "http://x/v1", transport=http.MockTransport(Asked(lambda _: openai_continue.patch(DEEPINFRA), *ROUNDS))
    )
    completion = await settled(client.chat.completions.create(**BODY))
    await settled(client.close())

    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == ("One ", "length")


@both_colors
async def test_nothing_is_kept(way: Way) -> None:
    """When a call is answered or has failed, its request holds no plan, and no plan is alive; none shows content."""
    seen: list[str] = []

    def look(request: Any) -> Any:
        seen.extend(map(repr, (request, *request.extensions.values())))
        return http.Response(400, json={"error": {"message": "no"}}) if len(script.bodies) == 2 else None

    body = {**BODY, "model": "of this test"}
    script = Script(*ROUNDS)
    client = way.client(
        "http://x/v1",
        transport=http.MockTransport(lambda request: look(request) or script.handle_request(request)),
        max_retries=0,
    )
    raw = await settled(client.chat.completions.with_raw_response.create(**body))
    with pytest.raises(openai.BadRequestError) as caught:
        await settled(client.chat.completions.create(**body))
    await settled(client.close())

    assert ["timeout"] == list(raw.http_request.extensions) == list(caught.value.request.extensions)
    assert any(one.startswith("Plan(") for one in seen)
    assert not any("secret" in one for one in seen)
    gc.collect()
    assert [one for one in gc.get_objects() if type(one) is Plan and one.body["model"] == body["model"]] == []
