"""The story of a request, from the first octet to the last, and what it needs at each step.

May import: net, http1, policy, auth, limits, upstream, observe.
Start reading at: `conversation`, with the method `exchange()`.
"""
