"""
A line of a batch file: its rounds, made again from the answers that came so far.

The core has no I/O and no clock, so the same answers always lead to the same next request. No HTTP here: what failed is
made into the SDK's own error, so that it ends a line as it ends a call.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import openai

from .. import settings
from .._core.codec import completion
from .._core.codec.completion import is_completion
from .._core.json import Json, as_object, as_string, dump, load
from .._core.learned import Learned
from .._core.round import Failure, Request
from .._core.rounds import Rounds
from .._tables import providers
from .._tables.families import is_closed
from .._tables.providers import Provider
from ..settings import Continuation
from .errors import failure_of
from .options import KEY, Plan
from .private_parts import http


class Replay:
    """
    A line of a batch's input, and the answers to its requests, one after the other.

    ``line``: the line as it came. ``base``: the settings, which name a row. Raises SettingsError if the body has a bad
    value of our key.
    """

    def __init__(self, line: str, base: Continuation) -> None:
        self._line = line
        self._input = _object(line)
        body: Json = self._input["body"]
        wanted = settings.for_one_call(base, body.get(KEY))
        provider = providers.named(str((wanted or base).provider))
        #: Why the library leaves the line alone, in words, or None.
        self.left_alone = "continuation: false" if wanted is None else _why_left_alone(self._input, provider)
        # The first request has gone as it is. A batch has no streams, and nobody to raise an error to.
        known = replace(wanted or base, round_tokens=None, stream_rounds=False, on_error="partial")
        plan = Plan(body, provider, known, Learned())
        self._rounds: Rounds | None = None if self.left_alone is not None else plan.rounds()
        self._request = Request(1, None, body) if self._rounds is None else self._rounds.next_request()
        # The answer to the first request, as it came; None: none came.
        self._first: str | None = None
        self._answer: Json = {}
        #: How often the running request failed in a way that may pass, and the last failure.
        self.tries = 0
        self._failure = Failure(openai.APIConnectionError.__name__)
        #: The type of the error of the first request, or None.
        self.error: str | None = None

    @property
    def request(self) -> Json | None:
        """The line of the request to send now, or None if the answer has ended."""
        if self._request is None:
            return None
        return self._input if self._request.number == 1 else {**self._input, "body": self._request.body}

    def written_request(self) -> bytes:
        """Return the line of that request. The first one is the caller's own, as it came."""
        is_own = self._request is not None and self._request.number == 1
        return self._line.encode() if is_own else dump(self.request)

    def take(self, line: str | None) -> None:
        """Take the answer to the request, a line of a batch's output as it came; None: there is none."""
        assert self._request is not None  # noqa: S101 - the caller has asked for it
        request, answer = self._request, {} if line is None else _object(line)
        response = as_object(answer.get("response")) or {}
        request_id = as_string(response.get("request_id"))
        if request.number == 1 and line is not None:
            self._first, self._answer = line, answer
        if _is_success(answer):
            taken = self._rounds is None or not self._rounds.receive(request, response.get("body"), request_id).raises
            self.error = None if taken else "APIResponseValidationError"
        else:
            self._failure, may_pass = _failure(response, answer.get("error"), request_id)
            if may_pass and self.tries < openai.DEFAULT_MAX_RETRIES:
                self.tries += 1
                return
            self._fail(request)
        self._go_on()

    def give_up(self) -> None:
        """End the answer with what has arrived, as a call does whose next request fails."""
        if self._request is not None:
            self._fail(self._request)
            self._go_on()

    def _fail(self, request: Request) -> None:
        if request.number == 1:
            # The error of a first request is the caller's.
            self.error, self._rounds = self._failure.type, None
        elif self._rounds is not None:
            self._rounds.fail(request, self._failure)

    def _go_on(self) -> None:
        """Take the next request, if there is one."""
        self.tries, self._failure = 0, Failure(openai.APIConnectionError.__name__)
        rounds = self._rounds
        if rounds is not None and rounds.goes_on and (spent := rounds.over_budget(0.0)) is not None:
            rounds.stop(spent)
        self._request = None if rounds is None else rounds.next_request()

    @property
    def stopped_by(self) -> str | None:
        """Why the answer ends in "length", or None if it does not."""
        choices = cast("list[object]", self._body.get("choices") or [])
        if not any((as_object(choice) or {}).get("finish_reason") == "length" for choice in choices):
            return None
        if self._rounds is None:
            return "length"
        return "max_tokens" if self._rounds.own_limit is not None else self._rounds.stopped_by

    @property
    def is_answered(self) -> bool:
        """Whether any answer came, if only an error."""
        return self._first is not None

    def answer(self) -> bytes | None:
        """Return the line of the whole answer, or None if no answer came. One that was not continued is as it came."""
        if self._first is None or not self._is_continued:
            return None if self._first is None else self._first.encode()
        return dump({**self._answer, "response": {**self._answer["response"], "body": self._body}})

    @property
    def _is_continued(self) -> bool:
        return self._rounds is not None and self._rounds.continued

    @property
    def _body(self) -> Json:
        """The body of the whole answer as it is now."""
        if self._rounds is not None and self._rounds.continued:
            return self._rounds.completion()
        return as_object((as_object(self._answer.get("response")) or {}).get("body")) or {}


