"""OpenRound the doctor against the emulator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from openai_continue._cli import main
from openai_continue.testing import Emulator, Habits
from tests.support.ways import SYNC, http

#: Stands for the chat template of the emulator in the options of the command.
TEMPLATE = "TEMPLATE"


def told(
    capsys: pytest.CaptureFixture[str],
    habits: Mapping[str, Any],
    *options: str,
    model: str = "m",
    folder: Path | None = None,
    after: str = "",
    **emulator: Any,
) -> tuple[int, str]:
    """
    Return the exit code of the command, and what it printed, on one line.

    ``folder``: for the chat template. ``after``: what is put after it.
    """
    with Emulator(**{"tokens": 500, "context": 4096, **emulator}, habits=Habits(**habits)) as running:
        if folder is not None:
            path = folder / "template.jinja"
            path.write_text(running.chat_template + after)
            options = tuple(str(path) if option == TEMPLATE else option for option in options)
        code = main(["doctor", "--model", model, "--base-url", running.base_url, "--yes", *options])
    return code, " ".join(capsys.readouterr().out.split())


class Changed(http.BaseTransport):  # type: ignore[misc]
    """A network that changes answers: ``whole`` and ``streamed`` are what becomes of a ``finish_reason``."""

    def __init__(self, whole: Mapping[str, str], streamed: Mapping[str, str], *, missing: str = "") -> None:
        self.inner = http.HTTPTransport()
        self.whole, self.streamed = whole, streamed
        #: The end of a path that is not there.
        self.missing = missing

    def handle_request(self, request: Any) -> Any:
        """Return the changed answer."""
        if self.missing and request.url.path.endswith(self.missing) and "chat" not in request.url.path:
            return http.Response(404, json={"detail": "Not Found"})
        response = self.inner.handle_request(request)
        kind = response.headers.get("Content-Type", "")
        reasons = self.streamed if "event-stream" in kind else self.whole
        body = response.read().decode()
        for old, new in reasons.items():
            body = re.sub(rf'"finish_reason":\s*"{old}"', f'"finish_reason":"{new}"', body)
        return http.Response(response.status_code, headers={"Content-Type": kind}, content=body.encode())

    def close(self) -> None:
        """Close the network."""
        self.inner.close()


def use(transport: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients of the SDK use this transport."""
    monkeypatch.setattr(openai, "OpenAI", partial(openai.OpenAI, http_client=SYNC.http_client(transport)))
