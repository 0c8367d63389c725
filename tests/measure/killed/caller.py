"""
Ask for one long answer with a journal, and print it: the process that is killed.

With one argument more, "text", it asks for a text completion; with the path of a chat template, by raw prompts.
"""

from __future__ import annotations

import sys

import openai_continue

base_url, folder, prompt, way, *more = sys.argv[1:]
settings = openai_continue.Continuation(
    provider="deepinfra",
    journal=folder,
    stream_rounds=way == "streamed rounds",
    template=more[0] if more and more != ["text"] else None,
)
with openai_continue.OpenAI(base_url=base_url, api_key="key", continuation=settings) as client:
    body = {"model": "Qwen/Qwen3-32B", "messages": [{"role": "user", "content": prompt}]}
    if more == ["text"] and way == "streamed":
        pieces = client.completions.create(model="m", prompt=prompt, stream=True)
        text = "".join(chunk.choices[0].text for chunk in pieces if chunk.choices)
    elif more == ["text"]:
        text = client.completions.create(model="m", prompt=prompt).choices[0].text
    elif way == "streamed":
        stream = client.chat.completions.create(**body, stream=True)  # type: ignore[call-overload]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    else:
        text = client.chat.completions.create(**body).choices[0].message.content  # type: ignore[call-overload]
sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
