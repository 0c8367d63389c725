"""
The pytest plugin: cassettes of long answers, recorded and replayed by pytest-recording, and the emulator as a fixture.

It defines no ``vcr_config``, because another plugin may define one, and the order of entry points would decide between
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

# Every pytest run of the environment imports this module, so it imports only pytest at module level.
if TYPE_CHECKING:
    from . import Emulator


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(vcr: Any) -> None:
    """Register the serializer ``chat.yaml`` and the matcher ``chat_body`` with VCR."""
    from .cassettes import matching, serializer

    vcr.register_serializer("chat.yaml", serializer)
    vcr.register_matcher("chat_body", matching.chat_body)


@pytest.fixture(scope="session")
def openai_continue_vcr_config() -> dict[str, Any]:
    """
    The configuration for a ``vcr_config`` fixture to return.

    Cassettes are readable and hold no secrets, and a request matches if the JSON of its body does.
    """
    from .cassettes.scrubbing import Scrubber

    scrubber = Scrubber()
    return {
        "serializer": "chat.yaml",
        "match_on": ["method", "scheme", "host", "port", "path", "query", "chat_body"],
        "before_record_request": scrubber.request,
        "before_record_response": scrubber.response,
        "record_on_exception": False,
    }


@pytest.fixture
def openai_continue_cassette(vcr: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """
    The cassette of the test, or None if the test has no ``vcr`` mark.

    While it is replayed, the test fails if it sends a request that is not on the cassette, or if it does not send one
    that is.
    """
    if vcr is None or not vcr.write_protected:
        yield vcr
        return
    from .cassettes.replaying import refusal, unplayed

    refused = False

    def refuse(request: Any) -> None:
        nonlocal refused
        message = refusal(vcr, request)
        if message is not None:
            refused = True
            # pytest.fail raises no subclass of Exception. The SDK would retry after one, and a continued call would
            # return what it has.
            pytest.fail(message, pytrace=False)

    monkeypatch.setattr(vcr, "filter_request", refuse)
    yield vcr
    message = unplayed(vcr)
    if message is not None and not refused:
        pytest.fail(message, pytrace=False)


@pytest.fixture
def openai_continue_emulator() -> Iterator[Emulator]:
    """A running emulator that behaves like DeepInfra. Give its ``base_url`` to the client."""
    from . import Emulator

    with Emulator() as emulator:
        yield emulator
