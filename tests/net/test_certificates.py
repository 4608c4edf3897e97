"""Certificates and keys: contexts made of files, chosen by name; and what is wrong with files."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import ssl

import pytest
from authorities import Authority
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


@pytest.mark.parametrize('name, shown', [
    (u'a.corp.test', b'wild'), (u'A.CORP.Test', b'wild'), (u'corp.test', b'first'), (u'a.b.corp.test', b'first'),
    (u'exact.corp.test', b'exact'), (u'nowhere.test', b'first'), (None, b'first'),
])
def test_a_wildcard_stands_for_one_label_and_an_unknown_or_missing_name_gets_the_first(tmpdir, name, shown):
    authority = Authority(tmpdir, 'ca')
    pairs = [authority.make('first', u'first', hosts=[u'first.test']), authority.make('wild', u'wild', hosts=[u'*.corp.test']),
             authority.make('exact', u'exact', hosts=[u'exact.corp.test'])]
    context = certificates.client_context(authority.path)
    context.check_hostname = False
    one, other = sockets()
    server, client = TlsTransport(one, certificates.server_context(pairs)), TlsTransport(other, context, name or u'x')
    if name is None:                        # no SNI
        client._tls = context._wrap_socket(client.socket, False)
    for _ in range(20):
        if [client.handshake(), server.handshake()] == [None, None]:
            break
    assert certificates.user_of(client.certificate()) == shown


@pytest.mark.parametrize('names', [[u'proxy.test', u'other.test'], [u'other.test', u'proxy.test']])
def test_client_certificates_are_asked_for_by_each_name(names):
    for name in names:
        server, _client = shaken(certificates.server_context([PROXY, OTHER], path('ca.pem')),
                                 certificates.client_context(path('ca.pem'), JOE), name)
        assert certificates.user_of(server.certificate()) == b'joe'


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
    names, since, until = certificates.facts(PROXY.certificate)
    assert names == ['proxy.test', 'localhost', '127.0.0.1'] and since < until > 4000000000


@pytest.mark.parametrize('pair, what', [
    (Pair('/nowhere/a.pem', PROXY.key), 'cannot read /nowhere/a.pem, a certificate: No such file or directory'),
    (Pair(PROXY.certificate, '/nowhere/a.key'), 'No such file or directory'),
    (Pair(PROXY.key, PROXY.certificate), 'proxy.test.key is not a certificate: it has a PRIVATE KEY: are certificate and key swapped?'),
    (Pair(PROXY.certificate, OTHER.certificate), 'other.test.pem is not the key of %s: it has a CERTIFICATE: are ' % PROXY.certificate),
    (Pair(PROXY.certificate, OTHER.key), 'other.test.key is not the key of '),
    (Pair(PROXY.certificate, PROXY.certificate), 'proxy.test.pem has no private key: set key = FILE'),
])
def test_what_is_wrong_with_a_file_is_told_with_its_path(pair, what):
    with pytest.raises(BadCertificate) as raised:
        certificates.server_context([pair])
    assert what in str(raised.value)


CERTIFICATE, KEY = open(PROXY.certificate).read(), open(PROXY.key).read()
DAMAGED = '-----BEGIN %s-----\nAAAA\n-----END %s-----\n'
PARTS = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n'


@pytest.mark.parametrize('certificate, key, what', [
    ('', KEY, 'a.pem is not a certificate: expected PEM, a text with -----BEGIN CERTIFICATE-----'),
    (CERTIFICATE, '', 'a.key is not the key of DIR/a.pem: expected PEM, a text with -----BEGIN PRIVATE KEY-----'),
    (CERTIFICATE[:600], KEY, 'a.pem is not a certificate: not each -----BEGIN in it has its -----END: is it complete?'),
    (CERTIFICATE + CERTIFICATE[:600], KEY, 'a.pem is not a certificate: not each -----BEGIN'),
    (CERTIFICATE, KEY[:100], 'a.key is not the key of DIR/a.pem: not each -----BEGIN in it has its -----END: is it complete?'),
    (DAMAGED % (('CERTIFICATE REQUEST',) * 2), KEY, 'a.pem is not a certificate: it has a CERTIFICATE REQUEST, and no CERTIFICATE'),
    (PARTS + KEY.replace('PRIVATE', 'EC PRIVATE'), KEY, 'a.pem is not a certificate: it has a PRIVATE KEY: are certificate and key swapped?'),
    (DAMAGED % (('CERTIFICATE',) * 2), KEY, 'a.pem is not a certificate: the CERTIFICATE in it is damaged'),
    (CERTIFICATE, DAMAGED % (('PRIVATE KEY',) * 2), 'a.key is not the key of DIR/a.pem: the PRIVATE KEY in it is damaged'),
])
def test_what_a_file_has_instead_is_told(tmpdir, certificate, key, what):
    tmpdir.join('a.pem').write(certificate)
    tmpdir.join('a.key').write(key)
    with pytest.raises(BadCertificate) as raised:
        certificates.server_context([Pair(str(tmpdir.join('a.pem')), str(tmpdir.join('a.key')))])
    assert str(raised.value).startswith('%s/%s' % (tmpdir, what.replace('DIR', str(tmpdir))))


def test_a_key_in_place_of_authorities_is_told():
    with pytest.raises(BadCertificate) as raised:
        certificates.server_context([PROXY], PROXY.key)
    assert str(raised.value).endswith('authorities: it has a PRIVATE KEY, and no CERTIFICATE')


def test_files_without_certificates_are_told(tmpdir):
    empty = tmpdir.join('empty.pem')
    empty.write('')
    for context in (lambda: certificates.client_context(str(empty)),
                    lambda: certificates.server_context([PROXY], str(empty))):
        with pytest.raises(BadCertificate) as raised:
            context()
        assert 'empty.pem is not a file with certificates of authorities: ' in str(raised.value)


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


# --- users

UNTIL = 'Nov  3 15:45:53 2126 GMT'


@pytest.mark.parametrize('subject, more, user', [
    ([], {}, None),
    ([('commonName', u'joe')], {}, b'joe'),
    ([('commonName', u'joe'), ('emailAddress', u'j@corp.test')], {}, b'joe'),
    ([('emailAddress', u'j@corp.test')], {}, b'j@corp.test'),
    ([('organizationName', u'Corp')], {'subjectAltName': (('DNS', 'joe.test'), ('email', u'j@corp.test'))}, b'j@corp.test'),
    ([('commonName', u'Joe Smith')], {'subjectAltName': (('email', u'j@corp.test'),)}, b'j@corp.test'),
    ([('commonName', u'Joe Smith')], {}, b'Joe Smith'),
    ([('commonName', u'J\xf6')], {}, b'J\xc3\xb6'),
    ([('commonName', u'joe\0')], {}, None),
    ([('commonName', u'joe\r\nx'), ('emailAddress', u'j\n@corp.test')], {}, None),
    ([('commonName', u'*')], {}, None),
    ([('commonName', u'')], {}, None),
    ([('commonName', u'\x9b1m')], {}, None),
    ([('commonName', u'\xf6' * 127)], {}, b'\xc3\xb6' * 127),
    ([('commonName', u'\xf6' * 128)], {}, None),
    ([('commonName', u'joe')], {'notAfter': 'Nov  3 15:45:53 2025 GMT'}, None),
])
def test_the_user_that_a_certificate_names(subject, more, user):
    assert certificates.user_of(dict({'subject': tuple((each,) for each in subject), 'notAfter': UNTIL}, **more)) == user


def resumed(server_context, client_context, session=None):
    """Return (was a session resumed; the user of the client; the session for the next time)."""
    one, other = sockets()
    server, client = TlsTransport(one, server_context), TlsTransport(other, client_context, 'proxy.test')
    if session is not None:
        client._tls.session = session
    for _ in range(20):
        if [client.handshake(), server.handshake()] == [None, None]:
            break
    server.send(b'x')
    assert received(client, 1) == b'x'              # the tickets of TLS 1.3 come before it
    return server._tls.session_reused, certificates.user_of(server.certificate()), client._tls.session


@pytest.mark.skipif(not hasattr(ssl, 'SSLSession'), reason='this Python has no sessions for clients')
@pytest.mark.parametrize('off', ['OP_NO_TLSv1_2', 'OP_NO_TLSv1_3'])
def test_a_resumed_session_has_the_user_of_its_own_certificate(off, tmpdir):
    ours = certificates.server_context([PROXY, OTHER], path('ca.pem'))
    joe, nobody = (certificates.client_context(path('ca.pem'), pair) for pair in (JOE, None))
    for context in (joe, nobody):
        context.options |= getattr(ssl, off, 0)
    for context, user in ((joe, b'joe'), (nobody, None)):
        session = resumed(ours, context)[2]
        assert resumed(ours, context, session)[:2] == (True, user)
        # After a change of the files, no earlier session is worth anything.
        assert resumed(certificates.server_context([PROXY, OTHER], path('ca.pem')), context, session)[:2] == (False, user)
    session = resumed(ours, joe)[2]
    with pytest.raises(Failure):
        resumed(certificates.server_context([PROXY], Authority(tmpdir, 'others').path), joe, session)


# --- what is read, and what is doubtful

def test_all_that_is_read_is_known():
    loaded = certificates.read((PROXY, OTHER), path('ca.pem'))
    assert [where for where, _facts in loaded.facts] == [PROXY.certificate, OTHER.certificate, path('ca.pem')]
    assert loaded.stamp == certificates.stamp([PROXY.certificate, PROXY.key, OTHER.certificate, OTHER.key, path('ca.pem')])
    assert certificates.paths_of([Pair('a', 'a'), Pair('b', 'a')], None) == ['a', 'b']


def test_of_several_authorities_the_one_that_ends_first_counts(tmpdir):
    authority = Authority(tmpdir, 'ca')
    short = authority.make('short', 'short', until=5)
    both = tmpdir.join('both.pem')
    both.write(open(authority.path).read() + open(path('ca.pem')).read())
    until = certificates.read((short,), str(both)).facts[-1][1].until
    assert until == certificates.facts(authority.path).until < certificates.facts(path('ca.pem')).until


def test_a_certificate_without_a_host_is_doubtful(tmpdir):
    assert [text.partition(',')[0] for text in certificates.advice(Authority(tmpdir, 'ca').make('x').certificate)] == [
        'names no host']
    assert certificates.advice(PROXY.certificate) == []


@pytest.mark.parametrize('order, said', [
    ('abc', ''), ('ab', ''), ('a', ''), ('acb', 'certificate 2 of the file has not signed the one before it'),
    ('ac', 'certificate 2 '), ('aa', 'certificate 2 '),
])
def test_certificates_in_a_wrong_order_are_told(tmpdir, order, said):
    root = Authority(tmpdir, 'root')
    middle = Authority(tmpdir, 'middle', root)
    files = dict(a=middle.make('x', hosts=[u'x.test']).certificate, b=middle.path, c=root.path)
    chain = tmpdir.join('chain.pem')
    chain.write(''.join('# %s\n%s' % (each, open(files[each]).read()) for each in order))
    told = certificates.advice(str(chain))
    assert bool(told) == bool(said) and said in ''.join(told)


def test_what_is_no_certificate_inside_a_file_is_left_to_openssl(tmpdir):
    odd = tmpdir.join('odd.pem')
    odd.write(open(PROXY.certificate).read() + '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n')
    assert certificates.advice(str(odd)) == []
    with pytest.raises(BadCertificate):
        certificates.server_context([Pair(str(odd), PROXY.key)])


def test_a_key_with_a_passphrase_is_told_and_nobody_is_asked_for_it(tmpdir):
    serialization = pytest.importorskip('cryptography.hazmat.primitives.serialization')
    from cryptography.hazmat.backends import default_backend
    key = serialization.load_pem_private_key(open(PROXY.key, 'rb').read(), None, default_backend())
    locked = tmpdir.join('locked.key')
    locked.write_binary(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.BestAvailableEncryption(b'secret')))
    with pytest.raises(BadCertificate) as raised:
        certificates.server_context([Pair(PROXY.certificate, str(locked))])
    assert 'locked.key needs a passphrase' in str(raised.value) and raised.value.path == str(locked)
