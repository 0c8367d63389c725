"""
The core: how an answer is continued. Dicts in, dicts out; no SDK, no I/O, no clock.

``Rounds`` (rounds.py) is the order of calls; every rule below has a file of its own.

Rules
1. Only ``finish_reason == "length"``, or a stream that broke off, calls for another round; or "stop" at exactly the
   cap, which may be a cut under another name (doubts.py).
2. The first round is the caller's own request. Its token limit is a total over all rounds, unless the settings say
   otherwise (limit.py).
3. A continuation is the same request with one growing assistant message at its end (codec/body.py, codec/chat.py).
4. Text is joined raw. text/seam.py says what is held back and what is a copy, text/text.py joins. A server that opens
   a new turn is told by points (text/evidence.py), and one that has not read all of the prompt by its count
   (text/prompt_check.py).
5. The merged answer has the id, created, model and fingerprint of the first round, one role, the summed usage, lists
   joined, and every other field as the last round has it (merged.py). A whole answer goes the way of a stream of one
   chunk, and its completion is the fold of the merged chunks (folding.py); none of them is out before it has ended, so
   that a later round may still change it (text/text.py, whole.py). A chunk that needs no change is returned as the
   object that came.
6. Reasoning and answer are told apart by what came before the cut, not by the field that new text arrives in
   (choice.py, text/reasoning.py).
7. A continued document of a known format ends where the document ends, and in "length" if the join is not one
   (text/formats.py), or cannot become one: then no further token is asked for (documents.py, text/json_value.py).
8. What follows upon a round is decided in one place: it goes on, is asked for again, or has ended (state.py). A stream
   that breaks off goes on from the text that arrived. ending.py applies what was decided.
9. A text completion, and a chat whose template is known, go on by a raw prompt: the first prompt and all that the
   model has generated. What comes back is read as a server reads it (codec/raw.py, calls/model_text.py).
10. If it is not safe to go on, the answer ends in "length", as the server ended it, and the report says why (bars.py).
11. Another process goes on from the answer so far and the state beside it, with the request that would have come next
   (kept.py).

Words
round         One request and its response. The first round is the caller's own request.
continuation  A round after the first. It continues one choice.
choice        One of the ``n`` answers of a request.
chunk, delta  One JSON object of a stream, and the part of it that adds to a choice.
endpoint      The outer shape of a call: what it asks for, and how its answers look (codec/endpoint.py).
item, event   A part of a response, and one JSON object of its stream (codec/response_items.py).
codec         Writes the text so far into the body of a continuation, and reads what comes of it (codec/codec.py).
draft         What is to go back of one choice (codec/draft.py).
prefill       The last message of a continuation: the text so far, for the model to go on from.
raw prompt    The prompt of a continuation at ``/completions``: a text that the server reads as it is.
outcome       How a round came to its end (outcome.py).
plan          What a continuation goes on from, and how (plan.py).
seam          The place where two rounds meet.
held back     Of a text: its end, which is not sent in the prefill. Of a chunk: not given to the caller yet.
kept end      The last chunk of a round, kept until it is known whether another round follows.
finished      The server said so, by a ``finish_reason``.
enough        We take no more of a round, whatever the server still sends.
closed        The caller has left.
heal          Go on after a broken stream. Shrink: ask for a round again, with fewer tokens.
usage         The server's token counts of a round.
context       The tokens of prompt and answer together, and the most that a model takes of them.
"""
