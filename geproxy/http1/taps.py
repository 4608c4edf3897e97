"""A tap: an object that sees each octet of the bodies and tunnels of an exchange. No I/O.

An exchange has a tap or None, which is the normal case and costs nothing. A tap has two methods:

`body(direction, body)`: called once for each body, when it is about to be passed on. Returns the body to use instead,
mostly `Tapped(body, see)`.
`tunnel(direction, octets)`: called for all octets of a tunnel or an upgraded connection, in the order in which they go.

`direction`: UP, from the client to the origin, or DOWN. Octets come once, before they are sent, as bytes or a view of a
buffer that is used again: keep copies. Zero-copy steps aside for a tap.
"""
from __future__ import absolute_import, division, print_function

UP, DOWN = 'up', 'down'


def joined(taps):
    """Return one tap that does what several do, the first one nearest to the sender. `taps`: taps, or None for none."""
    taps = [tap for tap in taps if tap is not None]
    return Joined(taps) if len(taps) > 1 else taps[0] if taps else None


class Joined(object):
    """Several taps as one."""

    def __init__(self, taps):
        """`taps`: at least one, the one that sees octets first is first."""
        self._taps = taps

    def body(self, direction, body):
        """Return the body to use instead. `direction`, `body`: see the module."""
        for tap in self._taps:
            body = tap.body(direction, body)
        return body

    def tunnel(self, direction, octets):
        """Show octets of a tunnel to all taps. `direction`, `octets`: see the module."""
        for tap in self._taps:
            tap.tunnel(direction, octets)


class Tapped(object):
    """A body (see framing) that shows its content to a tap, in order."""
    splices = False         # all content goes through `feed` or `take`
    skippable = 0

    def __init__(self, body, see):
        """Decorate a body.

        `body`: one of framing or chunks; `see`: a function of content octets or a view of them. It is not called with
        none. The trailer section is the attribute `trailers`, once the body is `done`.
        """
        self._body, self._see = body, see

    def __getattr__(self, name):
        return getattr(self._body, name)

    @property
    def dropped(self):
        """The names of trailer fields that do not go on, see chunks.Chunked."""
        return self._body.dropped

    @dropped.setter
    def dropped(self, names):
        """Change them. `names`: a frozenset of octets in lower case."""
        self._body.dropped = names

    def feed(self, data, end):
        """Show the content among octets [0:end) of `data`, and return it: see framing."""
        content = self._body.feed(data, end)
        if len(content):
            self._see(content)
        return content

    def take(self, stream):
        """Show the rest of a small body, and return it. `stream`: as for framing.Sized.take."""
        content = self._body.take(stream)
        if content:
            self._see(content)
        return content
