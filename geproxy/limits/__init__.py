"""Limits for clients: connections, requests, octets, memory.

May import: the ground (compat, errors, memo, wording), net.
Start reading at: `rates` counts per client; `quota` counts per day.
"""
