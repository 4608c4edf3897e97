"""Tries a parent for `why` and `doctor`: connects, shakes hands, asks for a destination, and times each step.

It uses the code that serves clients. A parent that is asked for a plain request gets OPTIONS with Max-Forwards: 0. It
answers that itself (RFC 9110, 7.6.2): the origin is not asked.
"""
from __future__ import absolute_import, division, print_function

import base64
import collections

from geproxy import errors
from geproxy.compat import monotonic, to_native, to_octets
from geproxy.http1 import parent_answers, reading
from geproxy.net.deadlines import TimeLimit
from geproxy.policy.routes import Target
from geproxy.upstream.dialling import Attempts
from geproxy.upstream.handshakes import FIELDS, HEAD_SIZE, name_of, pass_through
from geproxy.upstream.resolver import Resolver

# For a check without a destination: no name server knows this name (RFC 6761, 6.4), so nobody else is asked.
NOWHERE = Target(b'https', b'geproxy-doctor.invalid', 443)

# What came of it. `parent`: the Parent; `steps`: sentences, native text, of what has worked; `error`: the ProxyError of
# the step that failed, or None.
Trial = collections.namedtuple('Trial', 'parent steps error')


class Tester(object):
    """Tries parents, with the time limits of an ini file."""

    def __init__(self, settings, judge=None, resolver=None):
        """`settings`: of loading.load; `judge`: a function of (address, port) that raises Denied if a parent must not
        be dialled there, or None; `resolver`: None for a new Resolver."""
        self._judge, self._resolver = judge, resolver or Resolver()
        self._dns = TimeLimit('dns', settings.timeouts.dns, errors.DnsTimeout)
        self._connect = TimeLimit('connect', settings.timeouts.connect, errors.ConnectTimeout)
        self._via = b'1.1 ' + to_octets(settings.proxy.name) if settings.proxy.via else b''

    def try_tunnel(self, parent, target, sources=()):
        """Ask a parent for a tunnel to a target, and close it at once. Return a Trial. May wait.

        `parent`: the Parent; `target`: the Target, see NOWHERE; `sources`: as of a Route.
        """
        steps, error = [], None
        try:
            sock, address = self._reach(parent, sources, steps)
            if parent.scheme == b'https':
                self._shake_hands(parent, sock, address, steps).close()
                sock, address = self._dial(parent, [address], sources)
            started = monotonic()
            self._lead(parent, sock, address, target).close()
            steps.append('it opened a tunnel to %s in %s' % (_place(target), _since(started)))
        except errors.ProxyError as failure:
            error = failure
        return Trial(parent, steps, error)

    def try_request(self, parent, target, sources=()):
        """Ask a parent of the scheme http or https whether it would take plain requests. Return a Trial. May wait.

        `parent`, `target`, `sources`: as for `try_tunnel`.
        """
        steps, error, stream = [], None, None
        try:
            sock, address = self._reach(parent, sources, steps)
            stream = self._shake_hands(parent, sock, address, steps)
            started = monotonic()
            said = self._ask_for_options(parent, stream, target)
            steps.append('%s, in %s' % (said, _since(started)))
        except errors.ProxyError as failure:
            error = failure
        finally:
            if stream is not None:
                stream.close()
        return Trial(parent, steps, error)

    def _reach(self, parent, sources, steps):
        started = monotonic()
        addresses = self._resolver.resolve(parent.host, self._dns, '')
        if self._judge is not None:
            for each in addresses:
                self._judge(each, parent.port)
        looked_up = '' if addresses == [to_native(parent.host)] else ', after %s to look it up' % _since(started)
        started = monotonic()
        sock, address = self._dial(parent, addresses, sources)
        steps.append('connected to %s port %d in %s%s' % (address, parent.port, _since(started), looked_up))
        return sock, address

    def _dial(self, parent, addresses, sources):
        return Attempts(parent.host, addresses, parent.port, self._connect, *([sources] if sources else [])).run()

    def _lead(self, parent, sock, address, target):
        limit = self._connect
        return pass_through(sock, address, (parent,), target, limit, monotonic() + limit.seconds, self._via)

    def _shake_hands(self, parent, sock, address, steps):
        """Return the Stream to a parent; of TLS, if it is an https parent."""
        started = monotonic()
        stream = self._lead(parent, sock, address, parent)
        if parent.scheme == b'https':
            steps.append('TLS in %s: %s' % (_since(started), ', '.join(stream.transport.describe())))
        return stream

    def _ask_for_options(self, parent, stream, target):
        """Return what the parent answered, as a sentence. Raises ParentLoginFailed, and errors of the connection."""
        place, name = to_octets(_place(target)), name_of(parent)
        head = b'OPTIONS http://%s/ HTTP/1.1\r\nHost: %s\r\nMax-Forwards: 0\r\nConnection: close\r\n' % (place, place)
        if parent.login is not None:
            head += b'Proxy-Authorization: Basic %s\r\n' % base64.b64encode(b'%s:%s' % parent.login)
        limit, about = self._connect, 'OPTIONS http://%s/' % to_native(place)
        try:
            stream.send(head + (b'Via: %s\r\n' % self._via if self._via else b'') + b'\r\n', limit)
            answer = stream.read_head(HEAD_SIZE, limit, monotonic() + limit.seconds, reading.check_response_start)
            if not answer:
                raise errors.UpstreamLost('it closed the connection' if answer is not None else 'its head is too large')
            response = reading.parse_response(answer, FIELDS)
        except errors.ProxyError as error:
            raise errors.ParentFailed('parent %s gave no valid answer to %s: %s' % (name, about, error))
        if response.status == 407:
            raise parent_answers.login_failure(name, response, about, parent.login is not None)
        return parent_answers.describe(name, response, about)


def _place(target):
    host = to_native(target.host)
    return '%s:%d' % ('[%s]' % host if ':' in host else host, target.port)


def _since(started):
    return '%d ms' % ((monotonic() - started) * 1000)
