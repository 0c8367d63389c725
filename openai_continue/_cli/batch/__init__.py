"""``openai-continue batch``: files of requests and of answers, one JSON object a line, in OpenAI's format."""
