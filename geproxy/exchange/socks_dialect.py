"""Clients that speak SOCKS 4, 4a or 5: their messages become a CONNECT, and answers become SOCKS replies.

After that, a SOCKS client is treated like one that has sent CONNECT: the same rules, users, limits and log. A SOCKS
reply is only a number, so the words are in the error log. The only command is CONNECT (RFC 1928, 4).
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.http1 import grammar
from geproxy.http1.message import EMPTY, Request
from geproxy.net import socks_messages as socks

VERSIONS = {'socks4': 4, 'socks5': 5}           # {kind of protocols.PROTOCOLS: version}
# The reply code for a failure: by its class, the nearest one that has a row; else by its status; else FAILED.
CODES = {
    errors.LoopDetected: socks.NOT_ALLOWED,
    errors.Unroutable: socks.NETWORK, errors.SourceMissing: socks.FAILED,
    errors.DnsError: socks.HOST, errors.DnsTimeout: socks.HOST, errors.HostUnreachable: socks.HOST,
    errors.AddressUnknown: socks.HOST,
    errors.ConnectRefused: socks.REFUSED,
}
STATUSES = {403: socks.NOT_ALLOWED, 407: socks.NOT_ALLOWED, 429: socks.NOT_ALLOWED, 408: socks.EXPIRED,
            504: socks.EXPIRED}
COMMANDS = {socks.BIND: 'BIND', socks.UDP: 'UDP ASSOCIATE'}
REMEDY = 'use socks5h://NAME:PASSWORD@HOST:PORT or http://NAME:PASSWORD@HOST:PORT'

# A message with its size in octets, as Stream.read_front needs it.
_Message = collections.namedtuple('_Message', 'value size')


class SocksDialect(object):
    """Does for one SOCKS client what dialects.Dialect does for all HTTP clients."""
    __slots__ = ('_version', '_credentials', '_refuse', '_code', '_deadline')

    def __init__(self, kind):
        """`kind`: one of VERSIONS."""
        self._version = VERSIONS[kind]
        self._credentials = None            # (name, password) as octets, once the client has logged in
        # A function of (version, reply code): the octets that refuse the client at this step.
        self._refuse = socks.write_reply
        self._code = None                   # the reply code that is known already, or None: the error decides
        self._deadline = None               # when all messages must be there, in monotonic seconds

    @property
    def established(self):
        """The octets that tell the client that its tunnel is open."""
        return socks.write_reply(self._version, socks.GRANTED)

    @property
    def first(self):
        """The first octet of the next answer, whatever it says."""
        return self._refuse(self._version, socks.FAILED)[:1]

    def refusal(self, error, name, record_id, method, close, realm=''):
        """Return the octets that refuse a request.

        `error`: the ProxyError; `name`, `record_id`, `method`, `close`, `realm`: as for Dialect, and not used.
        """
        code = self._code
        if code is None:
            code = next((CODES[each] for each in type(error).__mro__ if each in CODES), None)
            code = STATUSES.get(error.status, socks.FAILED) if code is None else code
        return self._refuse(self._version, code)

    def credentials(self, _request):
        """Return (name, password) as octets, or None if the client has not logged in. `_request`: not used."""
        return self._credentials

    def read_request(self, exchange, log_in, must_log_in):
        """Wait for the messages of the client. Return a message.Request for CONNECT.

        `exchange`: the Exchange; `log_in`: a function of it that checks the name and the password; `must_log_in`: a
        function of it that returns True if a client without these is refused. Raises BadRequest, NotImplementedHere,
        LoginRequired, HeadTimeout, ClientLost, and what the two functions raise.
        """
        self._deadline = exchange.record.began + exchange.proxy.waits.head.seconds
        try:
            if self._version == 5:
                self._greet(exchange, log_in, must_log_in)
            asked = self._read(exchange, socks.read_request)
        except socks.Malformed as error:
            self._code = error.code
            raise errors.BadRequest('invalid SOCKS message: %s' % error)
        if self._version == 4 and must_log_in(exchange):
            raise errors.LoginRequired('this proxy asks for a log-in, and SOCKS 4 has no password: ' + REMEDY)
        if asked.command != socks.CONNECT:
            self._code = socks.COMMAND
            raise errors.NotImplementedHere('the only SOCKS command here is CONNECT, and the client asks for %s' % (
                COMMANDS.get(asked.command) or 'number %d' % asked.command))
        return self._understand(asked)

    def _understand(self, asked):
        """Return the message.Request that means the same as `asked`, a socks.Request. Raises BadRequest."""
        host = b'[%s]' % asked.host if b':' in asked.host else asked.host
        self._code = socks.ADDRESS if asked.port else socks.FAILED
        authority = grammar.parse_authority(b'%s:%d' % (host, asked.port))
        self._code = None
        # As HTTP/1.0: no other request may follow a refusal.
        request = Request(((1, 0), b'CONNECT', authority.text, 'authority', authority, None), EMPTY)
        request.protocol = b'SOCKS%d' % self._version
        return request

    def _greet(self, exchange, log_in, must_log_in):
        """Agree on how to log in, and check the log-in if there is one (RFC 1928, 3)."""
        self._refuse = _refuse_methods
        offered = self._read(exchange, socks.read_methods)
        needed = must_log_in(exchange)
        # A client that offers only a password has to send one: curl does so, even if nobody asks for it.
        if socks.PASSWORD in offered and (exchange.proxy.users is not None or socks.NO_LOGIN not in offered):
            self._answer(exchange, socks.write_method(socks.PASSWORD))
            self._log_in(exchange, log_in, needed)
        elif socks.NO_LOGIN not in offered:
            raise errors.BadRequest(
                'the client offers only the SOCKS log-in methods %s; this proxy knows none (0), and name and password '
                '(2)' % ' '.join(str(method) for method in sorted(offered)))
        elif needed:
            raise errors.LoginRequired('this proxy asks for a name and a password, and the client has none: ' + REMEDY)
        else:
            self._answer(exchange, socks.write_method(socks.NO_LOGIN))
        self._refuse = socks.write_reply

    def _log_in(self, exchange, log_in, needed):
        """Read a name and a password, and check them (RFC 1929)."""
        self._refuse = _refuse_login
        name, password = self._read(exchange, socks.read_login)
        # Java sends the name of its account and an empty password if it has no log-in.
        if exchange.proxy.users is not None and (needed or password):
            self._credentials = name, password
            exchange.key = exchange.conversation.client_key
            began = monotonic()
            log_in(exchange)
            self._deadline += monotonic() - began       # the client is not to blame for this time
        self._answer(exchange, socks.write_login_answer(True))

    def _read(self, exchange, read):
        """Wait for a message, take it from the buffer, and return it. `read`: a function of socks_messages."""
        return exchange.client.read_front(
            lambda octets: _sized(read(octets)), exchange.proxy.waits.head, self._deadline).value

    def _answer(self, exchange, octets):
        exchange.client.send(exchange.unsent(octets), exchange.proxy.waits.download)


def _refuse_methods(_version, _code):
    return socks.write_method(socks.NONE_FITS)


def _refuse_login(_version, _code):
    return socks.write_login_answer(False)


def _sized(found):
    return found and _Message(*found)
