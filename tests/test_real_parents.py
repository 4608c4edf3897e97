"""Other proxies as parents: squid, tinyproxy, Apache, HAProxy, microsocks, Dante, ssh -D, cntlm, and geproxy itself.

Each is started once, and serves origins at an address of its own, 127.0.1.N, so that one geproxy has routes to them all.
"""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import hashlib
import os
import re
import signal
import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, free_port, listening, proxying, read_all, read_until
from processes import Process, folder, run, wait_until, write
from test_squid import SQUID
from test_tls import path as pem
from ways import noise, receive, same

from geproxy.compat import to_native

pytestmark = pytest.mark.programs

SIZE = int(os.environ.get('PARENTS_SIZE', 3000000))         # octets of each body; for a closer look, take 100000000
PASSWORD = b's3cret # and more'
LOGIN = 'user = joe\npassword = %s\n' % PASSWORD.decode('ascii')
WRONG = 'user = joe\npassword = wrong\n'

# A parent: its URL, with the names of ports; its lines in the file of parents; and the programs that must run for it, the
# parent itself last.
Kind = collections.namedtuple('Kind', 'url login needs')
KINDS = collections.OrderedDict((
    ('squid', Kind('http://127.0.0.1:{squid}', '', ['squid'])),
    ('squid with Basic', Kind('http://127.0.0.1:{locked}', LOGIN, ['squid'])),
    ('haproxy with TLS', Kind('https://localhost:{haproxy}', 'ca = CA\n', ['squid', 'haproxy'])),
    ('stunnel with TLS', Kind('https://localhost:{stunnel}', LOGIN + 'ca = CA\ncertificate = JOE.pem\nkey = JOE.key\n', ['squid', 'stunnel'])),
    ('tinyproxy', Kind('http://127.0.0.1:{tinyproxy}', LOGIN.replace(' # and more', ''), ['tinyproxy'])),
    ('apache', Kind('http://127.0.0.1:{apache}', LOGIN, ['apache'])),
    ('cntlm', Kind('http://127.0.0.1:{cntlm}', '', ['squid', 'cntlm'])),
    ('geproxy', Kind('http://127.0.0.1:{geproxy}', '', [])),
    ('microsocks', Kind('socks5h://127.0.0.1:{microsocks}', '', ['microsocks'])),
    ('microsocks with login', Kind('socks5://127.0.0.1:{locked_socks}', LOGIN, ['locked_socks'])),
    ('dante', Kind('socks5h://127.0.0.1:{dante}', '', ['dante'])),
    ('ssh', Kind('socks5h://127.0.0.1:{ssh}', '', ['sshd', 'ssh'])),
    ('ssh by SOCKS 4a', Kind('socks4a://127.0.0.1:{ssh}', '', ['sshd', 'ssh'])),
))
ADDRESSES = dict((name, '127.0.1.%d' % number) for number, name in enumerate(KINDS, 1))
# The same with a wrong log-in: another spelling of their address makes them other parents.
WRONG_LOGINS = ['squid with Basic', 'tinyproxy', 'apache', 'microsocks with login']
CLOSING = ['tinyproxy', 'cntlm']        # these close after each response
# Those that can be killed, in this order: squid, which is behind others, last.
KILLED = [name for name in KINDS if name not in ('ssh by SOCKS 4a', 'geproxy', 'squid', 'squid with Basic')] + ['squid']

