"""
Every translation of an error.

From what came to what is raised: ``frame_error`` (an error in place of a chunk), ``transport_error``, ``broken_off``,
``invalid_response``. From what was raised to the core's plain data: ``failure_of``.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any, cast

import anyio
import openai

from .._core.chunks import choices_of, status_of, without_error
from .._core.codec.responses import fault_in
from .._core.json import Json, as_object, as_string, dump, load
from .._core.round import Failure
from .._core.rounds import Rounds
from .response import module_of


class RedirectError(openai.APIStatusError):
    """The server redirected a further round to another host. Nothing was sent there."""

    def __init__(self, host: str, response: Any) -> None:
        message = (
            f"the server redirected a further round to another host, {host}; neither the text nor a key was sent there"
        )
        super().__init__(message, response=response, body=None)


class OverlongRoundError(openai.APIConnectionError):
    """A further round brought more bytes than its tokens can have. It was not read on."""

    def __init__(self, request: Any) -> None:
        message = "a further round brought more bytes than its tokens can have; it was not read to its end"
        super().__init__(message=message, request=request)


def failure_of(error: Exception | None, request_id: str | None = None, *, broke_off: bool = False) -> Failure:
    """
    Return an error as plain data for the core. None: a stream ended without its end mark.

    ``broke_off``: whether the stream had begun, so that the round may be healed.
    """
    if isinstance(error, RedirectError):
        # What the server said is no refusal of what was asked.
        return Failure(type(error).__name__, error.status_code, error.request_id, note=error.message)
    if isinstance(error, openai.APIStatusError):
        said = f"{error.message} {error.body}"
        return Failure(type(error).__name__, error.status_code, error.request_id, said, " ".join(_messages(error.body)))
    if isinstance(error, OverlongRoundError):
        return Failure(type(error).__name__, request_id=request_id, note=error.message)
    kind = openai.APIConnectionError if error is None else type(error)
    return Failure(kind.__name__, request_id=request_id, broke_off=broke_off)


def _messages(body: object) -> Iterator[str]:
    """Give the server's own messages in the body of an error. Some servers repeat the request beside them."""
    known = as_object(body)
    if isinstance(body, str):
        yield body
    elif isinstance(body, list):
        for item in cast("list[object]", body):
            yield from _messages(item)
    elif known is not None:
        # FastAPI: where in the request it is, and what is wrong.
        place = known.get("loc")
        yield from (str(name) for name in cast("list[object]", place if isinstance(place, list) else []))
        for name in ("message", "msg", "error", "error_message", "detail"):
            yield from _messages(known.get(name))


def reading_errors(response: Any) -> tuple[type[Exception], ...]:
    """Return the errors that reading may raise: the SDK's, and the transport's, which openai < 3 does not translate."""
    return (openai.OpenAIError, module_of(response).HTTPError, ssl.SSLError, anyio.EndOfStream)


def transport_error(error: Exception, response: Any) -> Exception:
    """Return the SDK's error for one of the transport's; an error of the SDK as it is."""
    if isinstance(error, openai.OpenAIError):
        return error
    late = isinstance(error, module_of(response).TimeoutException)
    made = (openai.APITimeoutError if late else openai.APIConnectionError)(request=response.request)
    made.__cause__ = error
    return made


def got_nothing(error: openai.APIConnectionError) -> bool:
    """Whether the server closed the connection without a byte of a response, as one that it had closed before does."""
    cause = error.__cause__
    return type(cause).__name__ == "RemoteProtocolError" and "without sending a response" in str(cause)


def broken_off(response: Any) -> Exception:
    """Return the SDK's error for a stream that ended without its end mark."""
    return openai.APIConnectionError(message="The stream broke off.", request=response.request)


def invalid_response(response: Any) -> Exception:
    """Return the SDK's error for a response that is no completion."""
    return openai.APIResponseValidationError(response=response, body=None)


def is_error_frame(chunk: Json | None, *, first: bool) -> bool:
    """
    Return whether this came in place of a chunk and must be raised by us. None: it is no JSON object.

    In the first round that is only DeepInfra's ``{"error_type", "error_message"}`` in a stream with status 200, which
    the SDK would give to the caller as a chunk without choices. The SDK raises ``{"error": ...}`` by itself.
    """
    if not first and (chunk is None or chunk.get("error") or _fault_of(chunk) is not None):
        return True
    return chunk is not None and "error_message" in chunk and not chunk.get("choices")


def frame_error(client: Any, frame: Json, response: Any) -> Exception:
    """
    Return the SDK's error for an error frame, which came in a stream in place of a chunk.

    It is the error that an HTTP response with the frame's status (or 400) would have raised.
    """
    fault = frame.get("error") or _fault_of(frame)
    said = as_string(frame.get("error_message")) or ""
    inner = as_object(load(said.encode("utf-8", "replace"))) or {}
    body = inner or {"error": {"message": said, **frame} if fault is None else fault}
    status = status_of(as_object(body.get("error"))) or 400
    if not said and fault is None:
        return openai.APIResponseValidationError(response=response, body=None, message="This is no chunk.")
    return cast(Exception, client._make_status_error_from_response(_refusing(response, status, body)))


def _fault_of(chunk: Json) -> Json | None:
    """Return the error that an event of a response stands for, or that a gateway set on a choice; else None."""
    faults = (fault_in(chunk), *(without_error(item)[1] for item in choices_of(chunk) or []))
    return next((fault for fault in faults if fault is not None), None)


def with_partial(error: Exception, client: Any, rounds: Rounds, response: Any) -> Exception:
    """Set ``partial_completion`` on an error that is to be raised, if the answer was continued. Return the error."""
    if rounds.continued:
        from openai.types import Completion
        from openai.types.chat import ChatCompletion
        from openai.types.responses import Response

        data = rounds.completion()
        kinds = {"text_completion": Completion, "response": Response}
        kind = kinds.get(data.get("object", ""), ChatCompletion)
        partial = client._process_response_data(data=data, cast_to=kind, response=response)
        error.partial_completion = partial  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return error


def _refusing(response: Any, status: int, body: object) -> Any:
    """Return the response of a server that refuses by its HTTP status, with the ``x-`` headers of ``response``."""
    headers = {"content-type": "application/json"}
    made = module_of(response).Response(status, headers=headers, content=dump(body), request=response.request)
    made.headers.update({name: value for name, value in response.headers.items() if name.startswith("x-")})
    return made
