"""How an answer goes back to the server, and how what comes is read: chat messages, raw prompts, text completions."""
