"""The way to the origin: names to addresses, connections, and those that are kept. Never answers the client.

May import: the ground (compat, errors, memo, wording), net.
Start reading at: `pool` hands out connections; `dialling` makes new ones; `resolver` looks names up.
"""
