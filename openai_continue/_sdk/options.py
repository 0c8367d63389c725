"""
The SDK's options of a request, the JSON body that they describe, and the plan by which a call is continued.

The plan is made once, when the HTTP request is built, and travels with that request in its ``extensions``, which httpx
keeps through authentication and redirects. The response and the error find it there. So the settings, ``disabled()``
and the kill switch are read when a request starts, and never again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, cast

from openai import NotGiven, Omit

from .. import settings, switches
from .._core.codec import completion, responses
from .._core.codec.body import first_body
from .._core.codec.completion import is_completion
from .._core.codec.endpoint import Endpoint
from .._core.codec.endpoints import endpoint_of
from .._core.codec.responses import is_response
from .._core.json import Json, as_object, copied
from .._core.learned import Learned
from .._core.limit import Limit, is_limited
from .._core.outcome import REFUSED
from .._core.rounds import Rounds
from .._core.setup import Setup
from .._tables import providers
from .._tables.families import is_closed
from .._tables.providers import Provider
from .._tables.request_scoped import is_scoped_header, is_scoped_query
from ..settings import Continuation
from . import clock
from .chat_template import Template
from .errors import failure_of
from .journal import Journal
from .private_parts import model_copy
from .template_files import template_of

logger = logging.getLogger("openai_continue")

#: The key of ``extra_body`` that is ours; no server ever sees it.
KEY = "continuation"
_EXTENSION = "openai_continue"
# Says that the caller wants the raw response; a further round is answered by the bare one.
_RAW_RESPONSE = "x-stainless-raw-response"
_CHAT, _TEXT, _RESPONSE = "/chat/completions", "/completions", "/responses"
# The attribute of an HTTP client that holds what it has learnt of the servers of its models.
_LEARNED = "_openai_continue_learned"
# The attributes of a client that hold the function which gives the key of each request.
_KEY_FUNCTION, _AZURE_KEY = "_api_key_provider", "_azure_ad_token_provider"
# The fields that ask for a format, of chats and responses.
_FORMATS = frozenset(("response_format", "text"))
# The types of values that the SDK leaves out of a body.
_LEFT_OUT = frozenset((Omit, NotGiven))
# Models of which a client remembers something, at most.
_MOST_MODELS = 256


# Never changed, but not frozen: to make a frozen one takes 4 microseconds more, at each call.
@dataclass(slots=True)
class Plan:
    """How a completion is continued: the caller's request, the provider's row, and the settings."""

    #: The body of the caller's request, with our key.
    body: Json = field(repr=False)
    provider: Provider
    settings: Continuation
    #: What is known of the server of the model, for all calls of the client.
    learned: Learned
    #: The token limit, if the server has refused another one in this call.
    limit: Limit | None = None
    #: The chat template of the model, if later rounds go to ``/completions``.
    template: Template | None = field(default=None, compare=False, repr=False)
    #: What the template takes for today: the server wrote the day of the first round into the prompt.
    day: datetime | None = field(default=None, compare=False)
    #: Where the answer is kept, or None.
    journal: Journal | None = field(default=None, compare=False, repr=False)
    #: The headers of the caller's own, without the key that the SDK gets from a function; None: there is no such key.
    headers: Any = field(default=None, compare=False, repr=False)
    #: Whether the SDK checks the document of the answer.
    is_parsed: bool = field(default=False, compare=False)
    #: When the call began, by ``clock.now()``.
    started: float = field(default_factory=clock.now, compare=False)

    def rounds(self, kept: Json | None = None) -> Rounds:
        """Return the rounds of this call; ``kept``: the state of an answer that another process has begun."""
        render = None if self.template is None or self.day is None else partial(self.template.render, day=self.day)
        return Rounds(self._setup()._replace(render=render, is_parsed=self.is_parsed), kept)

    def _setup(self) -> Setup:
        return Setup(self.own_body, self.endpoint, self.provider, self.settings, self.learned, self.limit)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the call."""
        return endpoint_of(self.body)

    @property
    def own_body(self) -> Json:
        """The body of the caller's request, without our key."""
        return _without_ours(self.body)

    def first_body(self) -> Json:
        """Return the body of the first round, as ``Rounds.next_request()`` does."""
        return first_body(self._setup())

    @property
    def folds(self) -> bool:
        """Whether a whole answer is made of streamed rounds."""
        return self.settings.stream_rounds and not self.body.get("stream")

    @property
    def unfolded(self) -> Continuation:
        """The settings for a server that does not stream."""
        return replace(self.settings, stream_rounds=False)

    def forget_most(self) -> None:
        """Forget the most tokens that the server was taken to give: it has refused a request for them."""
        self.learned.take_most(None, streamed=bool(self.body.get("stream")))

    @property
    def is_limited(self) -> bool:
        """Whether the first round may differ from the caller's request."""
        by_settings = self.folds or self.settings.template is not None
        taken = self.learned.most(streamed=bool(self.body.get("stream")))
        return by_settings or is_limited(self.body, self.settings, taken)


