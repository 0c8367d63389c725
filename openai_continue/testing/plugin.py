"""
The pytest plugin: cassettes of long answers on top of pytest-recording, and the emulator as a fixture.

It has no ``vcr_config`` of its own: which of two plugins' would win depends on the order of their entry points.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

# A pytest11 plugin is imported by every pytest run of its environment: nothing but pytest at module level.
if TYPE_CHECKING:
    from .emulator.server import Emulator


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(vcr: Any) -> None:
    """Tell VCR of the serializer ``chat.yaml`` and the matcher ``chat_body``."""
    from .cassettes import matching, serializer

    vcr.register_serializer("chat.yaml", serializer)
    vcr.register_matcher("chat_body", matching.chat_body)


@pytest.fixture(scope="session")
def openai_continue_vcr_config() -> dict[str, Any]:
    """What a ``vcr_config`` fixture may return: readable cassettes without secrets, matched by their bodies."""
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
    """The test's cassette; a request that is not on it, and a round of it that was not asked for, fail the test."""
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
            # No Exception: the SDK would try again, and a continued call return what it has.
            pytest.fail(message, pytrace=False)

    monkeypatch.setattr(vcr, "filter_request", refuse)
    yield vcr
    message = unplayed(vcr)
    if message is not None and not refused:
        pytest.fail(message, pytrace=False)


@pytest.fixture
def openai_continue_emulator() -> Iterator[Emulator]:
    """Run an emulator with DeepInfra's cap; its ``base_url`` goes to the client."""
    from .emulator.server import Emulator

    with Emulator() as emulator:
        yield emulator
