"""
Names under which a caller names one HTTP request, not the answer: data with sources, no logic but the look-up.

A server refuses the second request of a name that it has seen, or that it still runs, so a further round goes out
without them. What spans several requests stays in all of them: traces (``traceparent``, ``x-correlation-id``,
``x-trace-id``), sessions and conversations (``x-session-id``, ``x-session-affinity``, ``x-grok-conv-id``), caches
(``prompt_cache_key``, ``cache_salt``).
"""

from __future__ import annotations

#: How the names of such headers and queries end, in lower case with hyphens. Idempotency keys: the SDK's, Stripe's
#: draft. ``X-Request-Id``: vLLM ("already running"), Ray Serve, LiteLLM, Envoy. ``X-Client-Request-Id``: OpenAI,
#: AIMLAPI. ``x-ms-client-request-id``: Azure. ``x-dynamo-request-id``: NVIDIA Dynamo. ``Helicone-Request-Id``:
#: Helicone. ``x-litellm-call-id``: LiteLLM.
_HEADER_ENDS = ("idempotency-key", "request-id", "requestid", "litellm-call-id")
#: Fields of a body. ``request_id``: vLLM ("already running"), LMDeploy, Zhipu. ``rid``: SGLang ("Duplicate request
#: ID"). ``litellm_call_id``: LiteLLM.
_FIELDS = frozenset(
    (
        "request_id",
        "requestId",
        "client_request_id",
        "external_request_id",
        "rid",
        "idempotency_key",
        "idempotencyKey",
        "litellm_call_id",
    )
)


def is_scoped_field(name: str) -> bool:
    """Return whether a field of a body is of one request."""
    return name in _FIELDS


def is_scoped_header(name: str) -> bool:
    """Return whether a header is of one request."""
    return name.lower().replace("_", "-").endswith(_HEADER_ENDS)


def is_scoped_query(name: str) -> bool:
    """Return whether a parameter of the query is of one request."""
    return name in _FIELDS or is_scoped_header(name)
