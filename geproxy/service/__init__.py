"""One process: signals, listening sockets, privileges, the supervisor. Knows no HTTP.

May import: the ground (compat, errors, memo, wording), net, auth, limits, upstream, observe, exchange, settings, admin.
Start reading at: `startup`; `server` starts and stops everything else.
"""
