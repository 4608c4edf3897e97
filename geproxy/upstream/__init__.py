"""The way to the origin: names to addresses, connections, and those that are kept. Never answers the client.

May import: net and what lies below.
Start reading at: `pool` hands out connections; `dialling` makes new ones; `resolver` looks names up.
"""
