"""The doctor on a real engine."""

from __future__ import annotations

import openai
import pytest

from openai_continue.cli.doctor import Doctor, matching_row

pytestmark = pytest.mark.engine


def test_doctor_names_vllm(vllm: str) -> None:
    """vLLM continues where both fields are set, keeps whitespace, and tells its context by its error."""
    client = openai.OpenAI(base_url=vllm, api_key="none", max_retries=0)
    found = Doctor(client, "tinylist").examine()
    client.close()

    row = matching_row(found, "127.0.0.1", "/v1")
    assert row is not None
    assert row.name == "vllm"
    assert found.marks["continue_final_message"] == "continues"
    assert found.marks["nothing"] != "continues"
    assert found.trims is False
    assert found.usage_in_streams == "never"
    assert found.context_length is not None
