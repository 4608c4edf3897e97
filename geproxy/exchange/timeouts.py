"""What each wait of a connection may last, and how it fails: the table. Waits for nothing itself."""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.net.deadlines import TimeLimit

# (what is waited for, option of [timeouts], the error when time is over)
ROWS = (
    ('first', 'head', errors.IdleTimeout),              # the first octet of a connection
    ('another', 'idle', errors.IdleTimeout),            # that of a further request
    ('head', 'head', errors.HeadTimeout),
    ('login', 'login', errors.LoginTimeout),
    ('swallow', 'linger', errors.UploadTimeout),        # the rest of a body that nobody wants
    ('dns', 'dns', errors.DnsTimeout),
    ('connect', 'connect', errors.ConnectTimeout),
    ('upload', 'body', errors.UploadTimeout),           # the client sends its body
    ('stalled', 'body', errors.UploadStalled),          # the origin takes it
    ('response', 'response', errors.ResponseTimeout),
    ('body', 'body', errors.BodyTimeout),               # the origin sends its body
    ('download', 'body', errors.DownloadTimeout),       # the client takes it
    ('half_closed', 'linger', errors.ClientLost),       # a client that has ended its direction
    ('tunnel', 'tunnel', errors.TunnelIdle),            # octets, either way
    ('half_tunnel', 'linger', errors.TunnelIdle),       # the same, once one direction has ended
)
BRIEFLY = 1.0       # seconds at most to swallow what nobody wants
Waits = collections.namedtuple('Waits', [row[0] for row in ROWS])


def waits(timeouts):
    """The section [timeouts] -> Waits, a TimeLimit each."""
    made = Waits(*[TimeLimit(option, getattr(timeouts, option), error) for _name, option, error in ROWS])
    return made._replace(swallow=made.swallow._replace(seconds=min(BRIEFLY, timeouts.linger)))
