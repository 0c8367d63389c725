"""The command ``doctor``: what a server does with an answer that was cut, and what to set."""
