"""The emulator: an OpenAI-compatible server on the loopback interface that knows its answers in advance."""
