"""The kinds of server that there are: their habits, and the settings with which the library meets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openai_continue import Continuation
from openai_continue._tables import families
from openai_continue.testing import Habits
from tests.support.bodies import KNOWN, ask


@dataclass(frozen=True)
class Kind:
    """A kind of server, and what the library knows of it."""

    habits: Habits
    #: The row of the provider table.
    provider: str = "deepinfra"
    model: str = KNOWN
    #: The setting ``trims``.
    trims: bool | None = None

    @property
    def bare(self) -> bool:
        """Whether no whitespace is sent at the end of a text."""
        known = families.trims(self.model) if self.trims is None else self.trims
        return self.habits.trims or known is not False

    @property
    def known(self) -> dict[str, Any]:
        """The settings of the library for this server."""
        return {"provider": self.provider, "trims": self.trims}

    def settings(self, **more: Any) -> Continuation:
        return Continuation(**self.known, **more)

    def ask(self, prompt: str = "x", **fields: Any) -> dict[str, Any]:
        """Return the body of a request."""
        return ask(prompt, **{"model": self.model, **fields})

    @property
    def least(self) -> int:
        """The least cap under which rounds get on: a character takes up to three tokens, as the tags of a block do."""
        return 5 if self.habits.cut_characters or self.habits.thinks else 1

    def pattern(self, *caps: int) -> tuple[int, ...]:
        """
        Return caps for an ``Engine``.

        A parser that misfiles continued answers belongs to thoughts that do not go on, so the first round holds all.
        """
        return (30, *caps) if self.habits.misfiles else caps


_R1 = "deepseek-r1"
_VLLM = Habits(
    marker="continue_final_message", usage="asked", finish_with_text=True, limit_field="both", overflow="clamp"
)
_THOUGHTS = 10

SERVERS: dict[str, Kind] = {
    # One habit each.
    "deepinfra": Kind(Habits()),
    "trims": Kind(Habits(trims=True), trims=True),
    "trims, and nobody knows": Kind(Habits(trims=True), model="unknown"),
    "keeps, and nobody knows": Kind(Habits(), model="unknown"),
    "keeps, taken for one that trims": Kind(Habits(), trims=True),
    "drops cut characters": Kind(Habits(cut_characters="dropped")),
    "replaces cut characters": Kind(Habits(cut_characters="replaced")),
    "trims, replaces cut characters": Kind(Habits(trims=True, cut_characters="replaced", usage="trailing"), trims=True),
    "finish with text, usage twice": Kind(Habits(finish_with_text=True, usage="both")),
    "usage after the finish": Kind(Habits(usage="trailing")),
    "no usage, comments": Kind(Habits(usage="never", comments=True)),
    "compressed": Kind(Habits(gzip=True, usage="trailing")),
    "thinks": Kind(Habits(thinks="reasoning_content", think_tokens=_THOUGHTS), model=_R1),
    "thinks inline": Kind(Habits(thinks="inline", think_tokens=_THOUGHTS), model=_R1),
    "echoes at once": Kind(Habits(echo="always", marker="prefix", strict_marker=True), "mistral"),
    "echoes, trims": Kind(Habits(echo="always", marker="prefix", echo_pieces=3, trims=True), "mistral", trims=True),
    # Each provider's habits together.
    "vllm": Kind(_VLLM, "vllm"),
    "vllm, trimming": Kind(
        Habits(marker="continue_final_message", usage="asked", finish_with_text=True, limit_field="both", trims=True),
        "vllm",
        "meta-llama/Llama-3.3-70B-Instruct",
    ),
    "vllm, thinking": Kind(
        Habits(
            marker="continue_final_message",
            usage="asked",
            thinks="reasoning",
            template="qwen3",
            think_tokens=_THOUGHTS,
            misfiles="both",
        ),
        "vllm",
        "Qwen/Qwen3-8B",
    ),
    "sglang": Kind(Habits(usage="asked", cut_characters="replaced"), "sglang"),
    "sglang, thinking": Kind(Habits(usage="asked", thinks="reasoning_content", think_tokens=_THOUGHTS), "sglang", _R1),
    "llama.cpp": Kind(Habits(echo="unflagged", usage="asked", grammar_follows=True), "llama.cpp"),
    "llama.cpp, thinking": Kind(
        Habits(echo="unflagged", usage="asked", thinks="reasoning_content", template="qwen3", think_tokens=_THOUGHTS),
        "llama.cpp",
        "qwen3",
    ),
    "tgi": Kind(Habits(trims=True, usage="trailing"), "tgi"),
    "ollama": Kind(Habits(usage="asked"), "ollama"),
    "mistral": Kind(
        Habits(echo="always", marker="prefix", strict_marker=True, echo_pieces=5, usage="trailing"), "mistral"
    ),
    "deepseek": Kind(Habits(marker="prefix", usage="asked"), "deepseek"),
    "deepseek, thinking": Kind(
        Habits(marker="prefix", usage="asked", thinks="reasoning_content", template="qwen3", think_tokens=_THOUGHTS),
        "deepseek",
        "deepseek-reasoner",
    ),
    "moonshot": Kind(Habits(marker="partial", default_tokens=20, usage="both"), "moonshot"),
    "fireworks": Kind(Habits(default_tokens=20), "fireworks"),
    "openrouter": Kind(Habits(comments=True, usage="trailing"), "openrouter"),
}
