"""The same policy in the words of squid and in ours: both decide alike, asked over real sockets."""
from __future__ import absolute_import, division, print_function

import os
import signal

import pytest
from helpers import connect, free_port, listening, proxying, read_until
from processes import folder, process, write

from geproxy.upstream.resolver import Resolver

pytestmark = pytest.mark.programs

SQUID = '/usr/sbin/squid'               # Debian's

# Each of our rules with what squid has for it. PORT is that of an origin.
PAIRS = [
    ('deny 127.0.0.7 any', '''
        acl banned src 127.0.0.7
        http_access deny banned'''),
    ('deny any .blocked.test,bad.shared.test', '''
        acl blocked dstdomain -n .blocked.test bad.shared.test
        http_access deny blocked'''),
    ('deny any 127.0.0.4,127.0.0.64/26,[::1]', '''
        acl lab dst 127.0.0.4 127.0.0.64/26 ::1
        http_access deny lab'''),
    ('deny any PUT,DELETE any', '''
        acl writing method PUT DELETE
        http_access deny writing'''),
    ('deny any any:6660-6669', '''
        acl irc port 6660-6669
        http_access deny irc'''),
    ('allow 127.0.0.8,127.0.0.16/28 .admin.test', '''
        acl admins src 127.0.0.8 127.0.0.16/28
        acl admin dstdomain -n .admin.test
        http_access allow admins admin'''),
    ('allow any https://.tunnel.test:443,PORT', '''
        acl tunnel dstdomain -n .tunnel.test
        acl tls port 443 PORT
        http_access allow CONNECT tunnel tls'''),
    ('allow any GET,HEAD http://.read.test', '''
        acl read dstdomain -n .read.test
        acl reading method GET HEAD
        http_access allow reading read'''),
    ('allow any http://.plain.test', '''
        acl plain dstdomain -n .plain.test
        http_access allow !CONNECT plain'''),
    ('allow any *.below.test', '''
        acl below dstdomain -n .below.test
        acl itself dstdomain -n below.test
        http_access allow below !itself'''),
    ('allow any .good.test,exact.test,.shared.test', '''
        acl good dstdomain -n .good.test exact.test .shared.test
        http_access allow good'''),
    ('allow 127.0.0.1 127.0.0.5', '''
        acl here src 127.0.0.1
        acl there dst 127.0.0.5
        http_access allow here there'''),
]

SQUID_CONF = '''
http_port 127.0.0.1:LISTEN
hosts_file FOLDER/hosts
dns_nameservers 127.0.0.1
pid_filename none
cache_log /dev/null
access_log none
netdb_filename none
pinger_enable off
cache deny all
coredump_dir none
shutdown_lifetime 0 seconds
acl CONNECT method CONNECT
%s
http_access deny all
'''

HOSTS = dict((host, '127.0.0.3') for host in '''
    blocked.test www.blocked.test xblocked.test blocked.test.good.test bad.shared.test www.bad.shared.test shared.test
    admin.test www.admin.test tunnel.test www.tunnel.test read.test www.read.test plain.test www.plain.test below.test
    www.below.test a.b.below.test good.test www.good.test a.b.good.test xgood.test exact.test www.exact.test test'''.split())
HOSTS.update({'lab.good.test': '127.0.0.4', 'lab2.good.test': '127.0.0.70', 'five.test': '127.0.0.5', 'six.test': '127.0.0.6'})

