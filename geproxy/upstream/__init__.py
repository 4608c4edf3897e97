"""Connections to origins: look up names, connect, keep idle connections. Never answers the client.

May import: net and what lies below.
Start reading at: `pool` hands out connections; `dialling` makes new ones; `resolver` looks names up.
"""
