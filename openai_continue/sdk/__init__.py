"""Everything that touches openai, httpx or wrapt."""
