"""OpenAI and AsyncOpenAI: the SDK's clients with one argument more."""

from __future__ import annotations

import inspect
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import Continuation, SettingsError, client_options
from openai_continue.testing import Emulator
from tests.support.asking import ask_both, create, rounds_in
from tests.support.bodies import ask
from tests.support.ways import DEEPINFRA, OUR_ASYNC, OUR_SYNC, Way, settled

ROUNDS = 4
NOWHERE = "http://127.0.0.1:9/v1"
our_clients = pytest.mark.parametrize("way", [OUR_SYNC, OUR_ASYNC], ids=["sync", "async"])


async def rounds_of(*clients: Any) -> list[int]:
    """Ask with each client, and return the rounds of its answer."""
    return [rounds_in(await create(client, **ask("How often?"))) for client in clients]


async def close(*clients: Any) -> None:
    for client in clients:
        await settled(client.close())


@our_clients
def test_client_is_the_sdks(way: Way) -> None:
    """Our clients are the SDK's, with its arguments and one more, which must be named."""
    client = way.client(NOWHERE, default_headers={"x-mine": "yes"}, max_retries=7)

    assert isinstance(client, openai.AsyncOpenAI if way.is_async else openai.OpenAI)
    assert (client.max_retries, client.default_headers["x-mine"]) == (7, "yes")
    with pytest.raises(TypeError):
        type(client)(True)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (openai_continue.OpenAI, openai.OpenAI),
        (openai_continue.AsyncOpenAI, openai.AsyncOpenAI),
        (openai_continue.OpenAI.copy, openai.OpenAI.copy),
        (openai_continue.AsyncOpenAI.with_options, openai.AsyncOpenAI.with_options),
    ],
)
def test_arguments_are_shown_by_editors_and_help(ours: Any, theirs: Any) -> None:
    """The signatures name the arguments of the installed SDK, and one more."""
    assert list(inspect.signature(ours).parameters) == [*inspect.signature(theirs).parameters, "continuation"]


#: What newer versions of the SDK take, and older ones do not.
NEWER = {"_enforce_credentials", "admin_api_key", "data_residency", "provider", "workload_identity"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (client_options.ClientOptions, openai.OpenAI),
        (client_options.CopyOptions, openai.OpenAI.copy),
        (client_options.AsyncClientOptions, openai.AsyncOpenAI),
        (client_options.AsyncCopyOptions, openai.AsyncOpenAI.copy),
    ],
)
def test_arguments_for_type_checkers(ours: Any, theirs: Any) -> None:
    """Type checkers know each argument of the SDK's clients and of their copies."""
    sdk = set(inspect.signature(theirs).parameters) - {"self"}

    assert sdk <= ours.__optional_keys__
    assert ours.__optional_keys__ - sdk <= NEWER


@our_clients
async def test_settings(way: Way, emulator: Emulator) -> None:
    """A client of ours continues with its settings, without a patch, and no other client does."""
    clients = [
        way.client(emulator.base_url, continuation=Continuation(provider="deepinfra", max_rounds=3)),
        way.plain_client(emulator.base_url),
    ]

    assert await rounds_of(*clients) == [3, 1]
    assert not openai_continue.is_patched()
    await close(*clients)


@our_clients
async def test_true(way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """``continuation=True``, which is the default, reads the environment when the client is made."""
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "2")
    kind = openai_continue.AsyncOpenAI if way.is_async else openai_continue.OpenAI
    clients = [
        way.client(emulator.base_url, continuation=True),
        kind(api_key="key", base_url=emulator.base_url, http_client=way.http_client()),
        way.client(emulator.base_url, continuation=False).with_options(continuation=True),
    ]
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "3")

    assert await rounds_of(*clients) == [2, 2, 2]
    await close(*clients)


@our_clients
@pytest.mark.parametrize("patched", [False, True])
async def test_false(way: Way, emulator: Emulator, patched: bool) -> None:
    """``continuation=False`` makes it the SDK's client, patched or not."""
    if patched:
        openai_continue.patch(DEEPINFRA)
    client = way.client(emulator.base_url, continuation=False)

    assert await rounds_of(client) == [1]
    await close(client)


@our_clients
async def test_client_under_patch(way: Way, emulator: Emulator) -> None:
    """Under ``patch()`` a client of ours continues once, with its own settings."""
    openai_continue.patch(Continuation(provider="deepinfra", max_rounds=2))
    client = way.client(emulator.base_url)

    whole, streamed = await ask_both(client, **ask("Under patch.", max_tokens=150))

    assert streamed == whole
    assert [request.body["max_tokens"] for request in emulator.requests] == [150, 102, 54, 6] * 2
    await close(client)


@our_clients
@pytest.mark.parametrize("bad", [None, 1, "yes", {"max_rounds": 2}])
def test_bad_argument(way: Way, bad: Any) -> None:
    """Anything else is an error that says what is accepted, also as an argument of a copy."""
    message = "continuation: got .*, accepted are True, False or a Continuation"
    with pytest.raises(SettingsError, match=message):
        way.client(NOWHERE, continuation=bad, http_client=None)
    if bad is not None:
        client = way.client(NOWHERE)
        with pytest.raises(SettingsError, match=message):
            client.with_options(continuation=bad)


@our_clients
def test_bad_environment(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is an error of the client that reads it, and of none that has settings."""
    monkeypatch.setenv("OPENAI_CONTINUE_MAX_ROUNDS", "0")

    with pytest.raises(SettingsError, match="OPENAI_CONTINUE_MAX_ROUNDS='0'"):
        way.client(NOWHERE, continuation=True, http_client=None)
    way.client(NOWHERE, continuation=DEEPINFRA)
    way.client(NOWHERE, continuation=False)


@our_clients
@pytest.mark.parametrize("copy", ["copy", "with_options"])
async def test_copies(way: Way, emulator: Emulator, copy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies keep the settings of their client, and take others, which their own copies keep."""
    # If a copy took its settings from the environment, it would continue.
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")

    def copied(client: Any, **options: Any) -> Any:
        return getattr(client, copy)(**options)

    client = way.client(emulator.base_url, continuation=Continuation(provider="deepinfra", max_rounds=2))
    clients = [client, copied(client), copied(client, timeout=5, continuation=False)]
    clients += [copied(clients[-1]), copied(clients[-1], continuation=DEEPINFRA)]
    clients += [copied(clients[-1], max_retries=0)]

    assert await rounds_of(*clients) == [2, 2, 1, 1, ROUNDS, ROUNDS]
    assert all(type(one) is type(client) for one in clients)
    assert (clients[2].timeout, clients[-1].max_retries) == (5, 0)
    await close(client)
