"""Cassettes: recorded answers, which VCR replays. Used by the pytest plugin."""
