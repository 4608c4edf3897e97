"""Leads a new connection through the parents of a route to its target: TLS, CONNECT (RFC 9110, 9.3.6), SOCKS 4a and 5.

Only a parent that is at fault makes ParentFailed: it is silent, closes, sends garbage, or its TLS fails. Then another
one may be tried. What a parent answers is ParentRefused or ParentLoginFailed: another one would be asked in vain.
Octets that come behind an answer belong to the target. They stay in the buffer of the Stream.
"""
from __future__ import absolute_import, division, print_function

import base64
import collections
import socket

from geproxy import errors
from geproxy.compat import monotonic, to_native
from geproxy.http1 import framing, parent_answers, reading
from geproxy.http1.chunks import bytes_of
from geproxy.net import socks_messages
from geproxy.net.deadlines import wait_connected
from geproxy.net.stream import GRACE, Stream
from geproxy.net.tls import TlsTransport
from geproxy.net.transport import READ

HEAD_SIZE = 64 * 1024       # octets of one response head of a parent
FIELDS = 200                # field lines in it
INTERIM_MOST = 100          # 1xx responses to one CONNECT; more are an attack
TEXT_SECONDS = 1.0          # how long the body of a refusal is waited for
# The status for the client, by the code of a SOCKS 5 reply; for all others it is 502.
_STATUS = {socks_messages.NOT_ALLOWED: 403, socks_messages.EXPIRED: 504}
# What a parent is asked, and until when. `parent`: the Parent; `host`, `port`: of the next hop; `about`: the question
# in native text; `limit`: the TimeLimit of the whole connect; `deadline`: its end, in monotonic seconds.
_Question = collections.namedtuple('_Question', 'parent host port about limit deadline')
_Part = collections.namedtuple('_Part', 'value size')


class _Late(Exception):
    """A parent did not answer before the deadline."""


class _Limits(object):
    """What a body asks of [limits]."""
    head_size, fields = HEAD_SIZE, FIELDS


def pass_through(sock, address, parents, target, limit, deadline, via=b''):
    """Lead a connection through the parents to a target. Return the Stream. May wait.

    `sock`: a native socket, connected to parents[0]; it is closed if this fails; `address`: where, as native text;
    `parents`: a tuple of Parents, the nearest one first; `target`: the Target behind the last of them, or parents[-1]
    itself: then that one is not asked for anything, as it gets requests in absolute-form; `limit`: the TimeLimit of the
    whole connect; `deadline`: its end, in monotonic seconds; `via`: the value of the field Via of a CONNECT, octets.

    Raises ParentFailed, ParentRefused, ParentLoginFailed, MemoryFull.
    """
    opened = sock
    try:
        _check_order(parents)
        secure = parents[0].scheme == b'https'
        if secure:
            opened = _start_tls(sock, parents[0])
        opened = stream = Stream(opened, address, errors.UpstreamLost)
        if secure:
            _shake_hands(stream, parents[0], limit, deadline)
        for parent, onward in zip(parents, parents[1:] + (target,)):
            if onward is not parent:
                about = 'CONNECT ' + to_native(_authority(onward.host, onward.port))
                _ask(stream, _Question(parent, onward.host, onward.port, about, limit, deadline), via)
        if stream.held:
            stream.hold(0)              # for a large head, which is gone
        return stream
    except BaseException:               # a client that leaves ends its greenlet here, too
        opened.close()
        raise


def name_of(parent):
    """Return the name of a Parent, `parent`, for messages: native text without secrets, `a.corp:3128`."""
    return to_native(_authority(parent.host, parent.port))


def _authority(host, port):
    return (b'[%s]:%d' if b':' in host else b'%s:%d') % (host, port)


def _check_order(parents):
    """Raise ParentRefused if TLS would be needed inside of a tunnel."""
    for parent in parents[1:]:
        if parent.scheme == b'https':
            raise errors.ParentRefused(
                'parent %s stands behind another parent, and TLS is possible only to the nearest one: '
                'write http:// for it in [upstream] routes' % name_of(parent))


# --- TLS

def _start_tls(sock, parent):
    """Return a TlsTransport on the socket. Raises ParentFailed."""
    try:
        return TlsTransport(sock, parent.context, to_native(parent.host))
    except (socket.error, ValueError, TypeError) as error:      # the last two: no certificate can have such a name
        raise _tls_failed(parent, error)


def _shake_hands(stream, parent, limit, deadline):
    """Do the handshake of TLS, which also verifies the certificate and the name in it. Raises ParentFailed."""
    patience = limit._replace(error=_Late)
    try:
        event = stream.transport.handshake()
        while event is not None:
            if event == READ:
                stream.wait(patience, deadline)
            elif wait_connected([stream.transport], deadline) is None:      # it waits until octets are taken
                raise _Late()
            if monotonic() > deadline + GRACE:
                raise _Late()
            event = stream.transport.handshake()
    except _Late:
        pass
    except socket.error as error:
        raise _tls_failed(parent, error)
    else:
        return
    raise errors.ParentFailed('parent %s did not end its TLS handshake within %.3g s ([timeouts] %s)' % (
        name_of(parent), limit.seconds, limit.name))


def _tls_failed(parent, error):
    return errors.ParentFailed('parent %s: the TLS handshake failed: %s' % (
        name_of(parent), parent_answers.with_advice(str(error.args[-1]))))


# --- questions and answers

