"""``max_seconds``: the time that is left is the timeout of a later round, and no wait is begun that passes it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from openai_continue import Continuation
from openai_continue._core.backoff import wait_before_heal
from openai_continue._sdk import clock
from openai_continue._sdk.retries import at_most
from openai_continue.settings import SettingsError
from tests.support.answers import Answer, live
from tests.support.bodies import ask
from tests.support.fake_time import FakeTime, fake_time
from tests.support.faulty import Act, FaultyServer, dripping, lingering, right, silent, stalled, words
from tests.support.script import DONE, Script, chunk, cut_round, last_round
from tests.support.ways import Way, http, settled, sync_and_async

__all__ = ["fake_time"]

WAYS = ("whole", "streamed", "streamed rounds")
how = pytest.mark.parametrize("how", WAYS)
#: The first round takes so long, of so many seconds.
FIRST, MOST = 1.0, 10.0


class Late(Script):
    """A script under a fake clock: a round may be (seconds until the response, the round), or an error's status."""

    def __init__(self, time: FakeTime, *rounds: Any) -> None:
        super().__init__(*[each[1] if isinstance(each, tuple) else each for each in rounds])
        self._time = time
        self._delays = iter([each[0] if isinstance(each, tuple) else 0.0 for each in rounds])
        #: The timeouts of the requests.
        self.timeouts: list[dict[str, float]] = []

    def handle_request(self, request: Any) -> Any:
        timeouts = request.extensions["timeout"]
        self.timeouts.append(timeouts)
        delay = next(self._delays, 0.0)
        if timeouts["read"] is not None and delay > timeouts["read"]:
            self._time.now += timeouts["read"]
            self.bodies.append({})
            next(self._rounds, None)  # type: ignore[call-overload]
            raise http.ReadTimeout("silent")
        self._time.now += delay
        response = super().handle_request(request)
        pieces: Any = self.streams[-1]._pieces
        if isinstance(pieces, list) and pieces and isinstance(pieces[0], Refusal):
            refusal = pieces[0]
            return http.Response(refusal.status, headers=refusal.headers, json={"error": {"message": "later"}})
        if b'"stream": true' in request.content or b'"stream":true' in request.content:
            response.headers["content-type"] = "text/event-stream"
        return response


class Refusal:
    """A response that is no answer."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}


def later(time: FakeTime, seconds: float) -> Any:
    """Return a piece of a stream that takes some seconds and holds nothing."""

    def piece() -> bytes:
        time.now += seconds
        return b": wait\n\n"

    return piece


def lost(time: FakeTime, seconds: float) -> Any:
    """Return a piece that takes some seconds and breaks the stream."""

    def piece() -> bytes:
        time.now += seconds
        raise http.ReadError("lost")

    return piece


async def asked(
    way: Way, script: Script, how: str, *, options: dict[str, Any] | None = None, **settings: Any
) -> Answer:
    given = {"max_seconds": MOST, **settings}
    wanted = Continuation(provider="deepinfra", stream_rounds=how == "streamed rounds", **given)
    client = way.client("http://127.0.0.1", transport=script, continuation=wanted, **(options or {}))
    answer = await live(client, ask(), streamed=how == "streamed")
    await settled(client.close())
    return answer


ONE = cut_round("One")


@sync_and_async
@how
@pytest.mark.parametrize(
    ("own", "first", "second"),
    [
        (60.0, dict.fromkeys(("connect", "read", "write", "pool"), 60.0), dict.fromkeys(("connect", "read", "write", "pool"), 9.0)),
        (None, dict.fromkeys(("connect", "read", "write", "pool")), dict.fromkeys(("connect", "read", "write", "pool"), 9.0)),
        (2, dict.fromkeys(("connect", "read", "write", "pool"), 2), dict.fromkeys(("connect", "read", "write", "pool"), 2)),
        (
            http.Timeout(60.0, connect=5.0, pool=None),
            {"connect": 5.0, "read": 60.0, "write": 60.0, "pool": None},
            {"connect": 5.0, "read": 9.0, "write": 9.0, "pool": 9.0},
        ),
    ],
    ids=["seconds", "none", "less", "parts"],
)  # fmt: skip
async def test_timeouts(own: Any, first: Any, second: Any, how: str, way: Way, fake_time: FakeTime) -> None:
    """The first round has the caller's timeout, a later one has no more than what is left."""
    script = Late(fake_time, (FIRST, ONE), (FIRST, last_round(" two.")))
    answer = await asked(way, script, how, options={"timeout": own})

    assert answer.ending == ("One two.", "stop", "stop")
    assert script.timeouts == [first, second]


