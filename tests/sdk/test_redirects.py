"""A further round goes to no host but that of the first one: neither its text nor a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest

from openai_continue import report_of
from openai_continue._sdk.errors import RedirectError
from tests.support.answers import Answer, outcome
from tests.support.bodies import ask
from tests.support.script import Script, cut_round, reply
from tests.support.ways import DEEPINFRA, Way, http, settled, streamed_or_not, two_ways

pytestmark = pytest.mark.usefixtures("no_waiting")

HOME = "https://one.example/v1"
KEYS = {"api-key": "secret", "x-api-key": "secret", "x-custom": "secret"}
STATUSES = [301, 302, 303, 307, 308]
ELSEWHERE = {
    "other host": "https://other.example/v1/chat/completions",
    "sub-domain": "https://api.one.example/v1/chat/completions",
    "other port": "https://one.example:8443/v1/chat/completions",
    "no TLS": "http://one.example/v1/chat/completions",
    "without a scheme": "//other.example/v1/chat/completions",
}


class Hosts:
    """All hosts: each redirects a request if the test says so, else the script answers."""

    def __init__(self, moved: Callable[[int, Any], tuple[int, str] | None], *rounds: Any) -> None:
        self._moved = moved
        self._script = Script(*(rounds or (cut_round("One "), cut_round("two "), reply("three", finish="stop"))))
        self.requests: list[Any] = []

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        moved = self._moved(len(self._script.bodies) + 1, request.url)
        if moved is None:
            response = self._script.handle_request(request)
            streams = self._script.bodies[-1].get("stream")
            response.headers["content-type"] = "text/event-stream" if streams else "application/json"
            return response
        return http.Response(moved[0], headers={"location": moved[1], "x-request-id": "moved"})

    @property
    def seen(self) -> list[str]:
        return [f"{one.method} {one.url}" for one in self.requests]


async def asked(way: Way, hosts: Hosts, *, streamed: bool, base_url: str = HOME, **options: Any) -> Answer:
    """Ask by a client that follows redirects, as the SDK's own does."""
    kind = http.AsyncClient if way.is_async else http.Client
    more = {"auth": options.pop("auth", None), "follow_redirects": options.pop("follow_redirects", True)}
    made = kind(transport=http.MockTransport(hosts), **more)
    client = way.client(base_url, http_client=made, max_retries=0, default_headers=KEYS, **options)
    seen = await outcome(client, streamed=streamed, **ask())
    await settled(client.close())
    return seen


def away(status: int, location: str, *, from_round: int = 2) -> Callable[[int, Any], tuple[int, str] | None]:
    """Redirect the chats of the first host from a round on."""
    start = HOME + "/chat/completions"
    return lambda number, url: (status, location) if number >= from_round and str(url) == start else None


@pytest.mark.parametrize("status", STATUSES)
async def test_what_the_sdk_sends(way: Way, status: int) -> None:
    """Without us, a redirect takes all headers but ``Authorization`` to the other host; 307 and 308 the body too."""
    hosts = Hosts(away(status, ELSEWHERE["other host"], from_round=1), reply("x", finish="stop"))
    kind = http.AsyncClient if way.is_async else http.Client
    client = way.plain_client(
        HOME,
        http_client=kind(transport=http.MockTransport(hosts), follow_redirects=True),
        default_headers=KEYS,
        max_retries=0,
    )
    try:
        await settled(client.chat.completions.create(**ask()))
    except (ValueError, openai.APIConnectionError):
        # A GET has no body, which the script wants.
        assert status in (301, 302, 303)
    await settled(client.close())

    _, sent = hosts.requests
    assert (sent.url.host, sent.headers.get("authorization")) == ("other.example", None)
    assert KEYS.items() <= dict(sent.headers).items()
    assert (status in (307, 308)) == bool(sent.content)


