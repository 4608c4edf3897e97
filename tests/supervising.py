"""A real supervisord with the very text of conf/supervisord.conf, but for paths and ports: started, asked, and always ended."""
from __future__ import absolute_import, division, print_function

import contextlib
import getpass
import os
import re
import signal
import socket
import sys

import gevent
from helpers import PATIENCE
from processes import CHECKOUT, PYTHON, Client, folder, get, process, read, run, write

from geproxy.commands import docs

CONF = os.path.join(CHECKOUT, 'conf', 'supervisord.conf')
SECOND_FORM = '; --- The other form'

# Where there may be a supervisord, with its supervisorctl: beside this interpreter, and the distribution's.
PLACES = {'python': os.path.dirname(os.path.abspath(sys.executable)), 'distribution': '/usr/bin'}


@contextlib.contextmanager
def supervised(where, form='program', access='FOLDER/access.log', bad='', ini=None, settle=None, python=PYTHON[0]):
    """A supervisord that was told to start geproxy: a Supervisor. `access`: the option in [log] of proxy.ini, all of
    which is json; `bad`: lines that spoil the file; `ini`: its text, instead of all this, with FOLDER in it; `settle`:
    what startsecs and stopwaitsecs are to be; `python`: that runs geproxy."""
    with folder() as here:
        port = free_port()
        text = docs.example()
        for name, value in (('listen', '127.0.0.1:%d' % port), ('connect_ports', 'any'), ('http_ports', 'any'),
                            ('access', access.replace('FOLDER', here)), ('format', 'json')):
            text = re.sub(r'(?m)^%s = .*' % name, '%s = %s' % (name, value), text, count=1)     # [admin] listens, too
        write(os.path.join(here, 'proxy.ini'), text + bad if ini is None else ini.replace('FOLDER', here))
        orders = conf(form, here, port).replace('command=' + PYTHON[0], 'command=' + python)
        for name, seconds in zip(('startsecs', 'stopwaitsecs'), settle or ()):
            orders = re.sub(r'(?m)^%s=.*' % name, '%s=%d' % (name, seconds), orders)
        write(os.path.join(here, 'supervisord.conf'), orders)
        if form == 'fcgi-program':
            # As the comments there say, to the letter.
            command = re.search(r'(?m)^; +(sed .* > .*fcgi\.ini)$', conf(form, here, port)).group(1)
            assert run(['/bin/sh', '-c', command]).popen.returncode == 0
        supervisor = Supervisor(where, here, port)
        try:
            yield supervisor
        finally:
            supervisor.end()


def conf(form, here, port):
    """The text of conf/supervisord.conf for 'program' or 'fcgi-program', with the paths and the port of a test."""
    with open(CONF) as opened:
        text = opened.read()
    if form == 'fcgi-program':
        # As the comments there say: without the first form, and without the semicolons of the second.
        text = re.sub(r'(?s)\n\[program:geproxy\].*?\n(?=%s)' % SECOND_FORM, '\n', text)
        assert "sed -i 's/^;\\([^ ]\\)/\\1/' " in text
        text = re.sub(r'(?m)^;([^ \n])', r'\1', text)
    for old, new in (('/usr/bin/python3', PYTHON[0]), ('/opt/geproxy', CHECKOUT), ('/etc/geproxy', here),
                     ('/var/log/geproxy', here), ('/run/geproxy', here), ('user=geproxy', 'user=' + getpass.getuser()),
                     ('tcp://0.0.0.0:9000', 'tcp://127.0.0.1:%d' % port)):
        text = text.replace(old, new)
    ours = text.replace(PYTHON[0], '').replace(CHECKOUT, '')        # which may be in one of these
    assert not re.search(r'(?m)^[^;\n]*(?::9000|=/(?:etc|var|opt)/)', ours)
    return text


def free_port():
    """A port that nobody has at the moment."""
    sock = socket.socket()
    try:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]
    finally:
        sock.close()


class Supervisor(object):
    """A supervisord that runs; `here`: the folder with its files, `address`: geproxy's, `pid`: its own."""

    def __init__(self, where, here, port):
        self.here, self.address = here, ('127.0.0.1', port)
        self._ctl = os.path.join(where, 'supervisorctl')
        nowhere = {'http_proxy': 'http://127.0.0.1:9/', 'HTTP_PROXY': 'http://127.0.0.1:9/'}
        self._context = process([os.path.join(where, 'supervisord'), '-n', '-c', self._path('supervisord.conf')],
                                more_env=nowhere)
        self._process = self._context.__enter__()
        self.pid = self._process.pid

    def _path(self, name):
        return os.path.join(self.here, name)

    def ctl(self, *words):
        """Run supervisorctl to its end -> what it printed, native text."""
        with process([self._ctl, '-c', self._path('supervisord.conf')] + list(words)) as asked:
            asked.wait(3 * PATIENCE)
        return asked.out.decode('ascii')

    def roll(self, ini, python=PYTHON):
        """Run geproxy restart to its end -> (exit code, output, errors), native text. `python`: what runs it."""
        with process(python + ['-m', 'geproxy', 'restart', '-c', self._path(ini), '--supervisord',
                               self._path('supervisord.conf'), '--supervisorctl', self._ctl]) as asked:
            code = asked.wait(6 * PATIENCE)
        return code, asked.out.decode('ascii'), asked.err.decode('ascii')

    def log(self, name='geproxy.log'):
        """What stands in that log by now."""
        return read(self._path(name))

    def wait_for(self, pattern, name='geproxy.log', count=1, seconds=2 * PATIENCE):
        """Wait until `pattern` stands in that log so many times -> the last match."""
        with gevent.Timeout(seconds, False):
            while True:
                found = list(re.finditer(pattern, self.log(name)))
                if len(found) >= count:
                    return found[-1]
                gevent.sleep(0.05)
        raise AssertionError('no %d times %r in %s: %r\n%r' % (
            count, pattern, name, self.log(name)[-2000:], self._process))

    def geproxy(self, count=1, name='geproxy.log'):
        """Wait until geproxy has announced itself so many times -> its process id."""
        return int(self.wait_for(br'geproxy\[(\d+)\] listening on ', name, count).group(1))

    def serves(self, place):
        """Ask for something through geproxy; fails if that is not answered."""
        with Client(self.address) as client:
            assert client.ask(get(place)).endswith(b'\r\n\r\nfine')

    def end(self):
        """End it and all that it started, at once, and whatever state they are in."""
        self._context.__exit__(None, None, None)
        for pid in re.findall(br"spawned: '[^']*' with pid (\d+)", self.log('supervisord.log')):
            if self.here.encode('ascii') in read('/proc/%d/cmdline' % int(pid)):
                os.kill(int(pid), signal.SIGKILL)
