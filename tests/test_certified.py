"""Clients that log in by a certificate: who they are for rules, groups, limits and the log, and what the others are told."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import hashlib
import io
import os
import re
import ssl

import encrypted
import helpers
import pytest
from authorities import Authority
from encrypted import pem
from helpers import listening, proxying
from processes import run
from test_conversation import saying, text_of

from geproxy.commands import chapters
from geproxy.observe import formats
from geproxy.settings import loading

TLS = '''
[tls]
certificate = %s
key = %s
clients = %s
''' % (pem('proxy.test.pem'), pem('proxy.test.key'), pem('ca.pem'))
REQUIRED = TLS + '[auth]\ncertificates = required\n'
ONLY_JOE = '[access]\nrules =\n  allow user:joe any\n  deny any any\n'


@pytest.fixture
def people(tmpdir):
    """The lines of [auth] with a file in which eve has the password eve-secret, and a file of groups."""
    users, groups = tmpdir.join('users'), tmpdir.join('groups')
    users.write_binary(b'eve:{SHA}' + base64.b64encode(hashlib.sha1(b'eve-secret').digest()) + b'\n')
    groups.write_binary(b'ops: joe\ndevs: eve\n')
    return '[auth]\nusers = %s\ngroups = %s\n' % (users, groups)


def basic(name, password):
    """The field of a log-in."""
    return b'Proxy-Authorization: Basic %s\r\n' % base64.b64encode(name + b':' + password)


def request(origin, more=b'', last=b'Connection: close\r\n'):
    """A GET for an origin; `more`: field lines."""
    return b'GET http://%s/ HTTP/1.1\r\nHost: %s\r\n%s%s\r\n' % (text_of(origin), text_of(origin), more, last)


def by_tls(address, octets, context=None):
    """Send octets by TLS -> what comes back. `context`: of the client, or the name of its certificate."""
    if context is None or isinstance(context, str):
        context = encrypted.client_context(context)
    sock = encrypted.connect(address, context)
    try:
        sock.sendall(octets)
        return encrypted.read_all(sock)
    finally:
        sock.close()


def of(pair):
    """The context of a client with a Pair of its own."""
    context = encrypted.client_context()
    context.load_cert_chain(*pair)
    return context


@contextlib.contextmanager
def proxied(*ini):
    """A proxy, and an origin -> (address of the proxy, its Recorder, address of the origin)."""
    with listening(saying(b'ok')) as origin, proxying(''.join(ini)) as (address, proxy):
        yield address, proxy, origin


def status(shown):
    """The status of a response, and its reason."""
    found = re.search(br'(?m)^reason: (\w+)', shown)
    return int(shown[9:12]), found.group(1).decode('ascii') if found else ''


# --- who the user is

def test_the_common_name_of_a_certificate_is_the_user_in_rules_and_log():
    with proxied(TLS, ONLY_JOE) as (address, proxy, origin):
        assert by_tls(address, request(origin), 'joe').endswith(b'ok')
        assert by_tls(address, request(origin)).startswith(b'HTTP/1.1 403 ')
        assert helpers.ask(address, request(origin)).startswith(b'HTTP/1.1 403 ')
        assert [record.user for record in proxy.wait(3)] == [b'joe', b'', b'']


def test_groups_hold_without_a_file_of_users(tmpdir):
    tmpdir.join('groups').write('ops: joe\n')
    groups = '[auth]\ngroups = %s\n[access]\nrules = allow group:ops any\n' % tmpdir.join('groups')
    with proxied(TLS, groups) as (address, _proxy, origin):
        assert by_tls(address, request(origin), 'joe').endswith(b'ok')
        assert by_tls(address, request(origin)).startswith(b'HTTP/1.1 403 ')


def test_each_request_of_a_connection_has_its_user():
    with proxied(TLS, ONLY_JOE) as (address, proxy, origin):
        shown = by_tls(address, request(origin, last=b'') + request(origin), 'joe')
        assert shown.count(b'HTTP/1.1 200 ') == 2 and [record.user for record in proxy.wait(2)] == [b'joe'] * 2


def test_a_tunnel_has_its_user():
    with listening(lambda sock: sock.sendall(sock.recv(4))) as origin, proxying(TLS + ONLY_JOE) as (address, proxy):
        connect = b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin)
        assert by_tls(address, connect + b'echo', 'joe').endswith(b'\r\n\r\necho')
        assert proxy.wait()[0].user == b'joe'


def test_limits_count_users_and_not_their_address(tmpdir):
    authority = Authority(tmpdir, 'people')
    one, other = (of(authority.make(name, common=name)) for name in ('ann', 'ben'))
    with proxied(TLS.replace(pem('ca.pem'), authority.path), '[limits]\nrequests = 0.001\nburst = 2\n') as (
            address, _proxy, origin):
        three = request(origin, last=b'') * 2 + request(origin)
        assert re.findall(br'HTTP/1.1 (\d+)', by_tls(address, three, one)) == [b'200', b'200', b'429']
        assert by_tls(address, request(origin), other)[9:12] == b'200'


@pytest.mark.parametrize('common, email, user, shown', [
    (u'ann', u'a@corp.test', u'ann', 'ann'),
    (None, u'a@corp.test', u'a@corp.test', 'a@corp.test'),
    (u'Ann Smith', u'a@corp.test', u'a@corp.test', 'a@corp.test'),      # no rule can name a user with blanks
    (u'Ann Smith', None, u'Ann Smith', 'Ann%20Smith'),
    (u'J\xf6rg', None, u'J\xf6rg', 'J%C3%B6rg'),
    (u'a"b%\\', None, u'a"b%\\', None),
])
def test_a_user_is_named_by_common_name_or_e_mail(tmpdir, common, email, user, shown):
    authority = Authority(tmpdir, 'people')
    with proxied(TLS.replace(pem('ca.pem'), authority.path), '[auth]\ncertificates = required\n') as (
            address, proxy, origin):
        assert by_tls(address, request(origin), of(authority.make('x', common, email))).endswith(b'ok')
        record, = proxy.wait()
        assert record.user == user.encode('utf-8')
        assert shown is None or formats.show(record.user) == shown
        for show in formats.FORMATS.values():
            assert '\n' not in show(record, False)


@pytest.mark.parametrize('common', [u'joe\0evil', u'joe\nGET x', u'\x1b[2J', u'*', u' ', u'a\x85b'])
def test_a_name_that_could_be_taken_for_another_is_none(tmpdir, common):
    authority = Authority(tmpdir, 'people')
    with proxied(TLS.replace(pem('ca.pem'), authority.path), '[auth]\ncertificates = required\n',
                 '[access]\nrules =\n  allow user:joe any\n  allow user:* any\n') as (address, proxy, origin):
        shown = by_tls(address, request(origin), of(authority.make('x', common)))
        assert status(shown) == (403, 'certificate_required')
        assert proxy.wait()[0].user == b''


def test_a_certificate_of_another_authority_ends_the_handshake(tmpdir):
    stranger = of(Authority(tmpdir, 'others').make('joe', 'joe'))
    with proxied(TLS, ONLY_JOE) as (address, proxy, origin):
        with pytest.raises((ssl.SSLError, EnvironmentError)):
            assert not by_tls(address, request(origin), stranger)
        assert proxy.wait()[0].user == b'' and 'not valid here' in proxy.records[0].message


def test_an_expired_certificate_ends_the_handshake(tmpdir):
    authority = Authority(tmpdir, 'people')
    expired = of(authority.make('x', u'joe', since=-9, until=-1))
    with proxied(TLS.replace(pem('ca.pem'), authority.path), ONLY_JOE) as (address, proxy, origin):
        with pytest.raises((ssl.SSLError, EnvironmentError)):
            assert not by_tls(address, request(origin), expired)
        assert proxy.wait()[0].user == b''


# --- certificates and passwords

def test_accepted_a_certificate_or_a_password(people):
    with proxied(TLS, people) as (address, proxy, origin):
        for shown in (by_tls(address, request(origin), 'joe'),
                      by_tls(address, request(origin, basic(b'eve', b'eve-secret'))),
                      helpers.ask(address, request(origin, basic(b'eve', b'eve-secret')))):
            assert shown.endswith(b'ok')
        assert status(by_tls(address, request(origin)))[0] == 407
        assert status(helpers.ask(address, request(origin)))[0] == 407
        assert [record.user for record in proxy.wait(5)] == [b'joe', b'eve', b'eve', b'', b'']


@pytest.mark.parametrize('more', [
    basic(b'eve', b'eve-secret'), basic(b'eve', b'wrong'), b'Proxy-Authorization: ???\r\n', basic(b'joe', b'') * 2])
def test_with_a_certificate_a_password_is_not_looked_at_and_goes_no_further(people, more):
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying(TLS + people) as (address, proxy):
        assert by_tls(address, request(origin, more), 'joe').endswith(b'ok')
        assert proxy.wait()[0].user == b'joe' and b'roxy-auth' not in seen[0]


def test_required_no_certificate_no_service(people):
    with proxied(TLS, people.replace('[auth]', '[auth]\ncertificates = required')) as (address, proxy, origin):
        assert by_tls(address, request(origin), 'joe').endswith(b'ok')
        for shown in (by_tls(address, request(origin)), helpers.ask(address, request(origin)),
                      by_tls(address, request(origin, basic(b'eve', b'eve-secret'))),
                      helpers.ask(address, request(origin, basic(b'eve', b'eve-secret')))):
            assert status(shown) == (403, 'certificate_required')
            assert b'--proxy-cert' in shown and b'Proxy-Authenticate' not in shown
        assert [record.reason for record in proxy.wait(5)] == [''] + ['certificate_required'] * 4


@pytest.mark.parametrize('exempt, code', [('127.0.0.1', 200), ('192.0.2.1', 403)])
def test_required_but_not_of_those_who_are_exempt(exempt, code):
    with proxied(REQUIRED + 'exempt = %s\n' % exempt) as (address, proxy, origin):
        assert status(helpers.ask(address, request(origin)))[0] == code
        assert by_tls(address, request(origin), 'joe').endswith(b'ok')
        assert [record.user for record in proxy.wait(2)] == [b'', b'joe']


def test_a_connect_without_the_certificate_is_told_too():
    with proxied(REQUIRED) as (address, _proxy, origin):
        connect = b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin)
        assert status(helpers.ask(address, connect)) == (403, 'certificate_required')


def test_our_own_page_needs_no_certificate_and_mentions_tls():
    with proxied(REQUIRED) as (address, _proxy, _origin):
        visit = b'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' % text_of(address)
        for shown in (helpers.ask(address, visit), by_tls(address, visit)):
            assert shown.startswith(b'HTTP/1.1 200 ') and b'by TLS, too' in shown


def test_refusals_count_for_the_limits():
    with proxied(REQUIRED, '[limits]\nrequests = 0.001\nburst = 1\n') as (address, _proxy, origin):
        assert [status(helpers.ask(address, request(origin)))[0] for _ in range(2)] == [403, 429]


def test_a_certificate_is_worth_nothing_when_a_reload_has_removed_its_authority(people):
    with proxied(TLS, people) as (address, proxy, origin):
        sock = encrypted.connect(address, encrypted.client_context('joe'))
        sock.sendall(request(origin, last=b''))
        assert helpers.read_until(sock, b'ok').endswith(b'ok')
        settings = loading.load('test.ini', (TLS + people).replace('clients = ', 'clients =\n# ').splitlines())
        proxy.server._use(settings)
        sock.sendall(request(origin))
        assert status(encrypted.read_all(sock))[0] == 407
        sock.close()


# --- the commands of the manual

@pytest.mark.programs
@pytest.mark.skipif(not os.path.exists('/usr/bin/openssl'), reason='this host has no openssl')
def test_the_commands_of_the_manual_make_certificates_that_work(tmpdir):
    chapter = io.open(chapters.path('tls'), encoding='utf-8').read()
    made = [block for block in re.findall(r'(?ms)^```sh\n(.*?)^```$', chapter) if block.startswith('openssl')]
    assert len(made) == 2
    done = run(['sh', '-e', '-c', ''.join(made)], cwd=str(tmpdir))
    assert done.wait() == 0, done
    ini = [block for block in re.findall(r'(?ms)^```ini\n(.*?)^```$', chapter) if 'clients = ' in block]
    tmpdir.join('groups').write('admins: anna\n')
    here = ini[0].replace('/etc/geproxy/tls', str(tmpdir)).replace('/etc/geproxy', str(tmpdir))
    with proxied(here) as (address, proxy, origin):
        context = encrypted.client_context()
        context.load_verify_locations(str(tmpdir.join('ca.pem')))
        context.load_cert_chain(str(tmpdir.join('anna.pem')), str(tmpdir.join('anna.key')))
        # Python does so by default from 3.13 on, for contexts of create_default_context.
        context.verify_flags |= getattr(ssl, 'VERIFY_X509_STRICT', 0)
        for name in ('gateway.corp', 'gateway'):
            sock = context.wrap_socket(helpers.connect(address), server_hostname=name, suppress_ragged_eofs=False)
            sock.sendall(request(origin))
            assert encrypted.read_all(sock).endswith(b'ok')
            sock.close()
        assert [record.user for record in proxy.wait(2)] == [b'anna'] * 2


# --- which rules need it

@pytest.mark.parametrize('lines, problem', [
    (['[auth]', 'certificates = required'], 'test.ini:2: [auth] certificates: set [tls] clients, too'),
    (['[auth]', 'certificates = off'], "test.ini:2: [auth] certificates: invalid value 'off'"),
    (TLS.splitlines() + ['[access]', 'rules = allow group:x any'], 'set [auth] groups'),
])
def test_what_is_missing_is_told(lines, problem):
    with pytest.raises(loading.ConfigError) as raised:
        loading.load('test.ini', lines)
    assert problem in str(raised.value)


def test_rules_may_name_users_that_only_certificates_have():
    with proxied(TLS, '[access]\nrules = allow user:nobody-yet any\n') as (_address, proxy, _origin):
        assert proxy.server.proxy.warnings(0) == []
