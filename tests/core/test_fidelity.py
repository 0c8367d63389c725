"""
Fidelity without a network: whatever the text, the caps and the server, whole and streamed bring the text as it was.

Fresh examples, and ten times as many: ``pytest tests/core/test_fidelity.py --hypothesis-profile fresh``.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.answers import Answer
from tests.support.driving import DRIVES
from tests.support.engine import Engine
from tests.support.servers import SERVERS
from tests.support.texts import ATOMS, is_as_it_was, pattern_for, texts

#: If one is the end of another, both are complete at once, and servers differ in which of them they cut.
stop_strings = st.lists(
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=3).map("".join), min_size=1, max_size=2
).filter(lambda stops: len(stops) == 1 or not (stops[0].endswith(stops[1]) or stops[1].endswith(stops[0])))


@settings(max_examples=settings.default.max_examples * 6)
@given(data=st.data(), name=st.sampled_from(sorted(SERVERS)))
def test_fidelity(data: Any, name: str) -> None:
    """Any text under any caps comes as it was, with stop strings and several choices; both drives agree in all."""
    kind, text = SERVERS[name], data.draw(texts)
    pattern = pattern_for(data.draw, kind)
    stop = data.draw(st.none() | stop_strings) if not kind.habits.thinks else None
    n = data.draw(st.sampled_from([None, 2])) if not (kind.habits.thinks or kind.habits.echo) else None
    fields = {"stop": stop, "n": n, "temperature": data.draw(st.sampled_from([None, 0, 1]))}
    body = kind.ask(**{name: value for name, value in fields.items() if value is not None})
    index = data.draw(st.integers(0, n - 1)) if n else 0
    expected = Engine(text, habits=kind.habits).uncapped(body, index)
    answers: list[Answer] = []
    for drive in DRIVES:
        engine = Engine(text, habits=kind.habits, cap=pattern)
        answers.append(drive(engine, body, index, max_rounds=500, **kind.known))

        seen = answers[-1].ending, expected.ending, engine.bodies[-1]
        assert is_as_it_was(answers[-1], expected, kind, text), seen
        assert engine.derailed == 0
    in_whole, in_stream = answers
    if kind.bare and body.get("temperature") != 0:
        # A stream is cut back to a word and a whole answer is not, so their tokens differ.
        in_stream.usage = in_whole.usage
    if kind.habits.usage == "asked" or stop:
        # A stream that is left before its end, at a stop string over a seam, never tells what it cost: it is estimated.
        in_stream.usage = in_whole.usage
    assert in_whole.merged == in_stream.merged
