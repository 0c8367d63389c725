"""
The environment of chat templates: jinja2's sandbox, with a meter of what a template makes and how long it takes.

A template comes from whoever uploaded the model. Each block, each output and each call costs the characters that it may
make, before it makes them. A template that costs more than long conversations do, in characters or in processor time,
is stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from time import thread_time
from typing import Any, cast

from jinja2 import nodes, pass_context
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Most seconds of processor time of one rendering, and most characters that it may make: these, and more for each
# character of the request.
_SECONDS, _SECONDS_PER_CHARACTER = 1.0, 1e-6
_MOST, _MOST_PER_CHARACTER = 10_000_000, 64
# What a step costs, and a value, whatever it is; and how much is spent before the clock is read again.
_STEP, _ITEM, _UNTIL_CLOCK = 16, 96, 8192
# What these return is no longer than what they are given, which may be long, so only its length counts.
_PICKS = frozenset(
    (
        *("list", "first", "last", "length", "count", "map", "select", "reject", "selectattr", "rejectattr", "sort"),
        *("unique", "reverse", "batch", "slice", "groupby", "dictsort", "items", "default", "d", "attr", "sum", "min"),
        *("max", "random"),
    )
)
# What these make may be as long as all that they are given times an argument.
_SPREADS = frozenset(("expandtabs", "translate", "wordwrap", "pprint", "xmlattr"))
# A place in a format, and a long number that may be its width.
_PLACE, _WIDTH = re.compile(r"[{%]"), re.compile(r"[{%][^{}%\s]*?(\d{6,})")


class TooLargeError(SecurityError):
    """A template makes more than a prompt can be."""


class TooSlowError(SecurityError):
    """A template takes too long."""


class Environment(ImmutableSandboxedEnvironment):
    """The environment that engines give a chat template (transformers, chat_template_utils.py), with a meter."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols"],
            finalize=cast("Callable[..., Any]", _output),
        )
        self.code_generator_class = _Generator
        self.context_class = _Context
        self.filters = {name: _metered(name, each) for name, each in self.filters.items()}
        self.filters["tojson"] = _metered("tojson", _to_json)
        self.globals.update({"raise_exception": cast("Any", _raise)})
        # Makes any number of words, and no chat template does.
        del self.globals["lipsum"]

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as jinja2 has it
        """Call a function of the template."""
        meter: Meter = __context.meter
        # jinja2 wraps str.format in a function of its own.
        bound = getattr(__obj, "__wrapped__", __obj)
        subject = getattr(bound, "__self__", None)
        if isinstance(subject, (str, bytes, int, float)):
            meter.take_call(bound.__name__, subject, [*args, *kwargs.values()])
        else:
            meter.spend(0)
        made = super().call(__context, __obj, *args, **kwargs)
        return meter.kept(made) if isinstance(made, range) or __obj is dict else made

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator makes."""
        meter: Meter = context.meter
        if operator == "%" and isinstance(left, str):
            meter.take_call("format", left, list(cast("Any", right)) if isinstance(right, tuple) else [right])
        elif operator == "**":
            meter.spend(_length(left) * max(right if isinstance(right, int) else 1, 1))
        elif operator == "*":
            meter.spend(_product(left, right))
        else:
            meter.spend(_length(left) + _length(right))
        made = super().call_binop(context, operator, left, right)
        return meter.kept(made) if isinstance(made, (list, tuple)) else made


class Meter:
    """What one rendering has cost. ``given``: what the template is given."""

    def __init__(self, given: object) -> None:
        self._most = _MOST
        size = self.weight(given)
        self._most += _MOST_PER_CHARACTER * size
        self._left = self._most
        self._until = thread_time() + _SECONDS + _SECONDS_PER_CHARACTER * size
        self._clock_at = self._left

    def spend(self, characters: int) -> None:
        """Take the cost of what is made next. Raise TooLargeError or TooSlowError."""
        self._left -= characters + _STEP
        if self._left < 0:
            raise TooLargeError
        if self._left < self._clock_at:
            self._clock_at = self._left - _UNTIL_CLOCK
            if thread_time() > self._until:
                raise TooSlowError

    def weight(self, value: object) -> int:
        """Return the characters of a value, as far as they can be afforded; a list has those of all that is in it."""
        total, waiting = 0, [value]
        while waiting and total <= self._most:
            one = waiting.pop()
            total += _length(one) + _ITEM
            if isinstance(one, Mapping):
                known = cast("Mapping[object, object]", one)
                waiting += [*known.keys(), *known.values()]
            elif isinstance(one, (list, tuple)):
                waiting += cast("Sequence[object]", one)
        return total

    def kept(self, made: Any) -> Any:
        """Return what the template has made of several values. Raise TooLargeError if it is too much to write."""
        self.spend(len(made))
        if self.weight(made) > self._most:
            raise TooLargeError
        return made

    def joined(self, parts: Sequence[Any]) -> str:
        """Return the text of an expression with ``~``."""
        self.spend(sum(map(self.weight, parts)))
        return "".join(map(str, parts))

    def take_call(self, name: str, subject: Any, arguments: Sequence[Any]) -> None:
        """Take the cost of a function: what it may make of ``subject`` with its arguments."""
        if name in _PICKS:
            numbers = [abs(one) for one in arguments if isinstance(one, int)]
            self.spend(_length(subject) + max(numbers, default=0))
            return
        whole, weights = self.weight(subject), [self.weight(one) for one in arguments]
        most = max([abs(one) if isinstance(one, int) else self.weight(one) for one in arguments], default=0)
        self.spend(whole + sum(weights) + self._copies(name, subject, whole, arguments, most) * most)

    def _copies(self, name: str, subject: Any, whole: int, arguments: Sequence[Any], most: int) -> int:
        """Return how often a function may put its longest argument, ``most``, into a text."""
        if name == "replace":
            return str(subject).count(str(arguments[0])) if arguments else 0
        if name in {"format", "format_map"}:
            self.spend(sum(int(width[:12]) for width in _WIDTH.findall(str(subject))))
            return len(_PLACE.findall(str(subject)))
        if name == "join":
            # Either may be the list, and the other what parts its items.
            items = sum(_length(one) for one in (subject, *arguments) if not isinstance(one, str))
            parting = max((len(one) for one in (subject, *arguments) if isinstance(one, str)), default=0)
            self.spend(items * parting)
            return 0
        if name == "indent":
            return str(subject).count("\n") + 1
        if name == "tojson":
            # Each line is indented as often as it is deep.
            return whole * most
        return whole if name in _SPREADS else 1


class _Context(Context):
    """What a template is rendered with."""

    meter: Meter

    def __init__(self, environment: Any, parent: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environment, parent, *args, **kwargs)
        self.meter = Meter({name: value for name, value in parent.items() if name not in environment.globals})

    def derived(self, locals: dict[str, Any] | None = None) -> Context:  # noqa: A002 - as jinja2 has it
        """Return a context with further names, of the same rendering."""
        made = super().derived(locals)
        cast("_Context", made).meter = self.meter
        return made


class _Generator(CodeGenerator):
    """Writes the code of a template, with its costs."""

    def blockvisit(self, nodes: Any, frame: Any) -> None:
        """Write a block: the body of a loop, a condition, a macro."""
        self.writeline(f"context.meter.spend({_constants(nodes)})")
        super().blockvisit(nodes, frame)

    def visit_Concat(self, node: Any, frame: Any) -> None:  # noqa: N802 - as jinja2 has it
        """Write an expression with ``~``."""
        self.write("context.meter.joined((")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: Any, frame: Any) -> None:  # noqa: N802
        """Write a list."""
        self._keep(super().visit_List, node, frame)

    def visit_Dict(self, node: Any, frame: Any) -> None:  # noqa: N802
        """Write an object."""
        self._keep(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: Any, frame: Any) -> None:  # noqa: N802
        """Write a tuple, or the names that its values are given to."""
        if node.ctx == "load":
            self._keep(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _keep(self, visit: Callable[..., None], node: Any, frame: Any) -> None:
        self.write("context.meter.kept(")
        visit(node, frame)
        self.write(")")


def _constants(block: Sequence[Any]) -> int:
    """Return the characters that the template itself has in a block."""
    outputs = [one for one in block if isinstance(one, nodes.Output)]
    return sum(len(part.data) for one in outputs for part in one.nodes if isinstance(part, nodes.TemplateData))


@pass_context
def _output(context: Any, value: Any) -> Any:
    """Return what an expression puts out."""
    context.meter.spend(context.meter.weight(value))
    return value


def _metered(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that costs what it may make."""
    given = getattr(function, "jinja_pass_arg", None)

    @wraps(function)
    def metered(context: Any, subject: Any = None, *args: Any, **kwargs: Any) -> Any:
        context.meter.take_call(name, subject, [*args, *kwargs.values()])
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        leading = [] if given is None else [first[given.name]]
        return function(*leading, subject, *args, **kwargs)

    return pass_context(metered)


def _length(value: object) -> int:
    """Return the cost of a value without what is in it: of a number, more than its digits take to be written."""
    if isinstance(value, int):
        return value.bit_length() * 64
    return len(cast("Sequence[object]", value)) if isinstance(value, (str, bytes, list, tuple, dict)) else 0


def _product(left: object, right: object) -> int:
    """Return the cost of a product: of two numbers, or of a text or a list and a number."""
    for one, other in ((left, right), (right, left)):
        if isinstance(other, int) and not isinstance(one, (int, float)):
            return _length(one) * max(other, 0)
    return _length(left) + _length(right)


def _to_json(value: object, ensure_ascii: bool = False, **options: Any) -> str:
    """Write a value as JSON; unlike jinja's own filter, without HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> None:
    raise TemplateError(message)
