"""The same conversations, each way into the proxy and out of it: tests of other files, run again by TLS and through parents.

The parent is a second proxy in this process.
"""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import socket
import ssl

import encrypted
import helpers
import pytest
import test_conversation
import test_deliver
import test_fetch
import test_open_tunnel

pytestmark = pytest.mark.programs       # many cases that others try, too

TLS = '[tls]\ncertificate = %s\nkey = %s\n' % (encrypted.pem('proxy.test.pem'), encrypted.pem('proxy.test.key'))

SCENES = [
    (test_conversation.test_two_requests_on_one_connection_go_to_their_own_origins, [True]),
    (test_conversation.test_a_client_that_half_closes_gets_its_answer, []),
    (test_conversation.test_an_http_1_0_client_is_closed_behind_its_answer, []),
    (test_conversation.test_a_refusal_leaves_the_connection_to_the_next_request, []),
    (test_fetch.test_hop_by_hop_fields_are_not_passed_on, []),
    (test_fetch.test_an_upload_arrives_whole_with_its_length, []),
    (test_fetch.test_a_chunked_upload_is_checked_and_written_anew, [7]),
    (test_fetch.test_a_broken_chunk_of_a_request_is_400_and_the_origin_never_sees_an_end, []),
    (test_fetch.test_100_continue_comes_from_the_origin, []),
    (test_deliver.test_a_chunked_response_stays_chunked_with_its_trailers_and_without_extensions, []),
    (test_deliver.test_an_early_final_response_is_delivered_while_the_client_still_sends, []),
    (test_open_tunnel.test_octets_that_come_with_connect_are_not_lost, []),
    (test_open_tunnel.test_a_tunnel_half_closed_by_its_origin_still_goes_up, []),
]


class Secured(object):
    """The socket of a client that speaks TLS. It behaves as one without: an end is an end, and directions end alone."""

    def __init__(self, sock):
        self._sock = sock

    def recv(self, most):
        """Receive; only close_notify is an end."""
        try:
            return self._sock.recv(most)
        except ssl.SSLZeroReturnError:
            return b''

    def shutdown(self, how):
        """End our direction by close_notify."""
        assert how == socket.SHUT_WR
        encrypted.end_direction(self._sock)

    def __getattr__(self, name):
        return getattr(self._sock, name)


class Sockets(object):
    """Takes the place of the module socket: what connects to one of `ports` speaks TLS."""

    def __init__(self, ports):
        self._ports = ports

    def create_connection(self, address, *more):
        """As in the module."""
        sock = socket.create_connection(address, *more)
        if address[1] not in self._ports:
            return sock
        sock.settimeout(helpers.PATIENCE)
        return Secured(encrypted.encrypt(sock))

    def __getattr__(self, name):
        return getattr(socket, name)


@contextlib.contextmanager
def by_tls(monkeypatch, _folder):
    """Clients come by TLS to each proxy that is started from now on."""
    open_all, ports = helpers.listeners.open_all, set()

    def opening(wanted):
        found = open_all(wanted)
        ports.update(sock.getsockname()[1] for sock in found)
        return found
    monkeypatch.setattr(helpers.listeners, 'open_all', opening)
    monkeypatch.setattr(helpers, 'socket', Sockets(ports))
    monkeypatch.setattr(helpers, 'INI', helpers.INI + TLS)
    yield


def through(scheme):
    @contextlib.contextmanager
    def way(monkeypatch, folder):
        """All goes through a parent, which speaks `scheme`."""
        secrets = os.path.join(folder, 'parents')
        with helpers.proxying('[proxy]\nname = parent\n[upstream]\nkeep = 0\n' + TLS) as (address, proxy):
            with open(secrets, 'w') as opened:
                opened.write('[%s://localhost:%d]\nca = %s\n' % (scheme, address[1], encrypted.pem('ca.pem')) * (scheme == 'https'))
            os.chmod(secrets, 0o600)
            monkeypatch.setattr(helpers, 'INI', helpers.INI + '[upstream]\nparents = %s\nroutes = any %s://localhost:%d\n' % (
                secrets, scheme, address[1]))
            yield
            assert proxy.records or proxy.tunnels       # it was asked
    return way


@contextlib.contextmanager
def both(monkeypatch, folder):
    """By TLS, and through a parent by TLS."""
    with through('https')(monkeypatch, folder), by_tls(monkeypatch, folder):
        yield


WAYS = [('by TLS', by_tls), ('through http', through('http')), ('through https', through('https')),
        ('through socks5h', through('socks5h')), ('by TLS and through https', both)]


@pytest.mark.parametrize('scene, arguments', SCENES, ids=lambda value: getattr(value, '__name__', None) or '-'.join(map(str, value)))
@pytest.mark.parametrize('way', [row[1] for row in WAYS], ids=[row[0] for row in WAYS])
def test_it_is_the_same(way, scene, arguments, monkeypatch, tmpdir):
    with way(monkeypatch, str(tmpdir)):
        scene(*arguments)
