"""The record of one exchange. Decides nothing, formats nothing, writes nowhere."""
from __future__ import absolute_import, division, print_function

import binascii
import itertools
import os
import time

from geproxy.compat import monotonic, to_native

_prefix = to_native(binascii.hexlify(os.urandom(3)))        # differs between processes
_numbers = itertools.count(1)


class NoMessage(object):
    """Takes the place of a request or response that has not come or is not valid. All its values are empty."""
    __slots__ = ()
    method = url = protocol = content_type = b''

    def values(self, _lower):
        """Return (), because there are no fields. `_lower`: the name of a field, as for message.Message.values."""
        return ()


NO_MESSAGE = NoMessage()


class Record(object):
    """One exchange, from the first octet of its request on. The exchange writes it, observers only read it.

    A record has the request itself, with its secrets, so it must not outlive the exchange: an observer takes what it
    needs while it is called, and keeps no record.
    """
    __slots__ = ('number', 'client', 'wall', 'began', 'seconds', 'request', 'response', 'status', 'reason', 'message',
                 'received', 'sent', 'address', 'route', 'kept', 'took', 'first', 'tunnel', 'aborted', 'user', 'rule',
                 'would')

    def __init__(self, client):
        """Begin the record of an exchange. `client`: the client's address as native text."""
        self.number = next(_numbers)
        self.client = client
        self.wall = time.time()                         # when it began, in seconds since the epoch
        self.began = monotonic()                        # the same, in monotonic seconds
        self.seconds = 0.0                              # how long it took, set when it ends
        self.request = self.response = NO_MESSAGE       # message.Request; the origin's final message.Response
        self.status = 0                                 # of the final response; 0: none was begun
        self.reason = ''                                # the token of the failure; '' if there was none
        self.message = ''                               # what failed, in words
        self.received = self.sent = 0                   # octets from and to the client, heads included
        self.address = ''                               # the address that was dialled, native text
        self.route = ''                                 # routes.show of the way that was taken; '' without routes
        self.kept = False                               # a kept connection to the origin was used
        self.took = (None, None)                        # seconds to look up the name, seconds to connect
        self.first = None                               # seconds until the response began
        self.user = b''                                 # the name that the client has logged in with
        self.rule = ''                                  # file:line of the rule that decided
        self.would = ''                                 # with policy = report: why it would have been refused
        self.tunnel = False                             # a tunnel was opened
        self.aborted = False                            # the client has not got the whole response

    @property
    def id(self):
        """The request id as native text. The client is told it, too."""
        return '%s-%d' % (_prefix, self.number)         # 0.5 us that most exchanges need not spend (3.13, 2026)

    # Fields of a head above 8 KiB are dropped once it is sent; the values below stay.

    @property
    def method(self):
        """The method as octets; b'' if the request was not understood."""
        return self.request.method

    @property
    def url(self):
        """The absolute URL, or host:port for CONNECT, as octets; b'' if the request was not understood."""
        url = self.request.url
        return url if url is not None else self.request.url_for(b'http')
