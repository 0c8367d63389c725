from opentelemetry import trace

from openai_continue import Continuation, Round, patch


def note(round_: Round) -> None:
    tokens = (round_.usage or {}).get("completion_tokens", 0)
    event = {"gen_ai.response.id": round_.id or "", "gen_ai.usage.output_tokens": tokens}
    trace.get_current_span().add_event("openai_continue.round", event)


patch(Continuation(on_round=note))
