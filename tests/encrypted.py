"""A proxy with a certificate, and clients that come to it by TLS."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import socket
import ssl

import helpers

from geproxy.net import certificates

PEMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pems')
NAME = 'proxy.test'


def pem(name):
    """Return the path of a file with a certificate or a key."""
    return os.path.join(PEMS, name)


def server_context(clients=None, required=False):
    """Return a context for a server. `clients`, `required`: as for certificates.server_context."""
    return certificates.server_context(
        [certificates.Pair(pem('proxy.test.pem'), pem('proxy.test.key'))], clients, required)


@contextlib.contextmanager
def proxying(more='', clients=None, listen_tls=False):
    """As helpers.proxying, with a certificate. `clients`: the path for [tls] clients; `listen_tls`: True for a port that
    takes nothing but TLS."""
    ini = '[tls]\ncertificate = %s\nkey = %s\nclients = %s\n' % (pem('proxy.test.pem'), pem('proxy.test.key'), clients or '')
    with helpers.proxying(ini + more, listen_tls=listen_tls) as both:
        yield both


def client_context(certificate=None):
    """Return a context that knows who signed the certificate of the proxy. `certificate`: the name of its own."""
    context = ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_CLIENT', ssl.PROTOCOL_SSLv23))
    context.load_verify_locations(pem('ca.pem'))
    context.verify_mode = ssl.CERT_REQUIRED
    if certificate:
        context.load_cert_chain(pem(certificate + '.pem'), pem(certificate + '.key'))
    return context


def encrypt(sock, context=None):
    """Do the handshake on a connected socket. Return the socket to use. Its end without close_notify is an error."""
    return (context or client_context()).wrap_socket(sock, server_hostname=NAME, suppress_ragged_eofs=False)


def connect(address, context=None, before=b''):
    """Return a socket that speaks TLS with the proxy. `before`: octets to send before the handshake."""
    sock = helpers.connect(address)
    sock.sendall(before)
    return encrypt(sock, context)


def read_all(sock):
    """Read to close_notify, and return the octets. Raises ssl.SSLError for another end."""
    data = b''
    while True:
        try:
            piece = sock.recv(65536)
        except ssl.SSLZeroReturnError:
            piece = b''
        if not piece:
            return data
        data += piece


def ask(address, octets, context=None):
    """Send `octets`, end this direction, and return all octets that come back until close_notify."""
    sock = connect(address, context)
    try:
        sock.sendall(octets)
        end_direction(sock)
        return read_all(sock)
    finally:
        sock.close()


def end_direction(sock):
    """Send close_notify, and go on to receive. (The methods of ssl.SSLSocket wait for that of the peer.)"""
    raw = getattr(sock._sslobj, '_sslobj', sock._sslobj)        # Python 3.6 has one more object in between
    sock.settimeout(0)
    try:
        raw.shutdown()
    except (ssl.SSLError, socket.error):
        pass
    sock.settimeout(helpers.PATIENCE)


def first_flight(context=None):
    """Return the octets with which a client begins its handshake."""
    here, there = socket.socketpair()
    try:
        sock = (context or client_context()).wrap_socket(here, server_hostname=NAME, do_handshake_on_connect=False)
        sock.settimeout(0)
        try:
            sock.do_handshake()
        except (ssl.SSLError, socket.error):
            pass
        return there.recv(65536)
    finally:
        there.close()
        here.close()
