"""Addresses of this host, as its kernel has them."""
from __future__ import absolute_import, division, print_function

import pytest
from processes import GEPROXY, PYTHON, run

from geproxy.net import this_host
from geproxy.net.address import parse_ip


@pytest.mark.parametrize('text,expected', [
    ('127.0.0.1', True), ('127.255.0.9', True), ('::1', True), ('0.0.0.0', True), ('::', True),
    ('192.0.2.1', False), ('2001:db8::1', False),
])
def test_addresses_of_this_host_are_local(text, expected):
    assert this_host.is_local(parse_ip(text)) is expected


def test_an_address_that_cannot_be_asked_about_counts_as_one_of_this_host():
    # A client could take all descriptors, ask then for a service of this host, and give one back.
    asked = run(PYTHON + ['-c', '''
import resource, socket
from geproxy.net import this_host
from geproxy.net.address import parse_ip
this_host.is_local(parse_ip('192.0.2.1'))    # Python loads a codec for that
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
held = []
try:
    while True:
        held.append(socket.socket())
except socket.error:
    print(this_host.is_local(parse_ip('192.0.2.1')))
held.pop()
print(this_host.is_local(parse_ip('192.0.2.1')))
'''])
    assert asked.out.split() == [b'True', b'False'], asked.err


# In a network namespace of its own: addresses of interfaces, a second one of the same network, all of a network that is
# taken for local (as for transparent proxies); and with what makes that a socket can be bound to any address.
NAMESPACE = '''
ip link set lo up && ip addr add 198.41.0.4/24 dev lo && ip addr add 198.41.0.5/24 dev lo &&
ip addr add 2001:4860::4/64 dev lo nodad && ip route add local 198.41.2.0/24 dev lo &&
ip route add blackhole 198.41.3.0/24 &&
if test "$1" = nonlocal; then
    echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind && echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
fi &&
shift && exec "$@"
'''
LOCAL_PROGRAM = '''
import sys
from geproxy.net import this_host
from geproxy.net.address import parse_ip
print(' '.join(text for text in sys.argv[1:] if this_host.is_local(parse_ip(text))))
'''


def in_namespace(bind, arguments):
    """Run a program there -> its Process."""
    return run(['unshare', '-n', '/bin/sh', '-c', NAMESPACE, 'sh', bind] + arguments)


@pytest.fixture(scope='module', params=['usual', 'nonlocal'])
def bind(request):
    """Whether sockets can be bound to addresses of others; skips where there can be no namespaces."""
    tried = in_namespace(request.param, ['true'])
    if tried.popen.returncode:
        pytest.skip('no network namespace with addresses of its own can be made here: %r' % tried.err)
    return request.param


def test_each_address_of_this_host_is_local_and_no_other(bind):
    asked = in_namespace(bind, PYTHON + ['-c', LOCAL_PROGRAM] + (
        '127.0.0.1 198.41.0.4 198.41.0.5 198.41.1.5 198.41.2.77 198.41.3.1 8.8.8.8 '
        '2001:4860::4 2001:4860::5').split())
    assert asked.popen.returncode == 0, asked.err
    assert asked.out.decode('ascii').split() == ['127.0.0.1', '198.41.0.4', '198.41.0.5', '198.41.2.77', '2001:4860::4']


def test_a_client_elsewhere_does_not_reach_this_host_by_its_other_addresses(bind):
    for client, code, said in (('10.0.0.5', 1, b'198.41.0.4 is an address of this host'),
                               ('127.0.0.1', 0, b'may be dialled')):
        asked = in_namespace(bind, GEPROXY + ['why', '--no-net', '--from', client, 'http://198.41.0.4:8080/'])
        assert (asked.popen.returncode, said in asked.out) == (code, True), (asked.out, asked.err)
