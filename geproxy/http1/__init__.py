"""Reads HTTP/1.x messages from octets, and writes them as octets (RFC 9110, 9112). Does no I/O.

May import: the ground (compat, errors, memo, wording), net.address.
Start reading at: `message` holds what a head says; `framing` says where a body ends.
"""
