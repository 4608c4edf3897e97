"""Run a real supervisord with the text of conf/supervisord.conf; only paths and ports are replaced."""
from __future__ import absolute_import, division, print_function

import contextlib
import getpass
import os
import re
import signal
import sys

import gevent
from helpers import PATIENCE, free_port
from processes import CHECKOUT, PYTHON, Client, folder, get, process, read, run, write

from geproxy.commands import docs

CONF = os.path.join(CHECKOUT, 'conf', 'supervisord.conf')
SECOND_FORM = '; --- The other form'

# Folders that may have supervisord and supervisorctl: that of this Python, and that of the distribution.
PLACES = {'python': os.path.dirname(os.path.abspath(sys.executable)), 'distribution': '/usr/bin'}


@contextlib.contextmanager
def supervised(where, form='program', access='FOLDER/access.log', bad='', ini=None, settle=None, python=PYTHON[0]):
    """Run a supervisord that starts geproxy, and give its Supervisor.

    `form`: of the section, 'program' or 'fcgi-program'; `access`: [log] access of proxy.ini, whose format is json;
    `bad`: wrong lines at the end of the file; `ini`: its whole text instead, in which FOLDER is replaced; `settle`:
    startsecs and stopwaitsecs, in seconds; `python`: the interpreter that runs geproxy.
    """
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
            # The command is in a comment there.
            command = re.search(r'(?m)^; +(sed .* > .*fcgi\.ini)$', conf(form, here, port)).group(1)
            assert run(['/bin/sh', '-c', command]).popen.returncode == 0
        supervisor = Supervisor(where, here, port)
        try:
            yield supervisor
        finally:
            supervisor.end()


def conf(form, here, port):
    """Return the text of conf/supervisord.conf for a `form`, with the paths and the port of a test."""
    with open(CONF) as opened:
        text = opened.read()
    if form == 'fcgi-program':
        # As the comments there say: remove the first form, and the semicolons of the second.
        text = re.sub(r'(?s)\n\[program:geproxy\].*?\n(?=%s)' % SECOND_FORM, '\n', text)
        assert "sed -i 's/^;\\([^ ]\\)/\\1/' " in text
        text = re.sub(r'(?m)^;([^ \n])', r'\1', text)
    for old, new in (('/usr/bin/python3', PYTHON[0]), ('/opt/geproxy', CHECKOUT), ('/etc/geproxy', here),
                     ('/var/log/geproxy', here), ('/run/geproxy', here), ('user=geproxy', 'user=' + getpass.getuser()),
                     ('tcp://0.0.0.0:9000', 'tcp://127.0.0.1:%d' % port)):
        text = text.replace(old, new)
    ours = text.replace(PYTHON[0], '').replace(CHECKOUT, '')        # these paths may contain such a name
    assert not re.search(r'(?m)^[^;\n]*(?::9000|=/(?:etc|var|opt)/)', ours)
    return text


class Supervisor(object):
    """A supervisord that runs. `here`: the folder of its files; `address`: of geproxy; `pid`: of supervisord."""

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
        """Run supervisorctl to its end, and return what it printed, native text."""
        with process([self._ctl, '-c', self._path('supervisord.conf')] + list(words)) as asked:
            asked.wait(3 * PATIENCE)
        return asked.out.decode('ascii')

    def roll(self, ini, python=PYTHON):
        """Run geproxy restart to its end. Return (exit code, output, errors), native text. `python`: its interpreter."""
        with process(python + ['-m', 'geproxy', 'restart', '-c', self._path(ini), '--supervisord',
                               self._path('supervisord.conf'), '--supervisorctl', self._ctl]) as asked:
            code = asked.wait(6 * PATIENCE)
        return code, asked.out.decode('ascii'), asked.err.decode('ascii')

    def log(self, name='geproxy.log'):
        """Return the octets of that log."""
        return read(self._path(name))

    def wait_for(self, pattern, name='geproxy.log', count=1, seconds=2 * PATIENCE):
        """Wait until `pattern` is in that log `count` times, and return the last match."""
        with gevent.Timeout(seconds, False):
            while True:
                found = list(re.finditer(pattern, self.log(name)))
                if len(found) >= count:
                    return found[-1]
                gevent.sleep(0.05)
        raise AssertionError('no %d times %r in %s: %r\n%r' % (
            count, pattern, name, self.log(name)[-2000:], self._process))

    def geproxy(self, count=1, name='geproxy.log'):
        """Wait until geproxy has said `count` times that it listens, and return its process id."""
        return int(self.wait_for(br'geproxy\[(\d+)\] listening on ', name, count).group(1))

    def serves(self, place):
        """Send a request through geproxy. Fail if it is not answered."""
        with Client(self.address) as client:
            assert client.ask(get(place)).endswith(b'\r\n\r\nfine')

    def end(self):
        """Kill it and all processes that it started."""
        self._context.__exit__(None, None, None)
        for pid in re.findall(br"spawned: '[^']*' with pid (\d+)", self.log('supervisord.log')):
            if self.here.encode('ascii') in read('/proc/%d/cmdline' % int(pid)):
                os.kill(int(pid), signal.SIGKILL)