def plan_of(client: Any, options: Any, body: Json, base: Continuation | None) -> Plan | None:
    """
    Return the plan of a call whose client has the settings ``base``, or None if it must be left to the SDK.

    Raise SettingsError if the caller's ``extra_body["continuation"]`` is bad.
    """
    wish = body.get(KEY)
    if isinstance(wish, Plan):
        # A try of a first round that is planned already.
        return wish
    if base is None or switches.is_disabled() or switches.killed():
        return None
    wanted = settings.for_one_call(base, wish)
    # The SDK's getter imports a module at each call.
    base_url = client._base_url
    provider = None if wanted is None else _provider_of(options, wanted, base_url)
    if wanted is None or provider is None or not provider.continues:
        return None
    model = str(body.get("model"))
    if is_closed(model, resold=provider.resells):
        _log_closed(model)
        return None
    kind = _RESPONSE if is_response(body) else _TEXT if is_completion(body) else _CHAT
    if _path_of(options).endswith(_RESPONSE) != (kind == _RESPONSE) or not _continues(kind, body, model, provider):
        return None
    has_template = wanted.template is not None and provider.continues_completions and kind != _TEXT
    template = template_of(wanted.template, model) if has_template and wanted.template else None
    day = None if template is None else datetime.now()
    learned = _learned(client, (str(base_url), model, kind), routes=provider.routes)
    is_parsed = not _FORMATS.isdisjoint(body) and _is_parsed(options, body)
    # The caller may change its messages while the answer is written, as chat interfaces do.
    return Plan(copied(body), provider, wanted, learned, template=template, day=day, is_parsed=is_parsed)


def _continues(kind: str, body: Json, model: str, provider: Provider) -> bool:
    """Whether a call is continued at its endpoint. The log says why one that the server could go on with is not."""
    if kind == _CHAT:
        return True
    if kind == _RESPONSE:
        if provider.response_marks is None:
            _log_no_responses(provider.name)
            return False
        why, what = responses.left_alone(body), "responses"
    elif not provider.continues_completions:
        return False
    else:
        why, what = completion.left_alone(body), "text completions"
    if why is not None:
        _log_left_alone(what, model, why)
    return why is None


def _is_parsed(options: Any, body: Json) -> bool:
    """Whether ``parse()`` or ``stream()`` was given a type: the SDK makes it a strict schema, and checks the text."""
    if is_response(body):
        # Nothing shows that of a response's stream().
        asked = as_object((as_object(body.get("text")) or {}).get("format")) or {}
        return asked.get("strict") is True and not isinstance(options.post_parser, NotGiven)
    wanted = as_object((as_object(body.get("response_format")) or {}).get("json_schema")) or {}
    if wanted.get("strict") is not True:
        return False
    headers = cast("Mapping[str, Any] | NotGiven", options.headers)
    given: Mapping[str, Any] = {} if isinstance(headers, NotGiven) else headers
    helpers = [str(value) for name, value in given.items() if name.lower() == "x-stainless-helper-method"]
    return any(helper.endswith((".parse", ".stream")) for helper in helpers)


def may_have_template(options: Any, base: Continuation | None) -> bool:
    """Whether the plan of a call may have a chat template, whose file is read, or which the Hub is asked for."""
    if base is None:
        return False
    wishes = ((given or {}).get(KEY) for given in (options.extra_json, as_object(options.json_data)))
    return base.template is not None or any(isinstance(wish, (Mapping, Continuation)) for wish in wishes)


