"""
Let an agent write files: the model calls a tool with the whole text, and a call that the token limit cuts goes on.

    pip install openai-continue
    export OPENAI_BASE_URL=https://api.deepinfra.com/v1/openai OPENAI_API_KEY=$DEEPINFRA_API_KEY
    python agent.py "Write a long handbook for lighthouse keepers into handbook.md." files

The arguments of a cut call are no JSON, so without the library no file is written. ``continue_tool_calls`` is on by
itself for models like Qwen on vLLM and llama.cpp, where it was measured; True is for other servers, too.
"""

import json
import sys
from pathlib import Path

import openai

import openai_continue

TURNS = 20
TEXT = {"type": "string"}
PARAMETERS = {"type": "object", "properties": {"path": TEXT, "content": TEXT}, "required": ["path", "content"]}
TOOL = {"name": "write_file", "description": "Write a text file.", "parameters": PARAMETERS}


def write_file(path: str, content: str) -> str:
    """Write a file into the folder, and return what the model is told."""
    file = (folder / path).resolve()
    if not file.is_relative_to(folder):
        return "Not written: the path leads out of the folder."
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return f"Written: {len(content)} characters."


task, folder = sys.argv[1], Path(sys.argv[2]).resolve()
messages: list = [{"role": "user", "content": task}]
openai_continue.patch()
with openai.OpenAI() as client:
    for _ in range(TURNS):
        completion = client.chat.completions.create(
            model="Qwen/Qwen3-235B-A22B-Instruct-2507",
            messages=messages,
            tools=[{"type": "function", "function": TOOL}],
            extra_body={"continuation": {"continue_tool_calls": True}},
        )
        choice = completion.choices[0]
        if choice.finish_reason == "length":
            sys.exit(f"The answer is not whole: {openai_continue.report_of(completion)}")
        if not choice.message.tool_calls:
            print(choice.message.content)
            break
        messages.append(choice.message)
        for call in choice.message.tool_calls:
            told = write_file(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": told})
    else:
        sys.exit(f"The model was not done after {TURNS} turns.")
