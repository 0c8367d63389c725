"""Where the chunks of a running round go, and which of them may go out."""

from __future__ import annotations

from .choice import Choice
from .choices import Choices, loops
from .chunks import choices_of, chunk_choices, delta_of, has_lists, has_news, index_of, part_end, singles
from .codec.body import Requests
from .doubts import may_be_doubted
from .json import Json
from .merged import MergedAnswer
from .plan import Source
from .round import OpenRound
from .text.text import Text
from .usage import usage_of, without_usage


class Feeding:
    """Takes the chunks of rounds; a whole answer is one. Usage that only we asked for is noted and taken out."""

    def __init__(self, choices: Choices, answer: MergedAnswer, requests: Requests) -> None:
        self._choices = choices
        self._answer = answer
        self._requests = requests
        # The choice and the text that the last chunk added to, if it added nothing else; and those that the fast path
        # adds to.
        self._last: tuple[Choice, Text] | None = None
        self._flowing: tuple[Choice, Text] | None = None

    def feed(self, running: OpenRound, chunk: Json, request_id: str | None) -> list[Json]:
        """Take one chunk; return the chunks of the merged stream that may go out now."""
        out = self._take(running, chunk, request_id)
        self._last = self._flow_of(running, chunk)
        return out

    def _take(self, running: OpenRound, chunk: Json, request_id: str | None) -> list[Json]:
        items = chunk_choices(chunk)
        if items is None:
            return self._feed_without_choice(running, chunk) if running.choice is None else []
        if running.choice is None:
            self._answer.take_names(chunk)
        else:
            chunk = running.read(_without_prompt(chunk))
            items = choices_of(chunk) or items
        running.note(chunk, request_id)
        running.check_prompt()
        if usage_of(chunk) is not None and not self._shows_usage(running, items):
            chunk = without_usage(chunk)
            if not items:
                return []
        if not items:
            return self._feed_without_choice(running, chunk)
        if running.choice is None:
            return self._feed_first(running, chunk, items)
        # One choice was asked for. Any other belongs to no answer.
        running.index = index_of(items[0]) if running.index is None else running.index
        items = [item for item in items if index_of(item) == running.index]
        parts = singles({**chunk, "choices": items}, items) if items else ()
        return [out for part in parts for out in self._feed_later(running, running.choice, part)]

    def _shows_usage(self, running: OpenRound, items: list[Json]) -> bool:
        """Whether the caller gets the usage of a chunk with these choices: where the first round had it."""
        ended = any(item.get("finish_reason") for item in items)
        place = "after the end" if not items else "with the end" if ended else "within the text"
        places = self._answer.usage_places
        if running.choice is not None and not places:
            # The first round broke off before its usage, or only we asked for it.
            if not self._requests.expects_usage or place == "within the text":
                return False
            places.add(place)
        if running.choice is not None:
            return place in places
        if self._requests.asks_usage and not self._requests.folds:
            return False
        places.add(place)
        return True

    def _feed_without_choice(self, running: OpenRound, chunk: Json) -> list[Json]:
        """Take a chunk of usage, or an empty one, which some servers send to keep the connection open."""
        if running.choice is None and not self._answer.keeps_ends:
            return [chunk]
        if running.choice is None or usage_of(chunk) is not None:
            self._answer.keep(chunk)
            return []
        return [self._answer.identified(chunk)] if has_lists(chunk) else []

    def _feed_first(self, running: OpenRound, chunk: Json, items: list[Json]) -> list[Json]:
        if len(items) == 1:
            return self._feed_first_one(running, chunk)
        parts = list(singles(chunk, items))
        outs = [self._feed_first_one(running, part) for part in parts]
        unchanged = all(len(out) == 1 and out[0] is part for part, out in zip(parts, outs, strict=True))
        return [chunk] if unchanged else [one for out in outs for one in out]

    def _feed_first_one(self, running: OpenRound, chunk: Json) -> list[Json]:
        item = chunk["choices"][0]
        choice = self._choices.at(index_of(item))
        if not running.take_end(choice, item):
            if choice.finish_reason not in (None, "length") and self._answer.keeps_ends and not _has_delta(chunk):
                # It does not overtake the end that is kept.
                self._answer.keep(chunk)
                return []
            return choice.take(chunk, later=False)
        if choice.finish_reason == "length" or self._answer.keeps_ends or self._may_be_cut(running, choice, chunk):
            return self._keep_end(running, choice, chunk)
        choice.give_end()
        return choice.take(chunk, later=False) + choice.end_texts(goes_on=False)

    def _may_be_cut(self, running: OpenRound, choice: Choice, chunk: Json) -> bool:
        """Whether this end may be that of an answer or tool call that was cut, as far as is known before the usage."""
        # Of a stream, a text that has to wait for a stop string would not go out as it came.
        waits = choice.whole is None and self._requests.has_stops and _has_delta(chunk)
        if self._choices.wanted == 1 and not waits and may_be_doubted(choice, running, chunk, self._requests.limit):
            return True
        if any(delta_of(chunk).get(name) for name in ("tool_calls", "function_call")):
            return True
        if not choice.calls:
            return False
        unclear = running.usage is None and self._requests.expects_usage
        return unclear or choice.calls.are_broken or running.used_up(list(self._choices), self._requests.limit)

    def _feed_later(self, running: OpenRound, choice: Choice, chunk: Json) -> list[Json]:
        if choice.stopped is not None:
            return []
        delta = {name: value for name, value in delta_of(chunk).items() if name != "role"}
        item = {**_without_prompt(chunk["choices"][0]), "index": choice.index, "delta": delta}
        chunk = self._answer.identified({**chunk, "choices": [item]})
        if running.take_end(choice, item):
            return self._keep_end(running, choice, chunk)
        return choice.take(self._answer.summed(chunk), later=True) if has_news(chunk) else []

    def _keep_end(self, running: OpenRound, choice: Choice, chunk: Json) -> list[Json]:
        """Keep an end until the round is over: whole if it may be the last one, else without its text."""
        if not has_news(chunk):
            self._answer.keep(chunk)
            return []
        first = running.choice is None
        news, end = part_end(chunk)
        out = choice.take(news, later=not first)
        if first and out and out[-1] is news:
            self._answer.keep(chunk)
            return out[:-1]
        self._answer.keep(end)
        return out

    def is_looping(self, running: OpenRound) -> bool:
        """Whether a round brings nothing but a loop, so that it is left. A server that has ended it is believed."""
        if running.choice is None:
            return self._choices.are_looping
        return not running.finished and loops(running.choice)

    def has_enough(self, running: OpenRound) -> bool:
        """Whether no more of a round is taken."""
        is_stopped = running.choice is not None and running.choice.stopped is not None
        return is_stopped or self.is_looping(running)

    def flows(self) -> str | None:
        """Return the field ("content", ...) if the chunk just fed carried nothing but text, else None."""
        self._flowing = self._last
        return None if self._flowing is None else self._flowing[1].field

    def _flow_of(self, running: OpenRound, chunk: Json) -> tuple[Choice, Text] | None:
        """Return the choice and the text that a chunk has added to, if it carried nothing but text; else None."""
        items = choices_of(chunk)
        if not items or len(items) > 1 or usage_of(chunk) is not None:
            return None
        item = items[0]
        news = [name for name, value in delta_of(chunk).items() if value and name != "role"]
        choice = self._choices.get(index_of(item)) if running.choice is None else running.choice
        if choice is None or choice.plan.source is Source.CALL or running.request.is_raw or len(news) != 1:
            return None
        if item.get("finish_reason") or item.get("logprobs") is not None:
            return None
        thoughts = choice.thoughts if running.choice is None or choice.plan.source is Source.REASONING else None
        for text in (choice.answer, thoughts):
            if text is not None and text.field == news[0] and text.flows:
                return choice, text
        return None

    def feed_text(self, text: str, chunks: int) -> None:
        """Add the text of ``chunks`` chunks of the fast path. Raises RuntimeError unless ``flows()`` gave a field."""
        if self._flowing is None:
            msg = "feed_text() was called, but flows() did not return a field for the chunk fed before it"
            raise RuntimeError(msg)
        choice, flowing = self._flowing
        choice.add_flowing(flowing, text, chunks)


def _has_delta(chunk: Json) -> bool:
    """Whether a chunk of one choice adds to the message."""
    return any(value for name, value in delta_of(chunk).items() if name != "role")


def _without_prompt(fields: Json) -> Json:
    """Return a chunk or choice without what it says of the prompt (``prompt_token_ids``): that is the first round's."""
    if not any(name.startswith("prompt") for name in fields):
        return fields
    return {name: value for name, value in fields.items() if not name.startswith("prompt")}
