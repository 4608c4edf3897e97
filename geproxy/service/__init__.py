"""One process: signals, listening sockets, privileges, the supervisor. Knows no HTTP.

May import: all wings but commands.
Start reading at: `startup`; `server` starts and stops everything else.
"""