def early_plan(client: Any, options: Any, base: Continuation | None) -> Plan | None:
    """
    Return the plan of a call if it must be known before the request is built, else None.

    That is a call with a journal, a budget in time, streamed rounds, or a key of its own each round. Its plan holds for
    all tries of the first round.
    """
    if base is None:
        return None
    is_keyed = getattr(client, _KEY_FUNCTION, None) is not None or getattr(client, _AZURE_KEY, None) is not None
    has_one = is_keyed or _is_early(base)
    if not has_one and KEY not in _mapping(options.extra_json) and KEY not in _mapping(options.json_data):
        # Asked at every request.
        return None
    body = body_of(options)
    wish = None if body is None else body.get(KEY)
    if body is None or isinstance(wish, Plan) or not (has_one or isinstance(wish, (Mapping, Continuation))):
        return None
    plan = plan_of(client, options, body, base)
    if plan is None or not (is_keyed or _is_early(plan.settings)):
        return None
    return replace(plan, headers=options.headers) if is_keyed else plan


def _is_early(wanted: Continuation) -> bool:
    return wanted.stream_rounds or wanted.journal is not None or wanted.max_seconds is not None


def attach(request: Any, plan: Plan) -> None:
    """Let an HTTP request carry the plan."""
    request.extensions[_EXTENSION] = plan


def plan_on(request: Any) -> Plan | None:
    """Return the plan that an HTTP request carries, or None."""
    plan = request.extensions.get(_EXTENSION)
    return plan if isinstance(plan, Plan) else None


def take_plan(request: Any) -> Plan | None:
    """Return the plan that an HTTP request carries, once, so that the request keeps no body alive; else None."""
    plan = request.extensions.pop(_EXTENSION, None)
    return plan if isinstance(plan, Plan) else None


def first_options(options: Any, body: Json, plan: Plan | None) -> Any:
    """Return the options to build the caller's request from: without our key, with the token limit of the round."""
    if plan is None:
        return without_key(options)
    if KEY not in body and not plan.is_limited:
        return options
    first, own = plan.first_body(), _without_ours(plan.body)
    changes = {name: value for name, value in first.items() if own.get(name) is not value}
    kept = {name: value for name, value in _without_ours(body).items() if name in first}
    return _overlaid(options, body, {**kept, **changes})


def without_key(options: Any) -> Any:
    """Return the options of any request without our key; the options themselves if they do not have it."""
    ours = {name: body for name in ("extra_json", "json_data") if KEY in (body := _mapping(getattr(options, name)))}
    if not ours:
        return options
    copy = model_copy(options)
    for name, body in ours.items():
        # An extra body of nothing else is none.
        setattr(copy, name, _without_ours(body) or (None if name == "extra_json" else {}))
    return copy


def _mapping(body: object) -> Json:
    # Asked at every request: a dict is told at once, any other Mapping only by the slow way.
    return cast(Json, body) if body and isinstance(body, (dict, Mapping)) else {}


def later_options(client: Any, options: Any, body: Json, *, is_raw: bool) -> Any:
    """
    Return the options of a further round: answered by the bare HTTP response, with retries of its own.

    ``is_raw``: whether a chat goes on at ``/completions``.
    """
    later = _overlaid(options, body_of(options) or {}, body)
    given = cast("Mapping[str, Any] | NotGiven", later.headers)
    headers = {} if isinstance(given, NotGiven) else {name: given[name] for name in given if not _is_of_first(name)}
    # An Omit takes out what the client sends with each request: with_options(default_headers=..., default_query=...).
    headers.update({name: Omit() for name in client.default_headers if _is_of_first(name)})
    later.headers = headers or NotGiven()
    later.params = {**later.params, **{name: Omit() for name in _scoped_queries(client, later)}}
    if is_raw:
        later.url = later.url.replace(_CHAT, _TEXT).replace(_RESPONSE, _TEXT)
    later.post_parser = NotGiven()
    later.idempotency_key = None
    return later


def _is_of_first(name: str) -> bool:
    return name.lower() == _RAW_RESPONSE or is_scoped_header(name)


def _scoped_queries(client: Any, options: Any) -> list[str]:
    return [name for name in {**client.default_query, **options.params} if is_scoped_query(name)]


def plan_that_fits(plan: Plan, error: Exception) -> Plan | None:
    """Return a plan that the server may take, if it refused its token limit or our additions, else None."""
    rounds = plan.rounds()
    request = rounds.next_request()
    if request is None:
        return None
    failure = failure_of(error)
    if not rounds.fail(request, failure).raises and rounds.next_request() is not None:
        return replace(plan, limit=rounds.limit)
    refuses_streams = plan.folds and failure.status in REFUSED
    return replace(plan, settings=plan.unfolded) if refuses_streams else None