@sync_and_async
@how
async def test_timeout_of_a_request(how: str, way: Way, fake_time: FakeTime) -> None:
    """A timeout of one request is the caller's own, as that of a client is."""
    script = Late(fake_time, (FIRST, ONE), (FIRST, last_round(" two.")))
    wanted = Continuation(provider="deepinfra", stream_rounds=how == "streamed rounds", max_seconds=MOST)
    client = way.client("http://127.0.0.1", transport=script, continuation=wanted)
    await live(client, {**ask(), "timeout": 4.0}, streamed=how == "streamed")
    await settled(client.close())

    assert [each["read"] for each in script.timeouts] == [4.0, 4.0]


@sync_and_async
@how
async def test_without_a_budget(how: str, way: Way, fake_time: FakeTime) -> None:
    """Without a budget in time, nothing of the timeouts and of the SDK's retries is ours."""
    script = Late(fake_time, (FIRST, ONE), [Refusal(503, retry_after="50")], last_round(" two."))
    answer = await asked(way, script, how, max_seconds=None, options={"timeout": 60.0})

    assert answer.ending == ("One two.", "stop", "stop")
    assert [each["read"] for each in script.timeouts] == [60.0] * 3
    assert fake_time.waits == [50.0]


@sync_and_async
@how
@pytest.mark.parametrize(
    ("refusals", "waits", "said"),
    [
        ([Refusal(429, retry_after="12")], [], ("One", "length", "max_seconds")),
        ([Refusal(503, retry_after_ms="9000")], [], ("One", "length", "max_seconds")),
        ([Refusal(429, retry_after="4")], [4.0], ("One two.", "stop", "stop")),
        ([Refusal(429, retry_after="4"), Refusal(429, retry_after="5")], [4.0], ("One", "length", "max_seconds")),
        ([Refusal(429, retry_after="4"), Refusal(429, retry_after="4")], [4.0, 4.0], ("One two.", "stop", "stop")),
        # The SDK's own rules: two retries, and none if the server says so.
        ([Refusal(429, retry_after="1")] * 3, [1.0, 1.0], ("One", "length", "error")),
        ([Refusal(429, retry_after="1", x_should_retry="false")], [], ("One", "length", "error")),
        ([Refusal(418)], [], ("One", "length", "error")),
    ],
)
async def test_retries(refusals: Any, waits: Any, said: Any, how: str, way: Way, fake_time: FakeTime) -> None:
    """A later round has the SDK's retries, but no wait is begun that passes the budget."""
    script = Late(fake_time, (FIRST, ONE), *[[each] for each in refusals], last_round(" two."))
    answer = await asked(way, script, how)

    assert (answer.ending, fake_time.waits) == (said, waits)
    assert fake_time.now <= 1000 + MOST


@sync_and_async
@how
async def test_backoff(how: str, way: Way, fake_time: FakeTime) -> None:
    """Without a word of the server, the waits between tries are the SDK's: half a second, then one, less a quarter."""
    script = Late(fake_time, ONE, [Refusal(500)], [Refusal(500)], last_round(" two."))
    answer = await asked(way, script, how)

    assert answer.ending == ("One two.", "stop", "stop")
    (first, second) = fake_time.waits
    assert 0.375 <= first <= 0.5
    assert 0.75 <= second <= 1.0


@sync_and_async
@how
async def test_retries_of_the_first_round(how: str, way: Way, fake_time: FakeTime) -> None:
    """The first round is the caller's own, with all waits of the SDK; but they count for what comes after it."""
    script = Late(fake_time, [Refusal(429, retry_after="12")], ONE, last_round(" two."))
    answer = await asked(way, script, how)

    assert fake_time.waits == [12.0]
    assert answer.ending[1:] == ("length", "max_seconds")
    assert len(script.bodies) == 2


@sync_and_async
@how
@pytest.mark.parametrize("timeout", [60.0, 2.0])
async def test_silent_server(timeout: float, how: str, way: Way, fake_time: FakeTime) -> None:
    """A server that says nothing costs no more than what is left, in one try or in several."""
    script = Late(fake_time, (FIRST, ONE), *[(99.0, ONE)] * 9)
    answer = await asked(way, script, how, options={"timeout": timeout, "max_retries": 5})

    assert answer.ending == ("One", "length", "max_seconds")
    assert answer.report is not None
    assert answer.report["error"] is None
    assert fake_time.now - 1000 <= MOST
    # The last try has what is left after the others.
    assert script.timeouts[-1]["read"] == pytest.approx(min(timeout, 9 - sum(fake_time.waits) - timeout * (len(script.timeouts) - 2)))  # fmt: skip


