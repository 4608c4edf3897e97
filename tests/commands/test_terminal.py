"""The terminal that commands run on. Each test makes a real one."""
from __future__ import absolute_import, division, print_function

import fcntl
import os
import pty
import signal
import struct
import termios

import gevent
import gevent.socket
import pytest
from helpers import PATIENCE, listening, read_all
from processes import CHECKOUT, GEPROXY, Client, get, own, wait_until
from test_admin_commands import command, two


def on_a_terminal(columns, arguments, *steps):
    """Run geproxy on a terminal with `columns` columns. Return (the status of waitpid, all octets that it showed).

    Each of `steps` is a pair: octets to wait for, after those of the step before; and then either octets to type or a
    function to call.
    """
    shown, seen, steps = b'', 0, list(steps)
    pid, terminal = pty.fork()
    if not pid:
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 25, columns, 0, 0))
            os.chdir(CHECKOUT)
            os.environ.pop('NO_COLOR', None)
            os.execv(GEPROXY[0], GEPROXY + arguments)
        finally:
            os._exit(99)
    try:
        with gevent.Timeout(PATIENCE, AssertionError('no end')):
            while True:
                gevent.socket.wait_read(terminal)
                try:
                    data = os.read(terminal, 65536)
                except OSError:         # on Linux: nobody has the other end open any more
                    data = b''
                shown += data
                if not data:
                    break
                if steps and steps[0][0] in shown[seen:]:
                    seen, then = len(shown), steps.pop(0)[1]
                    if callable(then):
                        then()
                    else:
                        os.write(terminal, then)
        return os.waitpid(pid, 0)[1], shown
    finally:
        os.close(terminal)


def test_top_ends_when_its_terminal_is_closed():
    with two() as (_proxies, where):
        pid, terminal = pty.fork()
        if not pid:
            try:
                os.chdir(CHECKOUT)
                os.execv(GEPROXY[0], GEPROXY + ['top'] + where)
            finally:
                os._exit(99)
        shown = b''
        with gevent.Timeout(PATIENCE, AssertionError('no view')):
            while b'REQUESTS' not in shown:
                gevent.socket.wait_read(terminal)
                shown += os.read(terminal, 65536)
        os.close(terminal)
        with gevent.Timeout(PATIENCE, AssertionError('no end')):
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                gevent.sleep(0.02)


@pytest.mark.parametrize('name,until', [('tail', b'\x1b[2m'), ('top', b'127.0.0.1')])
def test_control_c_ends_a_command_without_any_text(name, until):
    with two() as (proxies, where), Client(proxies[0].address) as client:
        asking = gevent.spawn(lambda: [client.ask(own()) and gevent.sleep(0.05) for _ in range(1000)])
        often = ['--for', '200ms'] if name == 'top' else []
        code, shown = on_a_terminal(80, [name] + often + where, (until, b'\x03'))
        asking.kill()
        assert code & 127 == signal.SIGINT
        if name == 'tail':
            assert shown.rpartition(b'^C')[2].strip() == b''
        else:
            assert shown.endswith(b'127.0.0.1\r\n')        # the last view, and nothing behind it
        assert b'Traceback' not in shown and b'KeyboardInterrupt' not in shown


def test_rows_are_cut_on_a_terminal_and_whole_in_a_pipe():
    with two() as (proxies, where), listening(read_all) as origin, Client(proxies[0].address) as client:
        client.send(get(origin, b'/' + b'x' * 300))
        wait_until(lambda: 'waiting' in command('ps', *where)[1], 'the request')
        code, shown = on_a_terminal(70, ['ps'] + where)
        lines = shown.decode('ascii').splitlines()
        assert code == 0 and max(map(len, lines)) == 70
        assert [line[-3:] for line in lines if ' waiting ' in line] == ['...']
        assert 'x' * 300 + ' to 127.0.0.1 [' in command('ps', *where)[1]
