"""
Stream whole answers to browsers as server-sent events. If a reader leaves, the model's server stops writing, too.

    pip install openai-continue fastapi uvicorn
    export OPENAI_BASE_URL=https://api.deepinfra.com/v1/openai OPENAI_API_KEY=$DEEPINFRA_API_KEY
    uvicorn service:app
    curl --no-buffer 'http://127.0.0.1:8000/answer?prompt=Write+a+handbook.'

Each piece of the text is one JSON string. The last event says how the answer ended, or which error ended it.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import openai_continue

openai_continue.patch()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for all requests."""
    async with openai.AsyncOpenAI() as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/answer")
async def answer(prompt: str) -> StreamingResponse:
    return StreamingResponse(events(prompt), media_type="text/event-stream")


async def events(prompt: str) -> AsyncIterator[str]:
    messages = [{"role": "user", "content": prompt}]
    end = None
    try:
        stream = await app.state.client.chat.completions.create(
            model="deepseek-ai/DeepSeek-V3.2", messages=messages, stream=True
        )
        # If the reader leaves, this generator is cancelled: the stream is closed, and no further round is asked for.
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield f"data: {json.dumps(choice.delta.content)}\n\n"
                    end = choice.finish_reason or end
        yield f"event: end\ndata: {json.dumps(end)}\n\n"
    except openai.APIError as error:
        yield f"event: error\ndata: {json.dumps(type(error).__name__)}\n\n"
