"""Limits for clients: connections, requests, octets, memory.

May import: net and what lies below.
Start reading at: `rates` counts per client; `quota` counts per day.
"""
