"""One logical call in the SDK's terms: from its options to a request's body, and back."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import openai
from openai import _base_client  # pyright: ignore[reportPrivateUsage]
from openai._compat import model_copy
from openai._types import NotGiven, Omit

from .. import providers, settings, switches
from ..core.jsons import Json, as_object, as_string
from ..core.limit import is_limited
from ..core.request import first_body
from ..core.round import Failure, Request
from ..core.rounds import Rounds
from ..providers import Provider
from ..report import Round
from ..settings import Continuation
from . import wire

logger = logging.getLogger("openai_continue")

#: The key of ``extra_body`` that is ours; no server ever sees it.
KEY = "continuation"
_RAW_RESPONSE = "x-stainless-raw-response"
# The attribute of a client that names the models whose server begins anew instead of going on.
_RESTARTS = "_openai_continue_restarts"


class Call:
    """A chat completion that may be continued."""

    def __init__(self, client: Any, options: Any, body: Json, provider: Provider, wanted: Continuation) -> None:
        self.client = client
        self._model = str(body.get("model"))
        self.rounds = Rounds(_without_ours(body), provider, wanted, restarts=self._model in _restarting(client))
        self._options = options
        self.body = body
        self._settings = wanted
        self._told = 0

    @classmethod
    def of(cls, client: Any, options: Any, base: Continuation | None) -> Call | None:
        """Return the call of these options; None where it is the SDK's own affair."""
        body = body_of(options)
        if body is None:
            return None
        plan = _plan(client, options, body, base)
        return None if plan is None else cls(client, options, body, *plan)

    @contextmanager
    def further_round(self) -> Generator[None]:
        """Make the request of a further round inside."""
        with switches.disabled():
            yield

    def options_of(self, request: Request) -> Any:
        """Return the SDK's options for a further round: answered by the bare HTTP response, with retries of its own."""
        options = overlaid(self._options, self.body, request.body)
        headers = cast("Mapping[str, Any] | NotGiven", options.headers)
        if not isinstance(headers, NotGiven):
            options.headers = {name: headers[name] for name in headers if name.lower() != _RAW_RESPONSE}
        options.post_parser = NotGiven()
        options.idempotency_key = None
        return options

    def error_of(self, frame: Json, response: Any) -> Exception:
        """Return the SDK's error for what came in place of a chunk: the one that its HTTP status would have been."""
        said = as_string(frame.get("error_message")) or ""
        inner = as_object(wire.load(said.encode("utf-8", "replace"))) or {}
        known = {"error": frame["error"]} if frame.get("error") else {"error": {"message": said, **frame}}
        body = inner or known
        code = (as_object(body.get("error")) or {}).get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 400
        if not said and not frame.get("error"):
            return openai.APIResponseValidationError(response=response, body=None, message="This is no chunk.")
        return cast(Exception, self.client._make_status_error_from_response(wire.refused(response, status, body)))

    def with_partial(self, error: Exception, response: Any) -> Exception:
        """Hang what has arrived on an error that is to be raised, as ``partial_completion``."""
        if self.rounds.continued:
            from openai.types.chat import ChatCompletion

            data = self.rounds.completion()
            partial = self.client._process_response_data(data=data, cast_to=ChatCompletion, response=response)
            error.partial_completion = partial  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        return error

    @property
    def without_numbers(self) -> Continuation:
        """The settings of this call for a request whose number of tokens is decided."""
        return replace(self._settings, max_tokens=None, round_tokens=None)

    @property
    def response_type(self) -> Any:
        """What the SDK is told to make of a further round's response: nothing."""
        base: Any = _base_client
        # openai 3.0 replaced httpx by httpx2; it knows its own module's class whatever the client's module is.
        return (getattr(base, "httpx", None) or base.httpx2).Response

    def tell(self) -> None:
        """Log the rounds that are new and give them to ``on_round``; nothing while the call is not continued."""
        if not self.rounds.continued:
            return
        if self.rounds.restarts:
            _restarting(self.client).add(self._model)
        fresh, self._told = self.rounds.history[self._told :], len(self.rounds.history)
        for number, round_ in enumerate(fresh, self._told - len(fresh) + 1):
            self._tell_one(number, round_)

    def tell_end(self) -> None:
        """Log the end of a continued call."""
        self.tell()
        if self.rounds.continued:
            logger.info("continued: %d rounds, stopped by %s", len(self.rounds.history), self.rounds.stopped_by)

    def _tell_one(self, number: int, round_: Round) -> None:
        tokens = (round_.usage or {}).get("completion_tokens")
        logger.debug("round %d: finish_reason %s, completion tokens %s", number, round_.finish_reason, tokens)
        if self._settings.on_round is None:
            return
        try:
            self._settings.on_round(round_)
        except Exception as error:
            # A watcher's fault must not cost the text that has been paid for.
            logger.warning("on_round raised %s", type(error).__name__)


