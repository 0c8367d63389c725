"""Data with their sources: providers, model families, syntaxes of tool calls, words for a full context."""
