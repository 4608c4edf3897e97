"""The address that connections leave from, [upstream] source: by the proxy, a reload, and the commands."""
from __future__ import absolute_import, division, print_function

import pytest
from helpers import ask, connect, listening, proxying, read_until
from processes import answering, wait_until, write
from test_conversation import get
from test_socks_dialect import NO_LOGIN, OK, ask5, talk

from geproxy import cli
from geproxy.commands import doctor, why
from geproxy.settings import loading

MISSING = '192.0.2.77'      # of no host (RFC 5737)


class Origin(object):
    """An origin that answers requests, or says hello in a tunnel. `seen`: the addresses that came, a list."""

    def __init__(self, handle=None):
        self.seen, self._handle = [], handle or answering()

    def __call__(self, sock):
        self.seen.append(sock.getpeername()[0])
        self._handle(sock)


def test_requests_and_tunnels_leave_from_it():
    origin = Origin()
    with listening(origin) as at, proxying('[upstream]\nsource = 127.0.0.2\n') as (address, _proxy):
        assert ask(address, get(at)).startswith(b'HTTP/1.1 200 ')
        client = connect(address)
        client.sendall(b'CONNECT %s:%d HTTP/1.1\r\nHost: a\r\n\r\n' % (at[0].encode('ascii'), at[1]))
        assert b' 200 ' in read_until(client, b'\r\n\r\n')
        client.close()
        talk(address, NO_LOGIN, (ask5(at[1]), OK))
    assert origin.seen == ['127.0.0.2'] * 3


def test_a_row_of_routes_may_have_another():
    origin = Origin()
    ini = '[upstream]\nsource = 127.0.0.2\nroutes =\n  127.0.0.1 direct source=127.0.0.3\n'
    with listening(origin) as at, proxying(ini) as (address, _proxy):
        assert ask(address, get(at)).startswith(b'HTTP/1.1 200 ')
    with listening(origin, 'localhost') as at, proxying(ini) as (address, _proxy):
        assert ask(address, get(('localhost', at[1]))).startswith(b'HTTP/1.1 200 ')
    assert origin.seen == ['127.0.0.3', '127.0.0.2']


def keeping(sock):
    """Answer requests until the client ends."""
    while read_until(sock, b'\r\n\r\n'):
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')


def test_a_reload_changes_it_and_kept_connections_are_not_used_any_more():
    origin = Origin(keeping)
    with listening(origin) as at, proxying('[upstream]\nsource = 127.0.0.2\n') as (address, proxy):
        for source in ('127.0.0.2', '127.0.0.2', '127.0.0.3', ''):
            settings = loading.load('other.ini', ['[access]', 'http_ports = any', '[upstream]', 'source = ' + source])
            proxy.server._use(settings)
            assert ask(address, get(at)).startswith(b'HTTP/1.1 200 ')
    assert origin.seen == ['127.0.0.2', '127.0.0.3', '127.0.0.1']


def test_an_address_that_is_missing_is_told_to_the_client_and_in_the_log():
    with proxying('[upstream]\nsource = %s\n' % MISSING) as (address, proxy):
        shown = ask(address, get(('127.0.0.1', 80)))
        assert shown.startswith(b'HTTP/1.1 502 ') and b'does not have the source address 192.0.2.77' in shown
        assert b'correct [upstream] source, or source= in a row of [upstream] routes, or give the address to this host' in shown
        assert proxy.wait(1)[0].reason == 'source_address_missing'
        assert talk(address, NO_LOGIN, (ask5(80), b'\x05\x01')).endswith(b'\0' * 6)
        said = 'this host does not have the address 192.0.2.77 of [upstream] source or routes: requests that leave from it fail until it has'
        proxy.wait_until(lambda: said in proxy.said)


def test_a_check_and_the_doctor_find_an_address_that_is_missing(tmpdir, capsys):
    path = str(tmpdir.join('proxy.ini'))
    write(path, '[upstream]\nsource = %s ::1\nroutes =\n  .corp direct\n  .lab direct source=192.0.2.78\n' % MISSING)
    assert cli.main(['--check', path]) == 0         # the file may be for another host, or the address may come later
    assert capsys.readouterr()[0].splitlines() == [
        '%s: fine' % path,
        '%s:2: [upstream] source: this host has no address 192.0.2.77 now: requests that leave from it fail' % path,
        '%s:5: [upstream] routes: this host has no address 192.0.2.78 now: requests that leave from it fail' % path]
    found = [finding for title, each in doctor.examine(loading.load(path)) if title == 'source' for finding in each]
    assert [(finding.severity, finding.what.rpartition(' ')[2]) for finding in found] == [
        (doctor.ERROR, '192.0.2.77'), (doctor.ERROR, '192.0.2.78'), (doctor.OK, '::1')]


@pytest.mark.parametrize('source, code, said', [
    ('127.0.0.2', 0, 'connected'), (MISSING, 3, 'this host does not have the source address 192.0.2.77')])
def test_why_dials_from_it(tmpdir, capsys, source, code, said):
    path = str(tmpdir.join('proxy.ini'))
    write(path, '[access]\nhttp_ports = any\n[upstream]\nsource = %s\n' % source)
    origin = Origin()
    with listening(origin) as at:
        assert why.main(['why', '-c', path, 'http://%s:%d/' % at]) == code
        wait_until(lambda: code or origin.seen == [source], 'the connection of why')
    assert said in capsys.readouterr()[0]


@pytest.mark.parametrize('text', ['gateway', '192.0.2.1 192.0.2.2', '::1%lo', '::ffff:192.0.2.1', '224.0.0.1', '192.0.2.0/24'])
def test_what_cannot_be_one_is_refused_with_its_line(text):
    with pytest.raises(loading.ConfigError) as caught:
        loading.load('test.ini', ['[upstream]', 'source = ' + text])
    assert str(caught.value).startswith('test.ini:2: [upstream] source: invalid source ')