def has_succeeded(line: str) -> bool:
    """Whether a line of a batch's output, as it came, has an answer and no error."""
    return _is_success(_object(line))


def _is_success(answer: Json) -> bool:
    return (as_object(answer.get("response")) or {}).get("status_code") == 200 and not answer.get("error")


def _object(line: str) -> Json:
    return cast(Json, load(line.encode()))


def _why_left_alone(line: Json, provider: Provider) -> str | None:
    """Return why a line of a batch's input is left alone, in words, or None if it is not."""
    body, url = cast(Json, line["body"]), str(line["url"])
    if str(line.get("method", "POST")).upper() != "POST" or not url.endswith(("/chat/completions", "/completions")):
        return f"{line.get('method', 'POST')} {url}"
    if url.endswith("/chat/completions") == is_completion(body):
        return f"{url} with the body of another endpoint"
    if body.get("stream"):
        return "stream: true"
    if is_closed(str(body.get("model")), resold=provider.resells):
        return f"{body.get('model')}, which continues no assistant message"
    if not provider.continues or (is_completion(body) and not provider.continues_completions):
        return f"{url} on the row {provider.name!r}"
    reason = completion.left_alone(body) if is_completion(body) else None
    return None if reason is None else f"text completions with {reason}"


@lru_cache(maxsize=1)
def _client() -> Any:
    """Return a client that sends nothing: it makes the SDK's errors."""
    # A proxy of the environment may need a package that is not there.
    return openai.OpenAI(api_key="none", base_url="http://127.0.0.1", http_client=http.Client(trust_env=False))


def _failure(response: Json, error: object, request_id: str | None) -> tuple[Failure, bool]:
    """
    Return why a request brought no answer, and whether that may pass.

    vLLM puts what a server says into ``error``, others into the body of the response. An ``error`` without a response
    is the batch's own: it has expired, or was cancelled.
    """
    status = response.get("status_code")
    if not isinstance(status, int):
        return Failure(openai.APIConnectionError.__name__, request_id=request_id), True
    is_header = request_id is not None and request_id.isascii() and request_id.isprintable()
    headers = {"x-request-id": request_id} if is_header else {}
    # The SDK makes errors of bad statuses only.
    made = http.Response(
        max(status, 400),
        headers={"content-type": "application/json", **headers},
        content=dump(response.get("body") or error),
        request=http.Request("POST", "http://127.0.0.1"),
    )
    return failure_of(_client()._make_status_error_from_response(made)), bool(_client()._should_retry(made))
