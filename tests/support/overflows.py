"""What servers with a context of 1000 tokens say of a request that does not fit."""

ROOM_LEFT = (
    "This model's maximum context length is 1000 tokens. However, you requested 1200 tokens (700 in the messages, 500 "
    "in the completion). Please reduce the length of the messages or completion."
)
AT_LEAST = (
    "This model's maximum context length is 1000 tokens. However, you requested 500 output tokens and your prompt "
    "contains at least 501 input tokens, for a total of at least 1001 tokens."
)
WITHOUT_NUMBERS = "Please reduce the length of the messages or completion."
TOO_LONG = "request (1200 tokens) exceeds the available context size (1000 tokens), try increasing it"
TOO_LONG_AT_LEAST = (
    "This model's maximum context length is 1000 tokens. However, your prompt contains at least 1001 input tokens, "
    "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
)
NONE_LEFT = "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"
LESS_THAN_NONE = "max_tokens must be at least 1, got -57. (parameter=max_tokens, value=-57)"