def planned(options: Any, plan: Plan) -> Any:
    """Return options for a try of the first round by this plan."""
    body = body_of(options) or {}
    return _overlaid(options, body, {**body, KEY: plan})


def is_own(plan: Plan) -> bool:
    """Whether the first round is the caller's own request as it is."""
    return plan.limit is None and plan.first_body() == _without_ours(plan.body)


def body_of(options: Any) -> Json | None:
    """Return the JSON body that the options describe, or None if they are not those of a completion."""
    if not _path_of(options).endswith((_TEXT, _RESPONSE)) or options.method.lower() != "post":
        return None
    json_data = {} if options.json_data is None else as_object(options.json_data)
    if json_data is None or not (json_data or options.extra_json):
        return None
    # extra_json wins, and an Omit in it deletes: openai's _merge_mappings.
    merged: Json = {**json_data, **(options.extra_json or {})}
    # Asked at every request, where isinstance() would take longer than all the rest.
    return {name: value for name, value in merged.items() if type(value) not in _LEFT_OUT}


def _path_of(options: Any) -> str:
    return str(options.url).partition("?")[0]


def _overlaid(options: Any, before: Json, after: Json) -> Any:
    """
    Return a copy of the options whose body is ``after`` instead of ``before``; the options themselves if these agree.

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


def _without_ours(body: Json) -> Json:
    return {name: body[name] for name in body if name != KEY}


def _provider_of(options: Any, wanted: Continuation, base_url: Any) -> Provider | None:
    """Return the row of the provider table for a call, or None if the host is in none. Raise SettingsError."""
    if wanted.provider is not None:
        return providers.named(wanted.provider)
    absolute = options.url.startswith(("http://", "https://"))
    address = base_url.join(options.url) if absolute else base_url
    provider = providers.at_address(address.host, address.path)
    if provider is None:
        _log_unknown_host(address.host)
    elif not provider.continues:
        _complain_if_strict(f"{address.host} does not continue answers; they are left as they are")
    return provider


def _complain_if_strict(what: str) -> None:
    """Say what is left alone on stderr, if ``OPENAI_CONTINUE=strict``. The request works as it does without us."""
    if switches.is_strict():
        switches.complain(what)


def _learned(client: Any, key: tuple[str, str, str], *, routes: bool) -> Learned:
    """
    Return what a client, or a copy of it made by ``with_options()``, knows of the server of a model.

    ``key``: its address, the model, and the endpoint: what is known of chats does not hold for text completions.
    ``routes``: whether the next answer may be another server's, so that nothing is known but what was
    logged.
    """
    # The copies share the HTTP client.
    shared = client._client
    known: dict[tuple[str, str, str], Learned] | None = getattr(shared, _LEARNED, None)
    if known is None:
        known = {}
        setattr(shared, _LEARNED, known)
    old = known.get(key)
    if old is not None and not routes:
        return old
    if old is None and len(known) >= _MOST_MODELS:
        known.pop(next(iter(known)))
    known[key] = Learned(clock=clock.now, logged_limit=old is not None and old.logged_limit)
    return known[key]


@lru_cache(maxsize=256)
def _log_closed(model: str) -> None:
    """Say once for each closed model that its answers are left alone."""
    _say_left_alone(f"{model} continues no assistant message; its answers are left as they are")


@lru_cache(maxsize=256)
def _log_left_alone(what: str, model: str, why: str) -> None:
    """Say once for each model and reason that its answers of an endpoint are left alone."""
    _say_left_alone(f"{what} of {model} with {why} are not continued; they are left as they are")


@lru_cache(maxsize=256)
def _log_no_responses(provider: str) -> None:
    """Say once for each provider that its responses are left alone."""
    _say_left_alone(
        f"answers of {_RESPONSE} are not continued on the row {provider!r}; they are left as they are. Those of chat "
        "completions are continued there"
    )


@lru_cache(maxsize=256)
def _log_unknown_host(host: str) -> None:
    """Say once for each host that its answers are left alone."""
    _say_left_alone(
        f"{host} is in no row of the provider table; its answers are left as they are. If its server continues, name "
        f"the row in {switches.VARIABLE}_PROVIDER, such as vllm (openai-continue doctor --base-url URL --model MODEL "
        "finds it out)"
    )


def _say_left_alone(what: str) -> None:
    logger.info("%s", what)
    _complain_if_strict(what)
