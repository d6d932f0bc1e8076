"""The shared verdict: one circuit for a whole fleet, kept on Redis.

`keys.py` names what is kept there, `circuit.lua` with `keeping.lua` is the one script that takes
every step of a shared circuit, `script.py` says what to do and `views.py` understands the reply.
None of these does I/O.
"""