@two_ways
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("location", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_round_that_leaves_the_host(way: Way, streamed: bool, location: str, status: int) -> None:
    """A redirect to another host is not followed: nothing goes there, and the answer is what was there."""
    hosts = Hosts(away(status, location))
    seen = await asked(way, hosts, streamed=streamed)

    assert seen.ending == ("One ", "length", "error")
    host = location.split("/")[2]
    note = f"the server redirected a further round to another host, {host}; neither the text nor a key was sent there"
    assert {"type": "RedirectError", "status": status, "request_id": "moved", "message": note} == seen.report["error"]
    assert [f"POST {HOME}/chat/completions"] * 2 == hosts.seen


@two_ways
async def test_error_that_is_raised(way: Way, streamed: bool) -> None:
    """``on_error="raise"`` raises an error of the SDK's kind, with the partial answer."""
    settings = replace(DEEPINFRA, on_error="raise")
    seen = await asked(way, Hosts(away(307, ELSEWHERE["other host"])), streamed=streamed, continuation=settings)

    assert isinstance(seen.error, RedirectError)
    assert isinstance(seen.error, openai.APIStatusError)
    assert "to another host, other.example;" in str(seen.error)
    assert seen.error.partial_completion.choices[0].message.content == "One "
    assert seen.error.message == report_of(seen.error.partial_completion).error.message


@two_ways
@pytest.mark.parametrize("streams", [False, True], ids=["as asked", "streamed rounds"])
@pytest.mark.parametrize("location", ["/v2/chat/completions?a=b", "https://one.example:443/v2/chat/completions?a=b"])
async def test_redirect_at_the_same_host(way: Way, streamed: bool, location: str, streams: bool) -> None:
    """A redirect at the same host is followed with everything that the request had."""
    hosts = Hosts(away(307, location))
    seen = await asked(way, hosts, streamed=streamed, continuation=replace(DEEPINFRA, stream_rounds=streams))

    assert seen.ending == ("One two three", "stop", "stop")
    moved = "https://one.example/v2/chat/completions?a=b"
    assert [f"POST {HOME}/chat/completions"] * 2 + [f"POST {moved}"] == hosts.seen[:3]
    first, last = hosts.requests[0], hosts.requests[2]
    assert {*KEYS.items(), ("authorization", "Bearer key")} <= set(last.headers.items())
    assert {name for name in first.headers if name != "content-length"} <= set(last.headers)


@streamed_or_not
async def test_upgrade_to_tls(way: Way, streamed: bool) -> None:
    """A server that sends a request to its own https keeps the key, as with the SDK."""
    plain = HOME.replace("https", "http")
    hosts = Hosts(lambda _, url: (308, f"{HOME}/chat/completions") if url.scheme == "http" else None)
    seen = await asked(way, hosts, streamed=streamed, base_url=plain)

    assert seen.ending == ("One two three", "stop", "stop")
    assert [f"POST {plain}/chat/completions", f"POST {HOME}/chat/completions"] * 3 == hosts.seen
    assert all("Bearer key" == one.headers["authorization"] for one in hosts.requests)


@two_ways
async def test_host_that_answered_the_first_round(way: Way, streamed: bool) -> None:
    """Where the SDK followed the first request, the later ones go too, and with no more than the first had."""
    hosts = Hosts(away(307, ELSEWHERE["other host"], from_round=1))
    seen = await asked(way, hosts, streamed=streamed)

    assert seen.ending == ("One two three", "stop", "stop")
    assert [f"POST {HOME}/chat/completions", f"POST {ELSEWHERE['other host']}"] * 3 == hosts.seen
    there = hosts.requests[1::2]
    assert [one.headers.get("authorization") for one in there] == [None] * 3
    assert all(KEYS.items() <= dict(one.headers).items() for one in there)


@two_ways
async def test_host_that_answered_the_first_round_moves_on(way: Way, streamed: bool) -> None:
    """From there, a round goes to no third host."""
    hosts = Hosts(
        lambda number, url: {
            "one.example": (307, ELSEWHERE["other host"]),
            "other.example": (307, "https://third.example/") if number > 1 else None,
        }.get(url.host)
    )
    seen = await asked(way, hosts, streamed=streamed)

    assert seen.ending == ("One ", "length", "error")
    assert not any("third" in one for one in hosts.seen)


@two_ways
async def test_client_that_signs_requests(way: Way, streamed: bool) -> None:
    """A client whose requests are signed signs none for the other host, so a round that is sent there is refused."""
    hosts = Hosts(away(307, ELSEWHERE["other host"], from_round=1))
    seen = await asked(way, hosts, streamed=streamed, auth=("user", "password"))

    assert seen.ending == ("One ", "length", "error")
    assert [one.headers.get("authorization") for one in hosts.requests if "other" in one.url.host] == [None]


@two_ways
async def test_redirects_without_end(way: Way, streamed: bool) -> None:
    """A circle of redirects ends the answer with what was there."""
    hosts = Hosts(lambda number, _: (307, "/v1/chat/completions") if number > 1 else None)
    seen = await asked(way, hosts, streamed=streamed)

    assert seen.ending == ("One ", "length", "error")
    assert len(hosts.requests) == 22


@two_ways
async def test_client_that_follows_no_redirects(way: Way, streamed: bool) -> None:
    """A client that follows none follows none in further rounds."""
    hosts = Hosts(away(307, "/v2/chat/completions"))
    seen = await asked(way, hosts, streamed=streamed, follow_redirects=False)

    assert seen.ending == ("One ", "length", "error")
    assert seen.report["error"] == {"type": "APIStatusError", "status": 307, "request_id": "moved"}
    assert len(hosts.requests) == 2


@two_ways
async def test_query_of_the_client(way: Way, streamed: bool) -> None:
    """The address of a redirect is all of the address: a query of the client is not put there again."""
    hosts = Hosts(lambda number, url: (307, "/v2/chat") if number > 1 and url.path.startswith("/v1") else None)
    seen = await asked(way, hosts, streamed=streamed, default_query={"api-version": "1"})

    assert seen.ending == ("One two three", "stop", "stop")
    start = f"POST {HOME}/chat/completions?api-version=1"
    assert [start, *[start, "POST https://one.example/v2/chat"] * 2] == hosts.seen
