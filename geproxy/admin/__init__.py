"""The admin listener, its pages, its client, and the watchdog. Never reachable through the proxy.

May import: exchange, pages, settings, observe and what lies below.
Start reading at: `listener` has the connections; `endpoints` is the table of pages; `status` is what they show.
"""
