"""The core: dicts in, dicts out; no SDK, no I/O, no clock."""
