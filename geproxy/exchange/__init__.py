"""The story of a request, from the first octet to the last, and what it needs at each step.

May import: the ground (compat, errors, memo, wording), net, http1, policy, auth, limits, observe, pages.
Start reading at: `conversation`, with the method `exchange()`.
"""
