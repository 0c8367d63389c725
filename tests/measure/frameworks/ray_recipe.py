"""Write a long answer to each row of prompts.jsonl, on a cluster, with 2 times 16 answers under way."""

import os

import ray
from openai import AsyncOpenAI


class Write:
    def __init__(self):
        self.client = AsyncOpenAI(max_retries=8)

    async def __call__(self, row):  # Ray keeps 16 rows of a worker under way
        messages = [{"role": "user", "content": row["prompt"]}]
        completion = await self.client.chat.completions.create(model="deepseek-ai/DeepSeek-V3.2", messages=messages)
        choice = completion.choices[0]
        return {**row, "text": choice.message.content, "end": choice.finish_reason, **completion.usage.to_dict()}


variables = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}
ray.init(runtime_env={"env_vars": variables})
prompts = ray.data.read_json("prompts.jsonl")
prompts.map(Write, compute=ray.data.ActorPoolStrategy(size=2), num_cpus=0.1).write_parquet("answers")
