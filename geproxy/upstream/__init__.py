"""Connections to origins: look up names, connect, keep idle connections. Never answers the client.

May import: the ground (compat, errors, memo, wording), net.
Start reading at: `pool` hands out connections; `dialling` makes new ones; `resolver` looks names up.
"""
