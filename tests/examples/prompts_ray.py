"""
Answer 1,000 prompts with Ray Data, on one machine or on a cluster, with 2 times 16 answers under way.

    pip install openai-continue 'ray[data]'
    export OPENAI_BASE_URL=https://api.deepinfra.com/v1/openai OPENAI_API_KEY=$DEEPINFRA_API_KEY
    python prompts_ray.py prompts.jsonl answers

Each line of prompts.jsonl is an object with a "prompt". The folder "answers" gets Parquet files with the rows: the
prompt, the text, how it ended, and its tokens. With OPENAI_CONTINUE_JOURNAL on a folder that all machines share, Ray
makes the requests of a worker that died again, and each goes on from its file.
"""

import os
import sys

import ray
from openai import AsyncOpenAI


class Write:
    """Writes the answer to a row. Ray keeps 16 rows of each worker under way."""

    def __init__(self) -> None:
        self.client = AsyncOpenAI(max_retries=8)

    async def __call__(self, row: dict) -> dict:
        messages = [{"role": "user", "content": row["prompt"]}]
        completion = await self.client.chat.completions.create(model="deepseek-ai/DeepSeek-V3.2", messages=messages)
        choice, usage = completion.choices[0], completion.usage
        return {**row, "text": choice.message.content, "end": choice.finish_reason, "tokens": usage.completion_tokens}


prompts, answers = sys.argv[1:]
# A worker is a Python of its own. The variable switches the library on there, before the class arrives.
variables = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}
ray.init(runtime_env={"env_vars": {"OPENAI_CONTINUE": "1", **variables}})
rows = ray.data.read_json(prompts)
rows.map(Write, compute=ray.data.ActorPoolStrategy(size=2), num_cpus=0.1).write_parquet(answers)
