"""The phone process: answers, plays, takes keys, records sealed. It holds no key that opens anything.

A call's way: `endpoint` (SIP) -> `service.Phone` -> `call.Call`, which feeds the pure `flow` and does what it
says: `prompts` play through `media` and `session` (RTP), what is said goes to `recorder`, which seals and writes.
`snapshot` is what it knows of its numbers, `control` how it talks to the worker, `main` how it locks itself in.
`caller` is the other side: a telephone on the command line.
"""
