"""The admin listener, its pages, its client, and the watchdog. Never reachable through the proxy.

May import: the ground (compat, errors, memo, wording), net, http1, limits, observe, pages, exchange, settings.
Start reading at: `listener` has the connections; `endpoints` is the table of pages; `status` is what they show.
"""
