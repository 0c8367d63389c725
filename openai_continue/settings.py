"""The settings, and their variables: the only reader of the environment but for switches."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .errors import SettingsError
from .switches import OFF, ON, VARIABLE

if TYPE_CHECKING:
    from typing_extensions import Self

    from .report import Round

_PREFIX = VARIABLE + "_"
_MOST = 10**9
# How many characters of a bad value an error shows.
_SHOWN = 200
_COUNT = f"a whole number from 1 to {_MOST:,}"
# Fewer characters are repeated by rules, blanks and rows of any text.
_LEAST_REPETITION = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """
    The settings: how answers are continued.

    Each field is also an environment variable, ``OPENAI_CONTINUE_<FIELD>`` (except ``on_round``), and a key of
    ``extra_body={"continuation": {...}}`` for one call. That key is taken out of the request wherever the library is
    switched on, also under ``OPENAI_CONTINUE=0``; without the library it goes to the server. An unknown field or a bad
    value raises SettingsError. A bad variable is found when continuation is switched on: code that does so raises, and
    ``OPENAI_CONTINUE=1`` prints a line and goes on without continuation.

    ``provider``: Name of a row of the provider table. None finds the row by the host of ``base_url``; calls to a host
        that is in no row are left alone.
    ``round_tokens``: Most output tokens to ask for in one request. None: as many as are left.
    ``max_tokens``: Most output tokens of a whole answer, if the request names no limit of its own. None: no limit.
    ``request_limit``: What the token limit of a request holds for. "answer": the whole answer. "round": only the first
        request, as without the library; then the answer goes on. That is for frameworks which always send a limit.
    ``usage``: What the usage of a continued answer says. "billed": the sum over all requests. "one_call": what a server
        without a cap would say, so the prompt is counted once; the report has the sum.
    ``max_rounds``: Most requests for one choice, including the first.
    ``max_seconds``: Most seconds of a call; the answer ends with what has arrived. The first request keeps the caller's
        own timeout until something of its answer has arrived. The time that is left is the timeout of any later one,
        and no wait is begun that passes it.
    ``max_cost``: Most that a call may cost, in the currency of the server's ``estimated_cost`` or ``cost``. It is
        looked at between requests, so a call costs at most one request more. The cost of streams that broke off is
        estimated. After a request whose server names no cost, the answer is not continued.
    ``max_repetition``: How many characters of a loop end an answer: one block over and over, or prose that repeats
        itself but for its numbers and dates. Rows that are equal are a loop, too. Whole answers are looked at between
        requests; streams, and whole answers under ``stream_rounds``, as they come. None: 16,384, and the first request
        is not looked at as it comes.
    ``trims``: Whether the server's chat template trims whitespace at the end of the message sent back. None: by the
        provider's row, else by model family.
    ``on_error``: What to do if a later round fails: "partial" returns the text that arrived, "raise" raises the SDK's
        exception.
    ``heal_streams``: Whether a stream that breaks off is continued.
    ``stream_rounds``: Whether whole answers are made of streamed requests, so that no read timeout meets a long answer,
        and what has arrived is kept when the connection breaks. The caller gets the same completion. Without it, the
        SDK gives up a whole answer after 600 seconds and asks again, and each try is paid. It also helps where a server
        gives whole answers fewer tokens than streams (Fireworks).
    ``continue_tool_calls``: Whether tool calls that were cut in their arguments are continued. None: where the
        provider's row says that it is exact. A name of a row in call_syntaxes.py says how the model writes calls, if
        its own name does not.
    ``on_reasoning_cut``: What is done if an answer is cut within its thoughts. "continue": the thoughts go on, if the
        server can do that. "answer": one more request asks for the answer, without further thoughts. "stop": the answer
        ends.
    ``template``: The chat template of the model: the path of a file or of a folder, or "auto" for the model's own on
        the Hugging Face Hub. With it, later rounds of a chat go to ``/completions`` as text: the prompt, and all that
        the model has generated. It is read when continuation is switched on; what is no template is a bad value. A
        template that is not the server's own is not used. None: they go to ``/chat/completions``.
    ``journal``: A folder in which unfinished answers are kept, with their text. The same request, made again after a
        crash, goes on from there: by the same account, with the same key and headers. An answer that has ended is
        removed, and never given again. Only their owner may read the files. A folder that others can write to is not
        used, unless it has the sticky bit; files of others, damaged ones, and ones of more than 128 MB are set aside.
        ``openai-continue journal FOLDER`` lists the answers. None: no such folder.
    ``progress``: Whether a progress bar is shown, on stderr or in a notebook. True: if stderr is a terminal. "always":
        also if it is none.
    ``on_round``: Called with a Round after each round of a continued call. Its return value is ignored, and what it
        raises is only logged.
    """

    provider: str | None = None
    round_tokens: int | None = None
    max_tokens: int | None = None
    request_limit: str = "answer"
    usage: str = "billed"
    max_rounds: int = 16
    max_seconds: float | None = None
    max_cost: float | None = None
    max_repetition: int | None = None
    trims: bool | None = None
    on_error: str = "partial"
    heal_streams: bool = True
    stream_rounds: bool = False
    continue_tool_calls: bool | str | None = None
    on_reasoning_cut: str = "continue"
    template: str | os.PathLike[str] | None = None
    journal: str | os.PathLike[str] | None = None
    progress: bool | str = False
    on_round: Callable[[Round], object] | None = None

    def __new__(cls, **values: Any) -> Self:
        """Raise SettingsError for unknown fields, with a message that lists the known ones."""
        _refuse_unknown(values, "Continuation")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for names, accepted, is_good in _RULES:
            for name in names:
                if not is_good(getattr(self, name)):
                    raise _refusal(name, getattr(self, name), accepted)
        # The tables are imported only where a setting names a row: most programs start without one.
        calls = self.continue_tool_calls
        if calls is not None and not isinstance(calls, bool):
            from ._tables import call_syntaxes

            if call_syntaxes.named(calls) is None:
                rows = ", ".join(repr(row.name) for row in call_syntaxes.SYNTAXES)
                raise _refusal("continue_tool_calls", calls, f"True, False or one of {rows}, or None")
        if self.provider is not None:
            from ._tables import providers

            providers.named(self.provider)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Continuation:
        """
        Read the settings from the variables ``OPENAI_CONTINUE_<FIELD>``.

        ``environ``: ``os.environ`` by default. Raises SettingsError for an unknown variable, or for a bad value, with
        the variable, its value and the accepted forms.
        """
        found = {
            name.removeprefix(_PREFIX).lower(): (name, text)
            for name, text in (os.environ if environ is None else environ).items()
            if name.startswith(_PREFIX)
        }
        known = {name: kind for name, kind in _ENV_FORMS.items() if name in found}
        for field, (name, _) in found.items():
            if field not in _ENV_FORMS:
                # Not its value, which may be a key.
                msg = f"{name}: no such setting; accepted are " + ", ".join(
                    _PREFIX + known.upper() for known in sorted(_ENV_FORMS)
                )
                raise SettingsError(msg)
        values: dict[str, Any] = {}
        for field, read in known.items():
            name, text = found[field]
            try:
                values[field] = read(text)
                cls(**{field: values[field]})
            except SettingsError as error:
                # A variable has no form for None: it is left unset.
                accepted = str(error).rpartition("accepted ")[2].removesuffix(", or None")
                msg = f"{name}={_shown(text)}: accepted {accepted}"
                raise SettingsError(msg) from None
        return cls(**values)

    def updated(self, values: Mapping[str, Any]) -> Continuation:
        """Return a copy with these fields changed. Raises SettingsError for an unknown field or a bad value."""
        _refuse_unknown(values, "continuation")
        return replace(self, **values)


# What editors and help() show: the fields, and not the arguments of __new__.
_, *_fields = inspect.signature(Continuation.__init__).parameters.values()
setattr(Continuation, "__signature__", inspect.Signature(_fields))  # noqa: B010


def for_one_call(settings: Continuation, wish: object) -> Continuation | None:
    """
    Return the settings of a call whose body has ``"continuation": wish``, or None if it is not to be continued.

    ``wish``: True or None (no change), False, a Continuation, or a dict of its fields. Else SettingsError is raised.
    """
    if wish is None or wish is True:
        return settings
    if wish is False:
        return None
    if isinstance(wish, Continuation):
        return wish
    if isinstance(wish, Mapping):
        return settings.updated({str(name): value for name, value in wish.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    accepted = "True, False, a Continuation or a dict of its fields"
    msg = f"extra_body['continuation']: got {_shown(wish)}, accepted are {accepted}"
    raise SettingsError(msg)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _is_callback(function: object) -> bool:
    """Return whether ``function`` can be called, and a call makes more than a coroutine, which nobody would await."""
    while isinstance(function, partial):
        function = function.func
    call: object = getattr(type(function), "__call__", None)  # noqa: B004
    asyncs = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    return callable(function) and not any(is_async(each) for each in (function, call) for is_async in asyncs)


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike)) and bool(os.fspath(value))  # pyright: ignore[reportUnknownArgumentType]


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def _refusal(name: str, value: object, accepted: str) -> SettingsError:
    return SettingsError(f"{name}: got {_shown(value)}, accepted is {accepted}")


def _shown(value: object) -> str:
    """Return a value as an error shows it, at most 200 characters of it."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of more digits than Python prints"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _refuse_unknown(values: Mapping[str, Any], where: str) -> None:
    known = [field.name for field in fields(Continuation)]
    unknown = [name for name in values if name not in known]
    if unknown:
        msg = f"{where}: got unknown {', '.join(map(repr, unknown))}, accepted are {', '.join(known)}"
        raise SettingsError(msg)


