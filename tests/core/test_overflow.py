"""Reading "too long" out of any server's error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_continue.core import overflow
from openai_continue.core.overflow import Overflow
from tests.support.overflows import AT_LEAST, NONE_LEFT, ROOM_LEFT, TOO_LONG

#: What each server says: its context, the tokens of the prompt (">=": at least), and its words. From issues and source.
MESSAGES = """
  16000 |    13069 | This model's maximum context length is 16000 tokens. However, you requested 17165 tokens (13069 in the messages, 4096 in the completion). Please reduce the length of the messages or completion.
 163840 | >=131841 | This model's maximum context length is 163840 tokens. However, you requested 32000 output tokens and your prompt contains at least 131841 input tokens, for a total of at least 163841 tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=131841)
   4096 |   >=4097 | This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.
   4096 |  1200064 | You passed 1200064 input tokens and requested 1 output tokens. However, the model's context length is only 4096 tokens, resulting in a maximum input length of 4095 tokens
   8192 |     8000 | Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9000 tokens: 8000 tokens from the input messages and 1000 tokens for the completion.
   8192 |     9000 | The input (9000 tokens) is longer than the model's context length (8192 tokens).
  59862 |   160062 | Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens). Use a shorter input or enable --allow-auto-truncate.
   8192 |    42947 | request (42947 tokens) exceeds the available context size (8192 tokens), try increasing it
   1512 |     1000 | Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 `inputs` tokens and 1024 `max_new_tokens`
   1024 |     2000 | Input validation error: `inputs` must have less than 1024 tokens. Given: 2000
   8192 |    99009 | Requested input length 99009 exceeds maximum input length 8192
 204800 | >=254087 | This endpoint's maximum context length is 204800 tokens. However, you requested about 274290 tokens (254087 of text input, 4203 of tool input, 16000 in the output).
   4097 |     4294 | This model's maximum context length is 4097 tokens. However, your messages resulted in 4294 tokens. Please reduce the length of the messages.
 200000 |   213462 | prompt is too long: 213462 tokens > 200000 maximum
 262144 |        - | Your request exceeded model token limit: 262144 (requested: 270000)
1048575 |  1196265 | The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).
 131072 |   537812 | This model's maximum prompt length is 131072 but the request contains 537812 tokens
  32768 |    40000 | Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length
   8192 |        - | max_tokens=9000 cannot be greater than max_model_len=8192. Please request fewer output tokens.
   4096 |     5000 | Input length (5000) exceeds model's maximum context length (4096).
   4096 |     5000 | This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.
   4096 |        - | This model's maximum context length is 4096 tokens. However, your prompt contains 90000 characters (more than 65536 characters, which is the upper bound for 4096 input tokens). Please reduce the length of the input prompt.
   4096 |        - | You passed 90000 input characters and requested 100 output tokens. However, the model's context length is only 4096 tokens, resulting in a maximum input length of 3996 tokens (at most 63936 characters). Please reduce the length of the input prompt.
   8192 |   >=4000 | This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (4000 in the messages, 1000 in the functions, and 4000 in the completion). Please reduce the length of the messages, functions, or completion.
      - |        - | Request prompt exceeds the KV memory budget: input_len=70000.
      - |        - | invalid params, context window exceeds limit (2013)
      - |        - | Please reduce the length of the messages or completion.
      - |        - | max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)
"""
#: Bodies of vLLM and llama-server with a context of 4096, as they were sent.
BODIES = r"""
   4096 |   >=4097 | {"error":{"message":"This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=4097)","type":"BadRequestError","param":"input_tokens","code":400}}
      - |        - | {"error":{"message":"max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)","type":"BadRequestError","param":"max_tokens","code":400}}
   4096 |        - | {"error":{"message":"max_tokens=5096 cannot be greater than max_model_len=4096. Please request fewer output tokens. (parameter=max_tokens, value=5096)","type":"BadRequestError","param":"max_tokens","code":400}}
   4096 |    16395 | {"error":{"code":400,"message":"request (16395 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":16395,"n_ctx":4096}}
"""
#: What is about something else, and looks like it.
OTHERS = """
max_tokens is too large: 20480. This model supports at most 16384 completion tokens, whereas you provided 20480.
max_tokens must be at least 1, got -5. (parameter=max_tokens, value=-5)
Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000. Please try again in 6s.
Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.
Request too large for model `llama-3.3-70b-versatile` on tokens per minute (TPM): Limit 6000, Requested 8000, please reduce your message size and try again.
Model busy, retry later
The engine died
n must be 1 when using greedy sampling, got 2.
continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when you want the model to continue the final message, and add_generation_prompt when you want to add a header that will prompt it to start a new assistant message instead.
{'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have at most 4 items after validation, not 5'}
Cannot have 2 or more assistant messages at the end of the list.
Insufficient balance: 4096 tokens left
Request Entity Too Large
string too long. Expected a string with maximum length 1048576, but got a string with length 1540820 instead.
The maximum length of the stop list is 16
"""


def rows_of(table: str) -> list[Any]:
    """Return text, context, prompt, and whether that count is exact."""
    rows: list[Any] = []
    for line in filter(None, table.splitlines()):
        context, prompt, text = (cell.strip() for cell in line.split("|", 2))
        numbers = [None if number == "-" else int(number.removeprefix(">=")) for number in (context, prompt)]
        rows.append(pytest.param(text, *numbers, not prompt.startswith(">="), id=text[:40]))
    return rows


@pytest.mark.parametrize(("text", "context", "prompt", "exact"), rows_of(MESSAGES + BODIES))
def test_read(text: str, context: int | None, prompt: int | None, exact: bool) -> None:
    """Every server's message is read for the size of its context and of the prompt."""
    read = overflow.read(text)

    assert read is not None
    assert (context, prompt, exact) == (read.context_length, read.prompt_tokens, read.exact)


@pytest.mark.parametrize(("text", "full"), [(ROOM_LEFT, False), (AT_LEAST, False), (TOO_LONG, True), (NONE_LEFT, True)])
def test_read_whether_any_room_is_left(text: str, full: bool) -> None:
    """A prompt that is too long by itself is not taken for one that leaves room."""
    read = overflow.read(text)

    assert read is not None
    assert full == read.full


@pytest.mark.parametrize(("text", "context", "prompt", "exact"), rows_of(BODIES))
def test_read_from_the_sdk(text: str, context: int | None, prompt: int | None, exact: bool) -> None:
    """The message is found in what the SDK makes of a body, whatever it unpacks."""
    read = overflow.read(f"Error code: 400 - {json.loads(text)} {json.loads(text)['error']}")

    assert read is not None
    assert (context, prompt, exact) == (read.context_length, read.prompt_tokens, read.exact)


@pytest.mark.parametrize("text", ["", *OTHERS.strip().splitlines()])
def test_read_of_another_error(text: str) -> None:
    """Nothing else is taken for an overflow."""
    assert None is overflow.read(text)


def test_read_is_quick() -> None:
    """A long text that is almost a message costs no more than its length."""
    text = "maximum context length is 4096 tokens " * 20_000 + "(1" * 20_000

    assert Overflow(4096) == overflow.read(text)
