"""Reading "too long" out of any server's error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_continue._tables import overflow
from openai_continue._tables.overflow import Overflow, TooMany
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
   8192 |     8192 | The engine prompt length 8192 exceeds the max_model_len 8192. Please reduce prompt.
   8192 |        - | max_tokens=9000 cannot be greater than max_model_len=8192. Please request fewer output tokens.
   4096 |     5000 | Input length (5000) exceeds model's maximum context length (4096).
   4096 |     5000 | This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.
   4096 |        - | This model's maximum context length is 4096 tokens. However, your prompt contains 90000 characters (more than 65536 characters, which is the upper bound for 4096 input tokens). Please reduce the length of the input prompt.
   4096 |        - | You passed 90000 input characters and requested 100 output tokens. However, the model's context length is only 4096 tokens, resulting in a maximum input length of 3996 tokens (at most 63936 characters). Please reduce the length of the input prompt.
   8192 |   >=4000 | This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (4000 in the messages, 1000 in the functions, and 4000 in the completion). Please reduce the length of the messages, functions, or completion.
  65536 |    68957 | length of prompt_tokens (68957) must be less than max_seq_len (65536).
  32768 |        - | max_total_tokens (33589) must be less than or equal to max_seq_len (32768)
      - |        - | Request prompt exceeds the KV memory budget: input_len=70000.
      - |        - | invalid params, context window exceeds limit (2013)
      - |        - | Please reduce the length of the messages or completion.
      - |        - | max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)
 200000 |   199759 | input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000, decrease input length or `max_tokens` and try again
   4096 |     4100 | Requested tokens (4100) exceed context window of 4096
   4096 |     4100 | The sum of prompt length (4100.0), query length (0) max_tokens (16) should not exceed max_seq_len (4096)
"""
#: Bodies of vLLM and llama-server with a context of 4096, as they were sent.
BODIES = r"""
   4096 |   >=4097 | {"error":{"message":"This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=4097)","type":"BadRequestError","param":"input_tokens","code":400}}
      - |        - | {"error":{"message":"max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)","type":"BadRequestError","param":"max_tokens","code":400}}
   4096 |        - | {"error":{"message":"max_tokens=5096 cannot be greater than max_model_len=4096. Please request fewer output tokens. (parameter=max_tokens, value=5096)","type":"BadRequestError","param":"max_tokens","code":400}}
   8192 |        - | {"error":{"message":"max_output_tokens=100000 cannot be greater than max_model_len=8192. Please request fewer output tokens. (parameter=max_output_tokens, value=100000)","type":"BadRequestError","param":"max_output_tokens","code":400}}
   4096 |    16395 | {"error":{"code":400,"message":"request (16395 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":16395,"n_ctx":4096}}
"""
#: What servers say of a number of output tokens that they do not take: the most that they take ("-": it names none), the
#: number that was asked for, and their words. From issues, source and tests of public repositories.
TOO_MANY = """
 16384 |   20480 | max_tokens is too large: 20480. This model supports at most 16384 completion tokens, whereas you provided 20480.
 32768 |   64000 | Invalid 'max_tokens': integer above maximum value. Expected a value <= 32768, but got 64000 instead.
131072 | 1048576 | {'message': 'Param Incorrect', 'type': 'upstream_error', 'param': 'max_tokens is too large: 1048576. This model supports at most 131072 completion tokens, whereas you provided 1048576.', 'code': '400'}
 16384 |   20000 | litellm.BadRequestError: AzureException BadRequestError - max_tokens is too large: 20000. This model supports at most 16384 completion tokens, whereas you provided 20000.
262144 |  999999 | max_completion_tokens is too large: 999999.This model supports at most 262144 completion tokens.
  8192 |   50000 | Invalid max_tokens value, the valid range of max_tokens is [1, 8192]
393216 |  400000 | litellm.BadRequestError: DeepseekException - {"error":{"message":"Invalid max_tokens value, the valid range of max_tokens is [1, 393216]","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}. Received Model Group=deepseek
  8192 |   50000 | <400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]
  8192 |   50000 | `max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model
 40960 |   64000 | max_completion_tokens must be less than or equal to 40960, the maximum value for max_completion_tokens is less than the context_window for this model
  8000 |   50000 | max_tokens for `llama-3.1-8b-instant` must be less than or equal to 8000
 64000 |  128000 | max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5-20251001
  4096 |   50000 | Requests with max_tokens > 4096 must have stream=true
 65536 |  131072 | Unable to submit request because it has a maxOutputTokens value of 131072 but the supported range is from 1 (inclusive) to 65537 (exclusive). Update the value and try again.
 10000 |   50000 | An error occurred (ValidationException) when calling the ConverseStream operation: The maximum tokens you requested exceeds the model limit of 10000. Try again with a maximum tokens value that is lower than 10000.
 32768 |   64000 | The maximum tokens you requested exceeds the model limit of 32768
  4096 |  393216 | too many tokens: max tokens must be less than or equal to 4096, the maximum output length for this model - received 393216.
  4096 |    8192 | too many tokens: max tokens must be less than or equal to 4096, the maximum output for this model - received 8192.
 32768 |   64000 | The parameter max_tokens specified in the request is not valid: integer above maximum value, expected a value <= 32768, but got 64000 instead. Request id: 0217724325966514087c9e55f8b322b82cd17f72450d06e16ef7b
 98304 |  200000 | max_tokens参数非法：限制数值范围[1,98304]
131072 |  200000 | The max_tokens parameter is illegal.：限制数值范围[1,131072]
  4000 |    4096 | {'code': 400, 'reason': 'INVALID_REQUEST_BODY', 'message': 'max_tokens (current value: 4096) must be between 0 and 4000 ', 'metadata': {}}
 32768 |   95972 | {"error":{"message":"max_tokens (current value: 95972) must be between 0 and 32768","type":"invalid_request_error"}}
  4096 |    8192 | {'detail': [{'type': 'less_than_equal', 'loc': ['body', 'max_tokens'], 'msg': 'Input should be less than or equal to 4096', 'input': 8192, 'ctx': {'le': 4096}}]}
  4096 |    8192 | {'object': 'error', 'message': {'detail': [{'type': 'less_than_equal', 'loc': ['body', 'max_completion_tokens'], 'msg': 'Input should be less than or equal to 4096', 'input': 8192}]}, 'type': 'invalid_request_error'}
  8191 |   50000 | {'detail': [{'type': 'less_than', 'loc': ['body', 'max_tokens'], 'msg': 'Input should be less than 8192', 'input': 50000, 'ctx': {'lt': 8192}}]}
 65536 |  131072 | max_tokens (131072) exceeds model's maximum output tokens (65536) for model nemotron-3-ultra (ref: 5348158a-1407-4608)
 65536 |  384000 | Azure OpenAI API error (400): max_completion_tokens (384000) exceeds model's maximum output tokens (65536)
 16384 |   32768 | payload validation: max_completion_tokens is limited to 16384 for qwen3-235b-a22b-instruct-2507
  8192 |   32000 | {"code": 400, "body": {"status": 400, "error": "BAD REQUEST", "message": "payload validation: max_completion_tokens is limited to 8192 for qwen3-coder-30b-a3b-instruct"}}
384000 |  999999 | field MaxTokens invalid, should be in [1, 384000]
  4096 |    8192 | Input validation error: `max_new_tokens` must be <= 4096. Given: 8192
 16384 |   32000 | max_tokens must be less than or equal to the server cap of 16384
 65536 |  100000 | max_output_tokens must be at most 65,536
  4096 |    8192 | max_tokens must be between 1 and 4096
 16384 |   50000 | Input should be less than or equal to 16384 (max_tokens)
     - |   20000 | Error code: 400, with error text {"error":{"code":"1214","message":"max_tokens参数非法。请检查文档。"}}
     - |   50000 | max_output_tokens exceeds the model maximum
     - |   50000 | max_tokens is too large
"""
#: What is about something else, also if 50,000 tokens were asked for.
OTHER_PARAMETERS = """
Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.
{'detail': [{'type': 'extra_forbidden', 'loc': ['body', 'max_completion_tokens'], 'msg': 'Extra inputs are not permitted', 'input': 32000}]}
{'object': 'error', 'message': {'detail': [{'type': 'extra_forbidden', 'loc': ['body', 'stream_options', 'include_usage'], 'msg': 'Extra inputs are not permitted', 'input': True}]}, 'type': 'invalid_request_error'}
Unrecognized request argument supplied: max_completion_tokens
Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.
`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation.
{'detail': [{'type': 'less_than_equal', 'loc': ['body', 'temperature'], 'msg': 'Input should be less than or equal to 2', 'input': 3.0, 'ctx': {'le': 2.0}}]}
{'detail': [{'type': 'less_than_equal', 'loc': ['body', 'top_logprobs'], 'msg': 'Input should be less than or equal to 20', 'input': 30}], 'body': {'max_tokens': 50000}}
top_logprobs must be less than or equal to 20
thinking_budget must be less than or equal to 8192
Too many tokens, please wait before trying again
Quota exceeded for metric: output tokens, limit: 4096
This request requires more credits, or fewer max_tokens. You requested up to 50000 tokens, but can only afford 1234.
"""
#: What servers say where they have counted the room that the prompt leaves, and it is none. From issues and source.
NO_ROOM = r"""
max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)
{'object': 'error', 'message': 'max_tokens must be at least 1, got -3197.', 'type': 'BadRequestError', 'param': None, 'code': 400}
{'error': {'message': 'max_tokens must be at least 1, got -7584. (parameter=max_tokens, value=-7584)', 'type': 'BadRequestError', 'param': 'max_tokens', 'code': 400}}
litellm.BadRequestError: Hosted_vllmException - {"object":"error","message":"max_tokens must be at least 1, got -160.","type":"BadRequestError","param":null,"code":400}. Received Model Group=local
max_completion_tokens must be at least 1, got -12.
max_new_tokens must be at least 0, got -12.
max_new_tokens must be at least 1
Input validation error: `max_new_tokens` must be strictly positive
max_tokens must be positive
max_tokens must be greater than 0
max_tokens must be > 0
The max_tokens -12 must be a positive integer.
max_tokens cannot be negative, got -3
`default_max_tokens` (-4) should be greater than 0, `default_max_tokens` (-4) = max_seq_len (4096) - `splited_prompt_len` (4100) - `query_token_len` (0)
-2473 is less than the minimum of 1 - 'max_tokens'
Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got -57 instead.
{"object":"error","message":"{\"detail\":[{\"type\":\"greater_than_equal\",\"loc\":[\"body\",\"max_tokens\"],\"msg\":\"Input should be greater than or equal to 0\",\"input\":-223,\"ctx\":{\"ge\":0}}]}","type":"internal_error_proxy"}
{'detail': [{'type': 'greater_than', 'loc': ['body', 'max_tokens'], 'msg': 'Input should be greater than 0', 'input': -57, 'ctx': {'gt': 0}}]}
1 validation error for ChatCompletionRequest\nmax_tokens\n  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=-57, input_type=int]
max_tokens: must be greater than or equal to 1
"""
#: What is about something else, and looks like it.
OTHERS = """
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
n must be at least 1, got 0.
min_tokens must be greater than or equal to 0, got -1.
top_k must be -1 (disable), or at least 1, got 0.
Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 5 instead.
max_tokens must be at least 1024
max_tokens must be greater than 1.5 times min_tokens
{'detail': [{'type': 'greater_than_equal', 'loc': ['body', 'n'], 'msg': 'Input should be greater than or equal to 1', 'input': 0}], 'body': {'max_tokens': 50}}
{'body': {'max_tokens': 50}, 'detail': [{'type': 'greater_than_equal', 'loc': ['body', 'n'], 'msg': 'Input should be greater than or equal to 1', 'input': 0}]}
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


@pytest.mark.parametrize("asked", [None, 50_000])
@pytest.mark.parametrize("text", NO_ROOM.strip().splitlines())
def test_read_of_no_room(text: str, asked: int | None) -> None:
    """A server that refuses its own number as too small has a full context."""
    assert overflow.read(text.replace("\\n", "\n"), asked) == Overflow(full=True)


def rows_of_limits() -> list[Any]:
    """Return text, the number that was asked for, and what is read of it."""
    rows: list[Any] = []
    for line in TOO_MANY.strip().splitlines():
        most, asked, text = (cell.strip() for cell in line.split("|", 2))
        rows.append(pytest.param(text, int(asked), TooMany(None if most == "-" else int(most)), id=text[:40]))
    return rows


@pytest.mark.parametrize(("text", "asked", "expected"), rows_of_limits())
def test_read_of_too_many_tokens(text: str, asked: int, expected: TooMany) -> None:
    """The most output tokens that a server takes are read, but only if the request asked for more."""
    assert overflow.read(text, asked) == expected
    assert overflow.read(f"Error code: 400 - {{'error': {text!r}}}", asked) == expected
    assert overflow.read(text) is None
    if expected.most is not None:
        assert overflow.read(text, expected.most) in (None, TooMany())


@pytest.mark.parametrize("asked", [None, 50_000])
@pytest.mark.parametrize("text", ["", *OTHERS.strip().splitlines(), *OTHER_PARAMETERS.strip().splitlines()])
def test_read_of_another_error(text: str, asked: int | None) -> None:
    """Nothing else is taken for an overflow, nor for a limit of output tokens."""
    assert overflow.read(text, asked) is None


def test_read_is_quick() -> None:
    """A long text that is almost a message costs no more than its length."""
    text = "maximum context length is 4096 tokens " * 20_000 + "(1" * 20_000

    assert Overflow(4096) == overflow.read(text)
