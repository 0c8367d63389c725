"""
The SDK's side: everything that touches openai or httpx. It sends, reads and writes; the core decides.

hooks.py       the SDK's methods that every call goes through: where a call is found, and its answer replaced
activation.py  the settings that come into force, checked
options.py     the SDK's options, the body that they describe, and the plan of a call
call.py        one logical call: its rounds, their log lines, ``on_round``
whole.py       the loop over whole responses, sync and async
stream.py      the loop over streams, sync and async
reading.py     the bytes of one streamed round: events, the fast path (flow.py), error frames
connection.py  sending a round, reading it to its end, waiting
errors.py      every translation of an error
response.py    httpx responses
sse.py         server-sent events

A call on its way: hooks -> options (plan) -> the SDK sends -> hooks -> call -> whole or stream -> the SDK parses.
"""
