"""The result of a fetch: the head of a response, and where its body is read from. Sends nothing."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.http1 import framing, reading


class Answer(object):
    """A final response or a 101 response. Its head has been read, and its body has not.

    A layer may replace `response` by another one. The body stays the same, because its framing is written anew. The
    exchange that fetched the answer owns its connection and closes it.
    """
    __slots__ = (
        'response',         # the message.Response; None until it has been read
        'body',             # the response body, see framing.response_body
        'source',           # what the body is read from: a stream.Stream, or Octets
        'connection',       # the pool.Connection that it comes by; None if it has none, or has given it back
        'upload',           # the BodyUpload that still sends the request body, or None
        'heard',            # True if the origin has begun to answer this request
        'continued',        # True if a 100 was passed on to the client
        'reusable')         # False if the responses say that their connection must not be used again

    def __init__(self, source, connection=None):
        """Make an answer whose head is still to be read. Arguments: see the attributes `source` and `connection`."""
        self.source, self.connection = source, connection
        self.response = self.body = self.upload = None
        self.heard = self.continued = False
        self.reusable = True


class Octets(object):
    """A body that this proxy has made, with those methods of a Stream that copy loops use."""
    __slots__ = ('buffer',)
    splices = False         # see Stream.splices

    def __init__(self, octets):
        """`octets`: the whole body."""
        self.buffer = octets

    def read_now(self, most):
        """Return (octets, count), up to `most` octets, as Stream.read_now does. Never waits."""
        octets, self.buffer = self.buffer[:most], self.buffer[most:]
        return octets, len(octets)

    def unread(self, octets):
        """Put `octets` back, so that they are read next."""
        self.buffer = octets + self.buffer


def of_octets(octets, method, limits):
    """Return an Answer that this proxy has made, for layers that answer a request without an origin.

    `octets`: a whole HTTP/1.1 response, head and body; `method`: of the request, octets; `limits`: the section [limits]
    of the settings. Raises BadResponse if the response is not valid.
    """
    head, end, body = octets.partition(b'\r\n\r\n')
    if not end:
        raise errors.BadResponse('an answer of our own has no whole head')
    answer = Answer(Octets(body))
    answer.response = reading.parse_response(head + end, limits.fields)
    answer.body = framing.response_body(answer.response, method, limits)
    return answer
