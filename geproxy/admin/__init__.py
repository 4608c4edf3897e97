"""The admin listener, what it shows, its client, and the watchdog. Never reachable through the proxy.

May import: exchange, settings and what lies below.
Start reading at: `listener` answers; `status` is what it shows.
"""