#: What each field accepts, but for those that name the row of a table: the fields, the words for it, and the check.
_RULES: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("round_tokens", "max_tokens"), f"{_COUNT}, or None", lambda value: value is None or _is_count(value)),
    (("max_seconds", "max_cost"), "a number above 0, or None", lambda value: value is None or _is_amount(value)),
    (("max_rounds",), _COUNT, _is_count),
    (
        ("max_repetition",),
        f"a whole number from {_LEAST_REPETITION:,} to {_MOST:,}, or None",
        lambda value: value is None or (_is_count(value) and value >= _LEAST_REPETITION),
    ),
    (("heal_streams", "stream_rounds"), "True or False", lambda value: isinstance(value, bool)),
    (("request_limit",), "'answer' or 'round'", lambda value: value in ("answer", "round")),
    (("usage",), "'billed' or 'one_call'", lambda value: value in ("billed", "one_call")),
    (("trims",), "True or False, or None", lambda value: value is None or isinstance(value, bool)),
    (("on_reasoning_cut",), "'continue', 'answer' or 'stop'", lambda value: value in ("continue", "answer", "stop")),
    (("template",), "'auto' or the path of a file or folder, or None", lambda value: value is None or _is_path(value)),
    (("journal",), "the path of a folder, or None", lambda value: value is None or _is_path(value)),
    (("progress",), "True, False or 'always'", lambda value: isinstance(value, bool) or value == "always"),
    (("on_error",), "'partial' or 'raise'", lambda value: value in ("partial", "raise")),
    (("on_round",), "a function that is not async, or None", lambda value: value is None or _is_callback(value)),
)


# What is no number is refused by the field's own check, which knows what is accepted.


def _read_count(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _read_amount(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _read_flag(text: str) -> bool:
    word = text.strip().lower()
    if word in ON:
        return True
    if word in OFF:
        return False
    msg = f"accepted are {', '.join(ON)} and {', '.join(OFF)}"
    raise SettingsError(msg)


def _read_flag_or_name(text: str) -> bool | str:
    word = text.strip().lower()
    return _read_flag(word) if word in (*ON, *OFF) else word


_ENV_FORMS: dict[str, Callable[[str], Any]] = {
    "provider": str,
    "round_tokens": _read_count,
    "max_tokens": _read_count,
    "request_limit": str,
    "usage": str,
    "max_rounds": _read_count,
    "max_seconds": _read_amount,
    "max_cost": _read_amount,
    "max_repetition": _read_count,
    "trims": _read_flag,
    "on_error": str,
    "heal_streams": _read_flag,
    "stream_rounds": _read_flag,
    "continue_tool_calls": _read_flag_or_name,
    "on_reasoning_cut": str,
    "template": str,
    "journal": str,
    "progress": _read_flag_or_name,
}
