"""Certificates that change while a real process serves: no client notices, and a real curl logs in by its certificate."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import signal
import socket

import encrypted
import gevent
import pytest
from encrypted import pem
from helpers import PATIENCE, connect, listening
from processes import answering, get, run, running
from test_privileges import INI as AS_USER
from test_privileges import dropped, readable

from geproxy.net import certificates

pytestmark = pytest.mark.programs

INI = '''
[tls]
certificate = %(here)s/a.pem
key = %(here)s/a.key
clients = %(ca)s
[auth]
certificates = required
[access]
rules =
  allow user:joe any
'''


def put(here, name, only=('pem', 'key')):
    """Put the certificate and the key of a name in the place of those that are there."""
    for each in only:
        shutil.copyfile(pem('%s.%s' % (name, each)), os.path.join(here, 'new'))
        os.rename(os.path.join(here, 'new'), os.path.join(here, 'a.' + each))


def curl(proxy, origin, *words):
    """What curl shows and says of a request through the proxy -> octets."""
    found = run(['curl', '-sS', '--noproxy', '', '--max-time', '20', '-i'] + list(words) + ['http://%s:%d/' % origin])
    return found.out + found.err


def echo(sock):
    """Send back what comes, until the client has gone."""
    try:
        for data in iter(lambda: sock.recv(10), b''):
            sock.sendall(data)
    except socket.error:
        pass


class Load(object):
    """Clients that come again and again. `done`: how many requests; `wrong`: answers that were not the one of the origin."""

    def __init__(self, address, origin):
        self.done, self.wrong, self.names, self._over = 0, [], set(), False
        self._address, self._request = address, get(origin, more=b'Connection: close\r\n')
        self._greenlets = [gevent.spawn(self._run) for _ in range(3)]

    def _run(self):
        context = encrypted.client_context('joe')
        while not self._over:
            try:
                sock = context.wrap_socket(connect(self._address), server_hostname='localhost', suppress_ragged_eofs=False)
                self.names.add(certificates.user_of(sock.getpeercert()))
                sock.sendall(self._request)
                answer = encrypted.read_all(sock)
                sock.close()
            except Exception as error:          # whatever a client may meet
                answer = repr(error).encode('ascii', 'replace')
            if answer[-4:] != b'fine':
                self.wrong.append(answer)
            self.done += 1

    def more(self):
        """Wait until some more requests are done."""
        until = self.done + 10
        while self.done < until:
            gevent.sleep(0.01)

    def end(self):
        """Let the clients end when their requests are done."""
        self._over = True
        gevent.joinall(self._greenlets, timeout=PATIENCE)
        gevent.killall(self._greenlets)


def test_certificates_change_under_load(tmpdir):
    here = str(tmpdir)
    put(here, 'proxy.test')
    with listening(answering()) as origin, listening(echo) as place, running(
            INI % dict(here=here, ca=pem('ca.pem'))) as proxy:
        tunnel = encrypted.connect(proxy.address, encrypted.client_context('joe'))
        tunnel.sendall(b'CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n' % (place[0].encode('ascii'), place[1]))
        assert tunnel.recv(1000).startswith(b'HTTP/1.1 200 ')
        load = Load(proxy.address, origin)
        try:
            with gevent.Timeout(60, AssertionError('the load goes on too slowly, or not at all')):
                load.more()
                put(here, 'other.test', ['pem'])                # half of a pair
                proxy.wait_for(br'stay as they were: [^\n]*a\.key is not the key of [^\n]*a\.pem')
                proxy.tell(signal.SIGHUP)
                proxy.wait_for(br'SIGHUP: nothing changed, because of mistakes in the file:\n[^\n]*\[tls\] key')
                load.more()
                assert load.names == {b'proxy.test'}
                put(here, 'other.test', ['key'])
                proxy.wait_for(br'certificates reread: [^\n]*other\.test localhost')
                load.more()
                put(here, 'proxy.test')
                proxy.tell(signal.SIGHUP)                       # before the process has looked for itself
                proxy.wait_for(br'SIGHUP: \S+ read')
                load.more()
        finally:
            load.end()
        assert load.wrong == [] and load.names == {b'proxy.test', b'other.test'}
        tunnel.sendall(b'on')
        assert tunnel.recv(10) == b'on'
        tunnel.close()
        assert b'Traceback' not in proxy.err


@pytest.mark.skipif(not any(os.path.exists(os.path.join(each, 'curl')) for each in os.environ['PATH'].split(':')),
                    reason='this host has no curl')
def test_curl_logs_in_by_its_certificate(tmpdir):
    put(str(tmpdir), 'proxy.test')
    with listening(answering()) as origin, running(INI % dict(here=str(tmpdir), ca=pem('ca.pem'))) as proxy:
        by_tls = ['--proxy', 'https://localhost:%d' % proxy.address[1], '--proxy-cacert', pem('ca.pem')]
        joe = ['--proxy-cert', pem('joe.pem'), '--proxy-key', pem('joe.key')]
        assert curl(proxy, origin, *by_tls + joe).endswith(b'fine')
        assert proxy.wait_for(br'joe@127\.0\.0\.1|127\.0\.0\.1[^\n]* joe ', 'out')
        for words in (by_tls, ['--proxy', 'http://localhost:%d' % proxy.address[1]]):
            shown = curl(proxy, origin, *words)
            assert shown.startswith(b'HTTP/1.1 403 this proxy asks for a certificate of the client')
            assert b'reason: certificate_required' in shown and b'--proxy-cert FILE' in shown


@pytest.mark.skipif(os.getuid() != 0, reason='only root can switch to another user')
def test_a_key_of_root_is_read_before_the_switch_and_kept_by_reloads():
    more = '[tls]\ncertificate = a.pem\nkey = a.key\nclients = ca.pem\n'

    def fill(here):
        put(here, 'proxy.test')
        os.chmod(os.path.join(here, 'a.key'), 0o600)
        shutil.copyfile(pem('ca.pem'), os.path.join(here, 'ca.pem'))
    with dropped(readable(), ini=AS_USER + more, fill=fill) as proxy:
        proxy.wait_for(br'a\.key cannot be read by the user of this process')
        sock = encrypted.connect(proxy.address)
        assert certificates.user_of(sock.getpeercert()) == b'proxy.test'
        sock.close()
        proxy.tell(signal.SIGHUP)
        proxy.wait_for(br'SIGHUP: \S+ read\n')
        put(proxy.folder, 'other.test', ['pem'])
        put(proxy.folder, 'other.test', ['key'])
        os.chmod(os.path.join(proxy.folder, 'a.key'), 0o600)
        proxy.wait_for(br'the certificates stay as they were: \S*a\.key cannot be read')
        os.chmod(os.path.join(proxy.folder, 'a.key'), 0o644)
        proxy.wait_for(br'certificates reread: [^\n]*other\.test')
