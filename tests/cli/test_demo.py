"""``openai-continue demo``."""

from __future__ import annotations

import pytest

from openai_continue._cli import main


@pytest.mark.parametrize("ways", [["--stream", "--async"], []], ids=" ".join)
@pytest.mark.thorough
def test_demo_ends_with_0_if_the_texts_are_equal(ways: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The demo shows the cut answer beside the whole one."""
    code = main(["demo", "--tokens", "17000", *ways])

    out = capsys.readouterr().out
    assert code == 0
    assert "16,384" in out
    assert [word for word in ("length", "stop") if word in out] == ["length", "stop"]


def test_live_demo_without_a_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key nothing is sent, and the message names the variable."""
    monkeypatch.delenv("DEEPINFRA_API_KEY", raising=False)

    assert main(["demo", "--live", "--model", "m"]) == 2
    assert "DEEPINFRA_API_KEY is not set" in capsys.readouterr().out