SQUID_CONF = '''
http_port 127.0.0.1:{squid}
http_port 127.0.0.1:{locked} name=locked
auth_param basic program /usr/lib/squid/basic_ncsa_auth {here}/passwords
auth_param basic children 1
acl locked myportname locked
acl known proxy_auth REQUIRED
dns_nameservers 127.0.0.1
pid_filename none
cache_log /dev/null
access_log none
netdb_filename none
pinger_enable off
cache deny all
coredump_dir none
shutdown_lifetime 0 seconds
http_access deny locked !known
http_access allow all
'''
HAPROXY_CONF = '''
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen tls
    bind 127.0.0.1:{haproxy} ssl crt {here}/proxy.pem
    server squid 127.0.0.1:{squid}
'''
STUNNEL_CONF = '''
foreground = yes
pid =
[squid]
accept = 127.0.0.1:{stunnel}
connect = 127.0.0.1:{locked}
cert = {here}/proxy.pem
CAfile = {here}/ca.pem
verifyChain = yes
'''
TINYPROXY_CONF = '''
Port {tinyproxy}
Listen 127.0.0.1
BasicAuth joe s3cret
MaxClients 50
StartServers 5
'''
APACHE_CONF = '''
ServerName parent.test
Listen 127.0.0.1:{apache}
PidFile {here}/apache.pid
ErrorLog {here}/apache.log
LoadModule mpm_event_module MODULES/mod_mpm_event.so
LoadModule authn_core_module MODULES/mod_authn_core.so
LoadModule authn_file_module MODULES/mod_authn_file.so
LoadModule authz_core_module MODULES/mod_authz_core.so
LoadModule authz_user_module MODULES/mod_authz_user.so
LoadModule auth_basic_module MODULES/mod_auth_basic.so
LoadModule proxy_module MODULES/mod_proxy.so
LoadModule proxy_http_module MODULES/mod_proxy_http.so
LoadModule proxy_connect_module MODULES/mod_proxy_connect.so
ProxyRequests On
ProxyVia On
AllowCONNECT {origin}
<Proxy *>
    AuthType Basic
    AuthName parent
    AuthUserFile {here}/passwords
    Require valid-user
</Proxy>
'''.replace('MODULES', '/usr/lib/apache2/modules')
DANTE_CONF = '''
logoutput: stderr
internal: 127.0.0.1 port = {dante}
external: lo
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
'''
SSHD_CONF = '''
ListenAddress 127.0.0.1:{sshd}
HostKey {here}/key
AuthorizedKeysFile {here}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
MaxStartups 100
'''
CNTLM_CONF = '''
Username joe
Domain test
Password unused
Proxy 127.0.0.1:{squid}
Listen 127.0.0.1:{cntlm}
'''
# The programs: name, path, arguments, the text of their configuration (FILE). They start in this order.
PROGRAMS = [
    ('squid', SQUID, ['-N', '-n', 'parents%d' % os.getpid(), '-f', 'FILE'], SQUID_CONF),
    ('haproxy', '/usr/sbin/haproxy', ['-db', '-f', 'FILE'], HAPROXY_CONF),
    ('stunnel', '/usr/bin/stunnel', ['FILE'], STUNNEL_CONF),
    ('tinyproxy', '/usr/bin/tinyproxy', ['-d', '-c', 'FILE'], TINYPROXY_CONF),
    ('apache', '/usr/sbin/apache2', ['-DFOREGROUND', '-f', 'FILE'], APACHE_CONF),
    ('cntlm', '/usr/sbin/cntlm', ['-f', '-c', 'FILE'], CNTLM_CONF),
    ('microsocks', '/usr/bin/microsocks', ['-i', '127.0.0.1', '-p', '{microsocks}'], ''),
    ('locked_socks', '/usr/bin/microsocks', ['-i', '127.0.0.1', '-p', '{locked_socks}', '-u', 'joe', '-P', PASSWORD.decode('ascii')], ''),
    ('dante', '/usr/sbin/danted', ['-f', 'FILE'], DANTE_CONF),
    ('sshd', '/usr/sbin/sshd', ['-D', '-e', '-f', 'FILE'], SSHD_CONF),
    ('ssh', '/usr/bin/ssh', ['-F', 'none', '-N', '-D', '127.0.0.1:{ssh}', '-p', '{sshd}', '-i', '{here}/key', '-o', 'BatchMode=yes',
                             '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '127.0.0.1'], ''),
]
BODY = noise(1000030)


class Origin(object):
    """An origin for all. GET /N: N octets. GET /held: half of the octets, then the rest when `go` is set. PUT: the digest
    of the body. Upgrade: 101, and an echo. `heads`: what came."""

    def __init__(self):
        self.heads, self.go = [], Event()

    def __call__(self, sock):
        try:
            head = read_until(sock, b'\r\n\r\n')
            while head:
                self.heads.append(head)
                self._answer(sock, *head.partition(b'\r\n\r\n')[::2])
                head = read_until(sock, b'\r\n\r\n')
        except socket.error:
            pass                    # its parent was killed, or nobody needs a kept connection any more

    def _answer(self, sock, head, rest):
        length = re.search(br'(?im)^Content-Length: (\d+)\r?$', head)
        if head.startswith(b'PUT '):
            body = rest + receive(sock, int(length.group(1)) - len(rest))
            answer = hashlib.sha256(body).hexdigest().encode('ascii')
            sock.sendall(b'HTTP/1.1 201 Made\r\nContent-Length: %d\r\n\r\n%s' % (len(answer), answer))
        elif re.search(br'(?im)^Upgrade: websocket\r?$', head):
            sock.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n' + rest)
            data = sock.recv(65536)
            while data:
                sock.sendall(data)
                data = sock.recv(65536)
        else:
            size = int(re.search(br' (?:http://[^/]*)?/(\d+) ', head).group(1))
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nContent-Length: %d\r\n\r\n' % size)
            body = octets(size)
            if b'x-hold' in head.lower():
                sock.sendall(body[:size // 2])
                self.go.wait(PATIENCE)
                body = body[size // 2:]
            sock.sendall(body)


def octets(size):
    """Return that many octets, always the same ones."""
    return (BODY * (size // len(BODY) + 1))[:size]


class World(object):
    """All programs that are here, and a geproxy at `address` with routes through them. `missing`: {name of a program: why
    it is not there}; `recorder`: a Recorder; `origin`: the Origin."""

    def __init__(self, stack):
        self.origin, self.missing, self.programs = Origin(), {}, {}
        self.here = stack(folder())
        os.chmod(self.here, 0o755)          # squid and Apache, started by root, read it as somebody else
        self.ports = dict((name, free_port()) for name in [program[0] for program in PROGRAMS] + ['locked'])
        self.ports['origin'] = stack(listening(self.origin, '0.0.0.0'))[1]
        self._write_files()
        for program in PROGRAMS:
            self._start(stack, *program)
        self.ports['geproxy'] = self._chain(stack)
        rows, logins = [], []
        for name, kind in KINDS.items():
            rows.append('    %s %s' % (ADDRESSES[name], kind.url.format(**self.ports)))
            logins.append('[%s]\n%s' % (kind.url.format(**self.ports), kind.login))
        for name in WRONG_LOGINS:
            url = KINDS[name].url.replace('127.0.0.1', 'localhost').format(**self.ports)
            rows.append('    %s %s' % (ADDRESSES[name].replace('127.0.1', '127.0.2'), url))
            logins.append('[%s]\n%s' % (url, WRONG))
        write(os.path.join(self.here, 'parents'), ''.join(logins).replace('CA', 'ca.pem').replace('JOE', 'joe'))
        os.chmod(os.path.join(self.here, 'parents'), 0o600)
        self.address, self.recorder = stack(proxying('[proxy]\nname = first\n[upstream]\nparents = %s/parents\nroutes =\n%s\n' % (
            self.here, '\n'.join(rows))))

    def _write_files(self):
        for name in ('ca.pem', 'joe.pem', 'joe.key'):
            with open(pem(name)) as opened:
                write(os.path.join(self.here, name), opened.read())
        with open(pem('proxy.test.pem')) as opened, open(pem('proxy.test.key')) as key:
            write(os.path.join(self.here, 'proxy.pem'), opened.read() + key.read())
        hashed = run(['openssl', 'passwd', '-apr1', PASSWORD.decode('ascii')])
        hashed.wait()
        write(os.path.join(self.here, 'passwords'), 'joe:' + to_native(hashed.out))
        assert run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', os.path.join(self.here, 'key')]).wait() == 0

    def _start(self, stack, name, path, arguments, conf):
        if not os.access(path, os.X_OK):
            self.missing[name] = 'no %s' % path
            return
        values = dict(self.ports, here=self.here)
        file = os.path.join(self.here, name + '.conf')
        write(file, conf.format(**values))
        self.programs[name] = program = Process(
            [path] + [word.replace('FILE', file).format(**values) for word in arguments], preexec_fn=os.setsid)
        stack(ending(program))
        wait_until(lambda: program.popen.poll() is not None or accepts(self.ports[name]), 'a port of %s: %r' % (name, program))
        if program.popen.poll() is not None:
            assert os.geteuid() != 0, program           # as another user, some of them do not start
            self.missing[name] = '%r' % program

    def _chain(self, stack):
        """Run two geproxys, one behind the other. Return the port of the nearer one."""
        (_host, port), _ = stack(proxying('[proxy]\nname = third\n[access]\nloopback = auto\n'))
        return stack(proxying('[proxy]\nname = second\n[upstream]\nroutes = any http://127.0.0.1:%d\n' % port))[0][1]

    def target(self, kind, wrong=False):
        """Return host:port of the origin that the parent of this kind leads to. Skip if it is missing."""
        for name in KINDS[kind].needs:
            if name in self.missing:
                pytest.skip(self.missing[name])
        address = ADDRESSES[kind].replace('127.0.1', '127.0.2') if wrong else ADDRESSES[kind]
        return ('%s:%d' % (address, self.ports['origin'])).encode('ascii')

    def tunnel(self, kind, wrong=False):
        """Return (a socket, the head of the answer to CONNECT)."""
        sock, target = connect(self.address), self.target(kind, wrong)
        sock.sendall(b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (target, target))
        return sock, read_until(sock, b'\r\n\r\n')


@contextlib.contextmanager
def ending(program):
    """End a program with all its children after the block, in peace if it can."""
    try:
        yield
    finally:
        try:
            os.killpg(program.pid, signal.SIGTERM)
            gevent.sleep(0.1)
            os.killpg(program.pid, signal.SIGKILL)
        except OSError:
            pass
        program.end()


def accepts(port):
    try:
        connect(('127.0.0.1', port)).close()
        return True
    except socket.error:
        return False


@pytest.fixture(scope='module')
def world():
    """The World, once for all tests."""
    opened = []

    def stack(manager):
        value = manager.__enter__()
        opened.append(manager)
        return value
    try:
        yield World(stack)
    finally:
        for manager in reversed(opened):
            manager.__exit__(None, None, None)


def url(target, size):
    return b'GET http://%s/%d HTTP/1.1\r\nHost: %s\r\n' % (target, size, target)


def body_of(answer):
    return answer.partition(b'\r\n\r\n')[2]


@pytest.mark.parametrize('kind', KINDS)
def test_downloads_by_one_connection_and_an_upload(world, kind):
    target, body, sock = world.target(kind), octets(SIZE), connect(world.address)
    before = len(world.recorder.records)
    for _ in range(2):
        sock.sendall(url(target, SIZE) + b'\r\n')
        head = read_until(sock, b'\r\n\r\n')
        assert head.startswith(b'HTTP/1.1 200 OK\r\n'), head
        came = body_of(head)
        assert same(came + receive(sock, SIZE - len(came)), body)
    sock.sendall(b'PUT http://%s/ HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n' % (target, target, SIZE) + body)
    assert body_of(answer_to_put(sock)) == hashlib.sha256(body).hexdigest().encode('ascii')
    sock.close()
    records = world.recorder.wait(before + 3)[before:]
    assert [record.route for record in records] == [KINDS[kind].url.format(**world.ports)] * 3
    assert [record.kept for record in records[:2]] == [False, kind not in CLOSING]


def answer_to_put(sock):
    """Return the whole answer of the Origin to a PUT."""
    answer = read_until(sock, b'\r\n\r\n')
    assert len(body_of(answer)) <= 64, answer           # else it is an error
    return answer + receive(sock, 64 - len(body_of(answer)))


@pytest.mark.parametrize('kind', KINDS)
def test_connect_leads_to_the_origin(world, kind):
    sock, head = world.tunnel(kind)
    assert head.startswith(b'HTTP/1.1 200 '), head
    sock.sendall(b'GET /%d HTTP/1.1\r\nHost: x\r\n\r\n' % SIZE)
    answer = read_until(sock, b'\r\n\r\n')
    assert same(body_of(answer) + receive(sock, SIZE - len(body_of(answer))), octets(SIZE))
    body = octets(SIZE)
    sock.sendall(b'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % SIZE + body)
    assert body_of(answer_to_put(sock)) == hashlib.sha256(body).hexdigest().encode('ascii')
    sock.close()


@pytest.mark.parametrize('kind', KINDS)
def test_a_websocket_leads_to_the_origin(world, kind):
    target, sock = world.target(kind), connect(world.address)
    sock.sendall(b'GET http://%s/ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n' % (target, target))
    assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 101 ')
    for _ in range(3):
        sock.sendall(b'hello')
        assert receive(sock, 5) == b'hello'
    sock.close()


@pytest.mark.parametrize('kind', WRONG_LOGINS)
def test_a_wrong_login_is_told_in_words(world, kind):
    target = world.target(kind, wrong=True)
    answers = [ask(world.address, b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (target, target))]
    if kind != 'tinyproxy':             # it answers 401, as if it were the origin
        answers.append(ask(world.address, url(target, 5) + b'Connection: close\r\n\r\n'))
    for answer in answers:
        assert answer.startswith(b'HTTP/1.1 502 ') and b'parent_login_failed' in answer, answer
        assert b'it does not accept the user and password' in answer and b'uthenticate:' not in answer


@pytest.mark.parametrize('kind', KILLED)
def test_a_parent_that_is_killed_in_the_middle(world, kind):
    target, sock = world.target(kind), connect(world.address)
    world.origin.go.clear()
    sock.sendall(url(target, 2000000) + b'X-Hold: x\r\n\r\n')
    head = read_until(sock, b'\r\n\r\n')
    came = body_of(head)
    came += receive(sock, 100000 - len(came))
    tunnel, answer = world.tunnel(kind)
    assert answer.startswith(b'HTTP/1.1 200 ')
    program = world.programs[KINDS[kind].needs[-1]]
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except OSError:
        assert kind == 'stunnel with TLS'
    program.popen.wait()
    assert len(came + read_all(sock)) < 2000000
    assert read_all(tunnel) == b''
    world.origin.go.set()
    for each in (sock, tunnel):
        each.close()
    answer = ask(world.address, url(target, 5) + b'Connection: close\r\n\r\n')
    assert answer.startswith(b'HTTP/1.1 502 ') and b'parent_failed' in answer, answer