@sync_and_async
@pytest.mark.parametrize("how", WAYS[1:])
@pytest.mark.parametrize("number", [1, 2])
async def test_dripping_stream(number: int, how: str, way: Way, fake_time: FakeTime) -> None:
    """A stream that brings something now and then is ended by the clock, whatever it brings."""
    drips = [chunk(" two"), *[later(fake_time, 1.0)] * 50]
    script = Late(fake_time, *([(FIRST, ONE)] if number == 2 else []), drips)
    answer = await asked(way, script, how)

    assert answer.ending == ("One two" if number == 2 else " two", "length", "max_seconds")
    assert fake_time.now - 1000 <= MOST
    assert script.streams[-1].closed


@sync_and_async
@pytest.mark.parametrize("how", WAYS[1:])
async def test_first_round_that_has_not_begun(how: str, way: Way, fake_time: FakeTime) -> None:
    """Before anything of the answer is there, the caller's own timeouts hold: there is nothing to end with."""
    script = Late(fake_time, [later(fake_time, 30.0), chunk("One"), chunk(" two", "stop"), DONE])
    answer = await asked(way, script, how)

    assert answer.ending == ("One", "length", "max_seconds")


@sync_and_async
@pytest.mark.parametrize("how", WAYS[1:])
async def test_waits_before_heals(how: str, way: Way, fake_time: FakeTime) -> None:
    """The wait before a broken round is healed is begun only if it ends in time."""
    breaks = [[lost(fake_time, 0.0)]] * 9
    script = Late(fake_time, ONE, *breaks)
    answer = await asked(way, script, how, max_seconds=wait_before_heal(1) + 0.6)

    assert fake_time.waits == [wait_before_heal(1)]
    assert answer.ending == ("One", "length", "max_seconds")


@sync_and_async
@pytest.mark.parametrize("how", WAYS[1:])
async def test_late_break(how: str, way: Way, fake_time: FakeTime) -> None:
    """A stream that breaks off when the time is up, as by a timeout of ours, is no error."""
    script = Late(fake_time, ONE, [chunk(" two"), lost(fake_time, MOST)])
    answer = await asked(way, script, how, on_error="raise")

    assert answer.ending == ("One two", "length", "max_seconds")


@sync_and_async
async def test_first_try_of_streamed_rounds(way: Way, fake_time: FakeTime) -> None:
    """Whole answers of streamed rounds: a first stream that cannot be healed is not begun again past the budget."""
    script = Late(fake_time, *[[chunk("One"), lost(fake_time, 1.0)]] * 9)
    with pytest.raises(Exception, match="Connection error"):
        await asked(way, script, "streamed rounds", max_seconds=1.2, heal_streams=False)

    assert fake_time.waits == []
    assert len(script.bodies) == 1


@sync_and_async
async def test_round_of_another_process_needs_no_time(way: Way, fake_time: FakeTime) -> None:
    """A huge budget is no limit that a socket could not take."""
    script = Late(fake_time, ONE, last_round(" two."))
    answer = await asked(way, script, "whole", max_seconds=1e300, options={"timeout": None})

    assert answer.ending == ("One two.", "stop", "stop")
    assert script.timeouts[1]["read"] == 86_400


@pytest.mark.parametrize(
    ("own", "least"),
    [(5, 3), (2, 2), (0, 0), (None, 3), (http.Timeout(5, read=2), http.Timeout(3, read=2)), (http.Timeout(None), http.Timeout(3))],
)  # fmt: skip
def test_at_most(own: Any, least: Any) -> None:
    """Each part of a timeout is bound by itself."""
    assert at_most(own, 3) == least


# What httpx cannot do, because its timeouts are those of one read: a real server, and a budget that ends by itself.


class LateClock:
    """A clock that stands still, at half a second before the end of a minute, until a server lets it go."""

    def __init__(self) -> None:
        self._at, self._since = 0.0, 0.0

    def monotonic(self) -> float:
        return self._at + (time.monotonic() - self._since if self._since else 0.0)

    def after_a_round(self, _: Any) -> None:
        self._at = 59.5

    def let_go(self, act: Act) -> Act:
        """Return a server that lets the clock go with its request."""

        def acting(exchange: Any) -> None:
            self._at, self._since = 59.6, time.monotonic()
            act(exchange)

        return acting


