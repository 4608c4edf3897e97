"""A table of all waits of a connection: the time that each may take, and the error after that. Does not wait itself."""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.net.deadlines import TimeLimit

# (name of the wait, option of [timeouts], the error when the time is over); the comment names the awaited event
ROWS = (
    ('first', 'head', errors.IdleTimeout),              # the first octet of a connection
    ('handshake', 'handshake', errors.HandshakeTimeout),    # a TLS handshake of a client
    ('another', 'idle', errors.IdleTimeout),            # the first octet of a further request
    ('head', 'head', errors.HeadTimeout),               # a whole request head
    ('login', 'login', errors.LoginTimeout),            # a name and a password are verified
    ('discard', 'linger', errors.UploadTimeout),        # the rest of an unwanted request body
    ('dns', 'dns', errors.DnsTimeout),                  # a name is looked up
    ('connect', 'connect', errors.ConnectTimeout),      # an origin is connected to
    ('upload', 'body', errors.UploadTimeout),           # the client sends its body
    ('stalled', 'body', errors.UploadStalled),          # the origin takes the request body
    ('response', 'response', errors.ResponseTimeout),   # the origin sends the head of its response
    ('body', 'body', errors.BodyTimeout),               # the origin sends its body
    ('download', 'body', errors.DownloadTimeout),       # the client takes the response
    ('half_closed', 'linger', errors.ClientLost),       # the response, for a client that has ended its direction
    ('tunnel', 'tunnel', errors.TunnelIdle),            # octets in a tunnel, in either direction
    ('half_tunnel', 'linger', errors.TunnelIdle),       # the same, once one direction has ended
)
BRIEFLY = 1.0       # seconds at most for `discard`
Waits = collections.namedtuple('Waits', [row[0] for row in ROWS])


def waits(timeouts):
    """Return the Waits, a deadlines.TimeLimit for each row. `timeouts`: the section [timeouts] of the settings."""
    made = Waits(*[TimeLimit(option, getattr(timeouts, option), error) for _name, option, error in ROWS])
    return made._replace(discard=made.discard._replace(seconds=min(BRIEFLY, timeouts.linger)))
