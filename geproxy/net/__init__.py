"""Sockets, addresses and waiting. Knows no HTTP beyond "a head ends with an empty line".

May import: errors, compat, memo, wording.
Start reading at: `stream` is one connection, as all other wings use it; `deadlines` ends every wait.
"""