@sync_and_async
@how
@pytest.mark.parametrize("act", [silent, stalled, dripping])
async def test_by_the_clock(act: Act, how: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that does not end is ended by the clock, in the middle of a read, and its connection is closed."""
    late = LateClock()
    monkeypatch.setattr(clock, "time", late)
    server = FaultyServer([right, late.let_go(act)])
    with server.running() as url:
        wanted = Continuation(
            provider="deepinfra",
            stream_rounds=how == "streamed rounds",
            max_seconds=60.0,
            on_round=late.after_a_round,
        )
        client = way.client(url, continuation=wanted, timeout=50)
        answer = await live(client, ask(), streamed=how == "streamed")
        await settled(client.close())

    assert answer.ending[1:] == ("length", "max_seconds")
    assert "".join(words(0, 200)).startswith(answer.text)
    assert len(answer.text) >= len("".join(words(0, 100)))
    assert len(server.exchanges) == 2


@sync_and_async
@pytest.mark.parametrize("how", WAYS[1:])
@pytest.mark.spread(1)
async def test_first_stream_by_the_clock(how: str, way: Way) -> None:
    """So is the stream of the first round, once something of the answer has come."""
    server = FaultyServer([stalled])
    with server.running() as url:
        wanted = Continuation(provider="deepinfra", stream_rounds=how == "streamed rounds", max_seconds=2.0)
        client = way.client(url, continuation=wanted, timeout=50)
        answer = await live(client, ask(), streamed=how == "streamed")
        await settled(client.close())

    assert answer.ending == ("".join(words(0, 10)), "length", "max_seconds")


@sync_and_async
async def test_connection_after_a_budget_that_was_kept(way: Way) -> None:
    """The watch over a stream ends with it: later calls use its connection again, and are not disturbed."""
    server = FaultyServer([right])
    with server.running() as url:
        wanted = Continuation(provider="deepinfra", max_seconds=60.0, max_rounds=3)
        client = way.client(url, continuation=wanted)
        answers = [await live(client, ask(), streamed=True) for _ in range(3)]
        ports = {exchange.handler.client_address for exchange in server.exchanges}
        await settled(client.close())

    assert {answer.ending for answer in answers} == {("".join(words(0, 300)), "length", "max_rounds")}
    assert len(ports) == 1


@sync_and_async
async def test_stream_that_lingers_after_its_end(way: Way) -> None:
    """An answer that is whole in time comes byte for byte, also what comes after its end."""
    with FaultyServer([lingering]).running() as url:
        client = way.client(url, continuation=Continuation(provider="deepinfra", max_seconds=1.0))
        raw = await settled(client.chat.completions.with_raw_response.create(**ask(stream=True)))
        read = raw.http_response
        pieces = [piece async for piece in read.aiter_bytes()] if way.is_async else list(read.iter_bytes())
        await settled(client.close())

    assert b"".join(pieces).endswith(b"data: [DONE]\n\n: over\n\n: over\n\n")


BAD = [float("nan"), float("inf"), -1, 0, -0.5, True, "3", "nan", 10**400, [1], {}]


@pytest.mark.parametrize("name", ["max_seconds", "max_cost"])
@pytest.mark.parametrize("value", BAD, ids=repr)
async def test_bad_budgets(value: Any, name: str) -> None:
    """What is no amount is refused with the value and what is accepted, also for one call."""
    with pytest.raises(SettingsError, match=rf"{name}: got .*accepted is a number above 0, or None"):
        Continuation(**{name: value})
    script = Script(ONE)
    client = Way(is_async=False, is_ours=True).client("http://127.0.0.1", transport=script)
    with pytest.raises(SettingsError, match=name):
        client.chat.completions.create(**ask(), extra_body={"continuation": {name: value}})
    assert script.bodies == []


@pytest.mark.parametrize("name", ["max_seconds", "max_cost"])
@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "1e999", "-1", "0", "", "x", "3s", "true"])
def test_bad_variables(text: str, name: str) -> None:
    """The error names the variable, its value and what is accepted."""
    variable = f"OPENAI_CONTINUE_{name.upper()}"
    with pytest.raises(SettingsError, match=rf"^{variable}='{text}': .*accepted is a number above 0"):
        Continuation.from_env({variable: text})
