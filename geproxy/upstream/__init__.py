"""Connections to origins: look up names, connect, keep idle connections. Never answers the client.

May import: the ground (compat, errors, memo, wording), net, http1.
Start reading at: `pool` hands out connections; `dialling` makes new ones; `handshakes` lead
through parents; `resolver` looks names up.
"""
