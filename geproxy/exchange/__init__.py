"""What happens to a request, step by step, from its first octet to the last octet of its response.

May import: the ground (compat, errors, memo, wording), net, http1, policy, auth, limits, observe, pages.
Start reading at: `conversation`, with the method `exchange()`.
"""
