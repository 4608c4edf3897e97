"""Certificates and keys: contexts made of files, chosen by name; and what is wrong with files."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket

import pytest
from test_tls import path, received, sockets

from geproxy.net import certificates
from geproxy.net.certificates import BadCertificate, Pair
from geproxy.net.tls import Failure, TlsTransport

PROXY = Pair(path('proxy.test.pem'), path('proxy.test.key'))
OTHER = Pair(path('other.test.pem'), path('other.test.key'))
JOE = Pair(path('joe.pem'), path('joe.key'))


def shaken(server_context, client_context, name):
    """Return (server, client) after their handshake."""
    one, other = sockets()
    server, client = TlsTransport(one, server_context), TlsTransport(other, client_context, name)
    for _ in range(20):
        if [client.handshake(), server.handshake()] == [None, None]:
            return server, client
    raise AssertionError('the handshake comes to no end')


@pytest.mark.parametrize('name, shown', [
    ('proxy.test', 'proxy.test'), ('other.test', 'other.test'), ('localhost', 'proxy.test'), ('OTHER.test', 'other.test'),
])
def test_the_name_that_is_asked_for_chooses_the_certificate(name, shown):
    server, client = shaken(certificates.server_context([PROXY, OTHER]), certificates.client_context(path('ca.pem')), name)
    assert certificates.user_of(client.certificate()) == shown.encode('ascii')
    client.send(b'hello')
    assert received(server, 5) == b'hello'


def test_a_name_that_the_certificate_has_not_is_refused():
    with pytest.raises(Failure) as raised:
        shaken(certificates.server_context([PROXY]), certificates.client_context(path('ca.pem')), 'else.test')
    assert 'else.test' in str(raised.value)


def test_a_server_of_an_unknown_authority_is_refused():
    with pytest.raises(Failure) as raised:
        shaken(certificates.server_context([PROXY]), certificates.client_context(), 'proxy.test')
    assert 'certificate verify failed' in str(raised.value)


def test_a_client_certificate_names_its_user():
    server, _client = shaken(certificates.server_context([PROXY], path('ca.pem')),
                             certificates.client_context(path('ca.pem'), JOE), 'proxy.test')
    assert certificates.user_of(server.certificate()) == b'joe'


def test_a_client_certificate_may_be_left_out_or_must_be_there():
    client_context = certificates.client_context(path('ca.pem'))
    server, _client = shaken(certificates.server_context([PROXY], path('ca.pem')), client_context, 'proxy.test')
    assert certificates.user_of(server.certificate()) is None
    with pytest.raises(Failure) as raised:
        shaken(certificates.server_context([PROXY], path('ca.pem'), required=True), client_context, 'proxy.test')
    assert 'peer did not return a certificate' in str(raised.value)


def test_what_a_certificate_says():
    names, until = certificates.facts(PROXY.certificate)
    assert names == ['proxy.test', 'localhost'] and until > 4000000000


@pytest.mark.parametrize('pair, what', [
    (Pair('/nowhere/a.pem', PROXY.key), 'cannot read /nowhere/a.pem, a certificate: No such file or directory'),
    (Pair(PROXY.certificate, '/nowhere/a.key'), 'No such file or directory'),
    (Pair(PROXY.key, PROXY.key), 'proxy.test.key is not a certificate'),
    (Pair(PROXY.certificate, OTHER.key), 'other.test.key is not the key of '),
    (Pair(PROXY.certificate, PROXY.certificate), 'proxy.test.pem is not the key of '),
])
def test_what_is_wrong_with_a_file_is_told_with_its_path(pair, what):
    with pytest.raises(BadCertificate) as raised:
        certificates.server_context([pair])
    assert what in str(raised.value)


def test_files_without_certificates_are_told(tmpdir):
    empty = tmpdir.join('empty.pem')
    empty.write('')
    for context in (lambda: certificates.client_context(str(empty)),
                    lambda: certificates.server_context([PROXY], str(empty))):
        with pytest.raises(BadCertificate) as raised:
            context()
        assert 'empty.pem is not the certificates of ' in str(raised.value) or (
            'empty.pem is not the certificates' in str(raised.value))


def test_a_change_of_a_file_is_seen(tmpdir):
    here = tmpdir.join('a.pem')
    before = certificates.stamp([str(here)])
    here.write('one')
    between = certificates.stamp([str(here)])
    os.remove(str(here))
    here.write('other')
    assert len({before, between, certificates.stamp([str(here)])}) == 3


@pytest.mark.parametrize('cutting', [0, 1])
def test_a_connection_that_is_cut_does_not_look_like_one_that_has_ended(cutting):
    ends = shaken(certificates.server_context([PROXY]), certificates.client_context(path('ca.pem')), 'proxy.test')
    one, other = ends[cutting], ends[1 - cutting]
    one.send(b'half')
    assert received(other, 4) == b'half'
    one.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(socket.error) as raised:
        other.recv(1)
    assert raised.value.args[0] == errno.ECONNRESET and 'the TLS connection was cut' in raised.value.args[1]
