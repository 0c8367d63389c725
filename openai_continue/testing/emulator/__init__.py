"""The emulator: an OpenAI-compatible server on loopback."""
