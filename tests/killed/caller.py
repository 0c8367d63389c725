"""Ask for one long answer with a journal, and print it: the process that is killed."""

from __future__ import annotations

import sys

import openai_continue

base_url, folder, prompt, way = sys.argv[1:]
settings = openai_continue.Continuation(provider="deepinfra", journal=folder, stream_rounds=way == "streamed rounds")
with openai_continue.OpenAI(base_url=base_url, api_key="key", continuation=settings) as client:
    body = {"model": "Qwen/Qwen3-32B", "messages": [{"role": "user", "content": prompt}]}
    if way == "streamed":
        stream = client.chat.completions.create(**body, stream=True)  # type: ignore[call-overload]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    else:
        text = client.chat.completions.create(**body).choices[0].message.content  # type: ignore[call-overload]
sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
