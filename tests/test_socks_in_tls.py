"""SOCKS inside TLS: all of it, and certificates as log-ins."""
from __future__ import absolute_import, division, print_function

import encrypted
import pytest
from helpers import listening, proxying
from test_certified import REQUIRED, TLS, by_tls, people        # noqa: F401 (people is a fixture)
from test_socks_dialect import GRANTED, NO_LOGIN, OK, REJECTED, ask4, ask5, echo, login, reply5, talk


@pytest.mark.parametrize('size', [1, 3, 1000])
@pytest.mark.parametrize('octets, answer', [
    (lambda port: NO_LOGIN[0] + ask5(port), NO_LOGIN[1] + OK), (lambda port: ask4(port, b'localhost'), GRANTED)])
def test_a_tunnel_opens_inside_tls_in_whatever_pieces(octets, answer, size):
    with listening(echo) as (_host, port), proxying(TLS) as (address, proxy):
        sock, whole = encrypted.connect(address, encrypted.client_context('joe')), octets(port) + b'early!'
        for at in range(0, len(whole), size):
            sock.sendall(whole[at:at + size])
        assert encrypted.read_all(sock) == answer + b'EARLY!'
        sock.close()
        assert proxy.wait(1)[0].user == b'joe'


def test_a_certificate_is_a_log_in_and_without_one_a_password_is(people):        # noqa: F811
    methods = b'\x05\x02\x00\x02'
    with listening(echo) as (_host, port), proxying(TLS + people) as (address, proxy):
        for octets, answer, who in [
                (NO_LOGIN[0] + ask5(port), NO_LOGIN[1] + OK, 'joe'), (ask4(port), GRANTED, 'joe'),
                (methods + login(b'eve', b'wrong') + ask5(port), b'\x05\x02\x01\x00' + OK, 'joe'),
                (methods + login(b'eve', b'eve-secret') + ask5(port), b'\x05\x02\x01\x00' + OK, None)]:
            assert by_tls(address, octets + b'!', who) == answer + b'!'
        assert by_tls(address, NO_LOGIN[0]) == b'\x05\xff'
        assert by_tls(address, ask4(port)) == REJECTED
        assert [record.user for record in proxy.wait(6)] == [b'joe'] * 3 + [b'eve'] + [b''] * 2


def test_without_a_certificate_that_is_required_there_is_no_way(people):         # noqa: F811
    both = people.replace('[auth]', '[auth]\ncertificates = required')
    for ini in (REQUIRED, TLS + both):
        with listening(echo) as (_host, port), proxying(ini) as (address, proxy):
            assert talk(address, (NO_LOGIN[0], b'\x05\xff')) == b''
            assert talk(address, (b'\x05\x01\x02', b'\x05\xff')) == b''
            assert talk(address, (ask4(port), REJECTED)) == b''
            assert by_tls(address, NO_LOGIN[0] + ask5(port) + b'!', 'joe') == NO_LOGIN[1] + OK + b'!'
            assert [record.reason for record in proxy.wait(3)[:3]] == ['certificate_required'] * 3


def test_a_refusal_arrives_whole():
    with proxying(TLS + '[access]\nconnect_ports = 443\n') as (address, _proxy):
        assert by_tls(address, NO_LOGIN[0] + ask5(25)) == NO_LOGIN[1] + reply5(2)
