"""Sockets, addresses and waiting. Knows no HTTP beyond "a head ends with an empty line".

May import: the ground (compat, errors, memo, wording), and no wing.
Start reading at: `stream` is one connection as everybody else sees it; `deadlines` is how all waits end.
"""