def options_to_build(client: Any, options: Any, base: Continuation | None) -> Any:
    """Return the options to build the caller's request from: without our key, with the round's token limit."""
    body = body_of(options)
    if body is None:
        return options
    plan = _plan(client, options, body, base)
    if KEY not in body and (plan is None or not is_limited(body, plan[1])):
        return options
    asked = _without_ours(body)
    return overlaid(options, body, asked if plan is None else first_body(asked, *plan))


def fitting_options(client: Any, options: Any, base: Continuation | None, error: Exception) -> Any:
    """
    Return the options to ask with again, where the caller's own request failed for a number of tokens that was ours.

    None: the error is the caller's.
    """
    call = Call.of(client, options, base)
    request = None if call is None else call.rounds.next_request()
    if call is None or request is None or call.rounds.fail(request, failure_of(error)).raises:
        return None
    again = call.rounds.next_request()
    return None if again is None else overlaid(options, call.body, {**again.body, KEY: call.without_numbers})


def _plan(client: Any, options: Any, body: Json, base: Continuation | None) -> tuple[Provider, Continuation] | None:
    """Return by what a call is continued; None where it is the SDK's own affair."""
    if base is None or switches.is_disabled() or settings.killed():
        return None
    wanted = settings.for_one_call(base, body.get(KEY))
    provider = None if wanted is None else _provider_of(client, options, wanted)
    return None if wanted is None or provider is None or not provider.continues else (provider, wanted)


def _without_ours(body: Json) -> Json:
    return {name: body[name] for name in body if name != KEY}


def body_of(options: Any) -> Json | None:
    """Return the JSON body that these options stand for; None where they are not a chat completion's."""
    path = str(options.url).partition("?")[0]
    if not path.endswith("/chat/completions") or options.method.lower() != "post":
        return None
    json_data = {} if options.json_data is None else as_object(options.json_data)
    if json_data is None or not (json_data or options.extra_json):
        return None
    # extra_json wins, and an Omit in it deletes: openai's _merge_mappings.
    merged: Json = {**json_data, **(options.extra_json or {})}
    return {name: value for name, value in merged.items() if not isinstance(value, (Omit, NotGiven))}


def overlaid(options: Any, before: Json, after: Json) -> Any:
    """
    Return a copy of the options whose body is ``after``; the options themselves where nothing changes.

    The changes go into extra_json, which wins over json_data: Azure reads its deployment from json_data.
    """
    changes: Json = {name: value for name, value in after.items() if name not in before or before[name] is not value}
    changes.update({name: Omit() for name in before if name not in after})
    if not changes:
        return options
    copy = model_copy(options)
    copy.extra_json = {**(options.extra_json or {}), **changes}
    if copy.json_data is None:
        # Without json_data the SDK sends extra_json as it is, Omits and all.
        copy.json_data = {}
    return copy


def _restarting(client: Any) -> set[str]:
    """Return the models of a client whose server is known to begin anew."""
    known: set[str] | None = getattr(client, _RESTARTS, None)
    if known is None:
        known = set()
        setattr(client, _RESTARTS, known)
    return known


def failure_of(error: Exception | None, request_id: str | None = None, *, broke_off: bool = False) -> Failure:
    """Say as plain data what went wrong; None: a stream just ended."""
    if isinstance(error, openai.APIStatusError):
        return Failure(type(error).__name__, error.status_code, error.request_id, f"{error.message} {error.body}")
    kind = openai.APIConnectionError if error is None else type(error)
    return Failure(kind.__name__, request_id=request_id, broke_off=broke_off)


def is_failure(chunk: Json | None, *, first: bool) -> bool:
    """
    Tell whether this came in place of a chunk and is an error of ours to raise; None: it is no JSON object.

    In the first round that is DeepInfra's error in a stream with status 200 alone, which the SDK would give to the
    caller as a chunk without choices; it raises ``{"error": …}`` by itself.
    """
    if chunk is None or chunk.get("error"):
        return not first
    return "error_message" in chunk and not chunk.get("choices")


def _provider_of(client: Any, options: Any, wanted: Continuation) -> Provider | None:
    if wanted.provider is not None:
        return providers.named(wanted.provider)
    absolute = options.url.startswith(("http://", "https://"))
    address = client._prepare_url(options.url) if absolute else client.base_url
    provider = providers.at_address(address.host, address.path)
    if provider is None:
        _log_unknown_host(address.host)
    return provider


@lru_cache(maxsize=256)
def _log_unknown_host(host: str) -> None:
    """Say once for each host that it is left alone."""
    logger.info("%s is in no row of the provider table; its answers are left as they are", host)
