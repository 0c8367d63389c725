"""What users mistype. Type checkers find an error in each line that is marked, and in no other."""

from __future__ import annotations

import openai_continue
from openai_continue import AsyncOpenAI, Continuation, OpenAI, Round, report_of
from openai_continue import Contination  # error


def note(done: str) -> None:
    """Take what is no round."""


def read(done: Round) -> int:
    """Read what may be None, and what is not there."""
    print(done.reason)  # error
    report = report_of(done)
    return len(report.rounds)  # error


Continuation(max_rounds="3")  # error
Continuation(max_rouns=3)  # error
Continuation(on_round=note)  # error
Continuation(3)  # error
openai_continue.Contination()  # error
openai_continue.patch(max_rounds=3)  # error
openai_continue.patch({"max_rounds": 3})  # error
OpenAI(continuation={"max_rounds": 3})  # error
OpenAI(continuation=True, api_kye="key")  # error
OpenAI(api_kye="key")  # error
OpenAI("key")  # error
OpenAI(http_client="client")  # error
OpenAI(timeout="60", continuation=False)  # error
AsyncOpenAI(max_retries=None)  # error
AsyncOpenAI(api_key=lambda: "key")  # error
client = OpenAI()
client.with_options(continuation=3)  # error
client.with_options(tiemout=3)  # error
client.copy(continuation=True).chat.completions.creat()  # error
