"""DSPy on its LiteLLM engine: the language model itself, and Predict; its other engine does not use the SDK."""

from __future__ import annotations

from typing import Any

import dspy
from checking import HANDBOOK, Handbook, Seen, opt_out, report, way


def model(base_url: str, **more: Any) -> dspy.LM:
    settings = {"engine": "litellm", "cache": False, "max_tokens": None, **more}
    return dspy.LM("openai/any", api_base=base_url, api_key="none", **settings)


def seen(language_model: dspy.LM, text: str) -> Seen:
    usage = language_model.history[-1]["usage"]
    return Seen(text, usage["completion_tokens"], usage["prompt_tokens"])


def first(outputs: Any) -> str:
    text: str = outputs[0] if isinstance(outputs[0], str) else outputs[0]["text"]
    return text


@way("LM (engine litellm)")
def lm(base_url: str, prompt: str) -> Seen:
    language_model = model(base_url)
    return seen(language_model, first(language_model(prompt)))


@way("LM (engine litellm, async)")
async def lm_async(base_url: str, prompt: str) -> Seen:
    language_model = model(base_url)
    return seen(language_model, first(await language_model.acall(prompt)))


class Writing(dspy.Signature):
    """Write a handbook."""

    request: str = dspy.InputField()
    handbook: Handbook = dspy.OutputField()


@way("Predict (JSONAdapter)", answer=f'{{"handbook": {HANDBOOK}}}')
def predict_json(base_url: str, prompt: str) -> Seen:
    language_model = model(base_url)
    with dspy.context(lm=language_model, adapter=dspy.JSONAdapter()):
        handbook: Any = dspy.Predict(Writing)(request=prompt).handbook
    return seen(language_model, f'{{"handbook": {handbook.model_dump_json(indent=1)}}}')


@way("LM (engine auto)", cannot="its lm15 engine, preferred where nothing is said, speaks HTTP by itself")
def lm_auto(base_url: str, prompt: str) -> Seen:
    language_model = model(base_url, engine="auto")
    return Seen(first(language_model(prompt)))


@opt_out("LM (engine litellm)")
def lm_opted_out(base_url: str, prompt: str) -> Seen:
    language_model = model(base_url, extra_body={"continuation": False})
    return Seen(first(language_model(prompt)))


report("dspy", "litellm")