def _ask(stream, question, via):
    """Ask a parent for the way to the next hop. Raises ParentFailed, ParentRefused, ParentLoginFailed."""
    ask = _ask_by_connect if question.parent.scheme in (b'http', b'https') else _ask_by_socks
    try:
        ask(stream, question, via)
    except _Late:
        failure = 'did not answer %s within %.3g s ([timeouts] %s)' % (
            question.about, question.limit.seconds, question.limit.name)
    except errors.UpstreamLost as error:
        failure = 'was lost in the middle of its answer to %s: %s' if stream.buffer else 'did not answer %s: %s'
        failure %= question.about, parent_answers.with_advice(str(error))
    except (errors.BadResponse, errors.ResponseHeadTooLarge, socks_messages.Malformed) as error:
        failure = 'gave no valid answer to %s: %s' % (question.about, error)
    else:
        return
    raise errors.ParentFailed('parent %s %s' % (name_of(question.parent), failure))


def _send(stream, octets, question):
    left = max(0.0, question.deadline - monotonic())
    stream.send(octets, question.limit._replace(seconds=left, error=_Late))


def _receive(stream, parse, question):
    """Wait for a message of SOCKS and return its value. `parse`: a function of socks_messages."""
    def parse_part(octets):
        found = parse(octets)
        return found and _Part(*found)
    return stream.read_front(parse_part, question.limit._replace(error=_Late), question.deadline).value


# --- CONNECT

def _ask_by_connect(stream, question, via):
    parent = question.parent
    authority = _authority(question.host, question.port)
    octets = b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n' % (authority, authority)
    if parent.login is not None:
        octets += b'Proxy-Authorization: Basic %s\r\n' % base64.b64encode(b'%s:%s' % parent.login)
    if via:
        octets += b'Via: %s\r\n' % via
    _send(stream, octets + b'\r\n', question)
    response = _read_final(stream, question)
    # A 2xx has no body, whatever its fields say (RFC 9110, 9.3.6).
    if not 200 <= response.status < 300:
        name = name_of(parent)
        if response.status in (401, 407):           # 401: tinyproxy 1.11, for a wrong password
            raise parent_answers.login_failure(name, response, question.about, parent.login is not None)
        raise parent_answers.refusal(name, response, question.about, _read_content(stream, response, question))


def _read_final(stream, question):
    """Return the final message.Response to CONNECT."""
    limit = question.limit._replace(error=_Late)
    for _ in range(INTERIM_MOST + 1):
        head = stream.read_head(HEAD_SIZE, limit, question.deadline, reading.check_response_start)
        if head is None:
            raise errors.ResponseHeadTooLarge('its head is larger than %d octets' % HEAD_SIZE)
        if not head:
            raise errors.UpstreamLost('it closed the connection')
        response = reading.parse_response(head, FIELDS)
        if response.behind:
            stream.unread(response.behind)
        if response.status >= 200 or response.status == 101:
            return response
    raise errors.BadResponse('more than %d interim responses' % INTERIM_MOST)


def _read_content(stream, response, question):
    """Return the beginning of the body of a refusal, or what comes of it in a short time."""
    limit, deadline = question.limit._replace(error=_Late), min(question.deadline, monotonic() + TEXT_SECONDS)
    content = b''
    try:
        body = framing.response_body(response, b'CONNECT', _Limits)
        while body is not None and not body.done and len(content) < parent_answers.RAW_SIZE:
            got = stream.read_now(min(filter(None, (parent_answers.RAW_SIZE, body.left))))
            if got is None:
                stream.wait(limit, deadline)
                continue
            if not got[1] or monotonic() > deadline + GRACE:
                break
            content += bytes_of(body.feed(*got))
            if body.used not in (None, got[1]):
                break               # the next response, or very many small chunks
    except (_Late, errors.ProxyError):
        pass                # the status has been said; whatever the text is good for, it is not worth more
    return content


# --- SOCKS

def _ask_by_socks(stream, question, _via):
    parent = question.parent
    version = 4 if parent.scheme == b'socks4a' else 5
    name, password = parent.login or (b'', b'')
    try:
        request = socks_messages.write_request(version, question.host, question.port, name)
        login = socks_messages.write_login(name, password) if version == 5 and parent.login else None
    except ValueError as error:
        raise errors.ParentRefused('parent %s cannot be asked for %s: %s' % (name_of(parent), question.about, error))
    if version == 5:
        _log_in(stream, question, login)
    _send(stream, request, question)
    reply = _receive(stream, lambda octets: socks_messages.read_reply(version, octets), question)
    if version == 4 and reply.code not in socks_messages.REPLIES_4:
        raise socks_messages.Malformed('SOCKS 4 has no reply code %d' % reply.code)
    if not reply.granted:
        raise errors.ParentRefused('parent %s answered %s (code %d) to %s' % (
            name_of(parent), reply.reason, reply.code, question.about),
            502 if version == 4 else _STATUS.get(reply.code, 502))


def _log_in(stream, question, login):
    """Agree on a method of logging in to a SOCKS 5 server, and log in. `login`: its message, or None."""
    _send(stream, socks_messages.write_methods(login is not None), question)
    method = _receive(stream, socks_messages.read_method, question)
    if method == socks_messages.NO_LOGIN:
        return
    if method == socks_messages.NONE_FITS:
        raise _login_failed(question, 'it takes no log-in by user and password, and none without' if login else
                            'it wants a log-in. Set user and password for it in the file of [upstream] parents')
    if method != socks_messages.PASSWORD or login is None:
        raise socks_messages.Malformed('it has chosen the log-in method %d, which was not offered' % method)
    _send(stream, login, question)
    if not _receive(stream, socks_messages.read_login_answer, question):
        raise _login_failed(
            question, 'it does not accept the user and password that the file of [upstream] parents has for it')


def _login_failed(question, why):
    return errors.ParentLoginFailed('parent %s refused the log-in for %s: %s' % (
        name_of(question.parent), question.about, why))
