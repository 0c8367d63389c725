"""Where two rounds meet: what is held back, what is a copy, what tells a new turn, where a text ends."""