# client  method  target  verdict
CASES = '''
127.0.0.1   GET     http://www.good.test:PORT/          allow
127.0.0.1   GET     http://good.test:PORT/              allow
127.0.0.1   GET     http://a.b.good.test:PORT/          allow
127.0.0.1   GET     http://WWW.Good.TEST:PORT/          allow
127.0.0.1   GET     http://www.good.test.:PORT/         allow
127.0.0.1   GET     http://xgood.test:PORT/             deny
127.0.0.1   GET     http://test:PORT/                   deny
127.0.0.1   POST    http://www.good.test:PORT/          allow
127.0.0.1   PUT     http://www.good.test:PORT/          deny
127.0.0.1   DELETE  http://www.good.test:PORT/          deny
127.0.0.1   OPTIONS http://www.good.test:PORT/          allow
127.0.0.1   CONNECT www.good.test:PORT                  allow
127.0.0.1   GET     http://www.good.test/               allow
127.0.0.7   GET     http://www.good.test:PORT/          deny
127.0.0.7   CONNECT www.good.test:PORT                  deny
127.0.0.6   GET     http://www.good.test:PORT/          allow
127.0.0.1   GET     http://exact.test:PORT/             allow
127.0.0.1   GET     http://www.exact.test:PORT/         deny
127.0.0.1   GET     http://blocked.test:PORT/           deny
127.0.0.1   GET     http://www.blocked.test:PORT/       deny
127.0.0.1   GET     http://BLOCKED.test:PORT/           deny
127.0.0.1   GET     http://blocked.test.:PORT/          deny
127.0.0.1   GET     http://blocked.test.good.test:PORT/ allow
127.0.0.1   CONNECT blocked.test:PORT                   deny
127.0.0.1   GET     http://shared.test:PORT/            allow
127.0.0.1   GET     http://bad.shared.test:PORT/        deny
127.0.0.1   GET     http://www.bad.shared.test:PORT/    allow
127.0.0.1   GET     http://lab.good.test:PORT/          deny
127.0.0.1   CONNECT lab.good.test:PORT                  deny
127.0.0.1   GET     http://lab2.good.test:PORT/         deny
127.0.0.1   GET     http://127.0.0.4:PORT/              deny
127.0.0.1   GET     http://127.0.0.127:PORT/            deny
127.0.0.1   GET     http://127.0.0.128:PORT/            deny
127.0.0.1   GET     http://[::1]:PORT/                  deny
127.0.0.1   GET     http://[::ffff:127.0.0.4]:PORT/     deny
127.0.0.1   GET     http://127.0.0.5:PORT/              allow
127.0.0.1   CONNECT 127.0.0.5:PORT                      allow
127.0.0.1   GET     http://[::ffff:127.0.0.5]:PORT/     allow
127.0.0.1   GET     http://five.test:PORT/              allow
127.0.0.2   GET     http://five.test:PORT/              deny
127.0.0.2   GET     http://127.0.0.5:PORT/              deny
127.0.0.1   GET     http://six.test:PORT/               deny
127.0.0.1   GET     http://127.0.0.6:PORT/              deny
127.0.0.1   GET     http://www.good.test:6667/          deny
127.0.0.1   CONNECT www.good.test:6660                  deny
127.0.0.1   GET     http://www.good.test:6670/          allow
127.0.0.1   GET     http://www.admin.test:PORT/         deny
127.0.0.8   GET     http://www.admin.test:PORT/         allow
127.0.0.16  GET     http://admin.test:PORT/             allow
127.0.0.31  CONNECT admin.test:PORT                     allow
127.0.0.32  GET     http://admin.test:PORT/             deny
127.0.0.8   DELETE  http://admin.test:PORT/             deny
127.0.0.1   CONNECT www.tunnel.test:PORT                allow
127.0.0.1   CONNECT tunnel.test:443                     allow
127.0.0.1   CONNECT tunnel.test:444                     deny
127.0.0.1   GET     http://tunnel.test:PORT/            deny
127.0.0.1   GET     http://read.test:PORT/              allow
127.0.0.1   HEAD    http://www.read.test:PORT/          allow
127.0.0.1   POST    http://read.test:PORT/              deny
127.0.0.1   CONNECT read.test:PORT                      deny
127.0.0.1   POST    http://plain.test:PORT/             allow
127.0.0.1   CONNECT plain.test:PORT                     deny
127.0.0.1   GET     http://below.test:PORT/             deny
127.0.0.1   GET     http://www.below.test:PORT/         allow
127.0.0.1   GET     http://a.b.below.test:PORT/         allow
'''.strip().split('\n')


def answer(sock):
    """An origin: an answer, whatever is asked; in a tunnel, nothing is."""
    if read_until(sock, b'\r\n\r\n'):
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')


@pytest.fixture(scope='module')
def origin_port():
    """The port of an origin on all addresses of this host."""
    with listening(answer, '0.0.0.0') as (_host, port):
        yield port


@pytest.fixture(scope='module')
def squid(origin_port):
    """The (host, port) of a squid with our policy in its words."""
    if not os.access(SQUID, os.X_OK):
        pytest.skip('no %s to compare with: apt-get install squid' % SQUID)
    port = free_port()
    with folder() as here:
        os.chmod(here, 0o755)           # started by root, it reads its hosts as somebody else
        conf = SQUID_CONF % '\n'.join(theirs for _ours, theirs in PAIRS)
        for word, value in (('LISTEN', port), ('FOLDER', here), ('PORT', origin_port)):
            conf = conf.replace(word, str(value))
        write(os.path.join(here, 'squid.conf'), conf)
        write(os.path.join(here, 'hosts'), ''.join('%s %s\n' % (address, host) for host, address in HOSTS.items()))
        # Its shared memory has the name of the service, and is left behind unless it may end in peace.
        service = 'geproxy%d' % os.getpid()
        with process([SQUID, '-N', '-d1', '-n', service, '-f', os.path.join(here, 'squid.conf')]) as started:
            started.wait_for(br'Accepting HTTP Socket connections at (?:\S+ )?local=127\.0\.0\.1:%d ' % port)
            yield '127.0.0.1', port
            started.tell(signal.SIGTERM)
            started.wait()


def look_up(host):
    """Stands where resolver.look_up does: what squid's hosts file says."""
    return [HOSTS[host.rstrip('.').lower()]]


@pytest.fixture(scope='module')
def ours(origin_port):
    """The (host, port) of a geproxy with the same policy."""
    rules = ''.join('  %s\n' % ours for ours, _theirs in PAIRS).replace('PORT', str(origin_port))
    with proxying('[access]\nrules =\n' + rules) as (address, proxy):
        proxy.server.proxy.upstream.dialling.resolver = Resolver(ask=look_up)
        yield address


def verdict(proxy, client, octets):
    """`allow` or `deny`: what a proxy answers to a request of a client. Whether an origin answers is another matter."""
    sock = connect(proxy, client)
    try:
        sock.sendall(octets)
        line = read_until(sock, b'\r\n').partition(b'\r\n')[0]
        assert line.startswith(b'HTTP/1.1 '), line
        return {b'200': 'allow', b'502': 'allow', b'503': 'allow', b'403': 'deny'}[line[9:12]]
    finally:
        sock.close()


@pytest.mark.parametrize('case', CASES)
def test_squid_and_we_decide_alike(squid, ours, origin_port, case):
    client, method, target, expected = case.replace('PORT', str(origin_port)).split()
    octets = ('%s %s HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n' % (method, target)).encode('ascii')
    assert (verdict(ours, client, octets), verdict(squid, client, octets)) == (expected, expected)
