"""The story of a client connection."""
from __future__ import absolute_import, division, print_function

from helpers import ask, listening, proxying, read_until


def saying(body, seen=None):
    """An origin that answers every request with `body`; `seen` gets the heads."""
    def handle(sock):
        while True:
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            if seen is not None:
                seen.append(head)
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
    return handle


def get(origin, path=b'/', more=b''):
    """A request in absolute-form."""
    host = b'%s:%d' % (origin[0].encode('ascii'), origin[1])
    return b'GET http://%s%s HTTP/1.1\r\nHost: %s\r\n%s\r\n' % (host, path, host, more)


def test_two_requests_on_one_connection_go_to_their_own_origins():
    with listening(saying(b'one')) as one, listening(saying(b'two')) as two, proxying() as (address, proxy):
        shown = ask(address, (get(one) + get(two)) * 100)
        bodies = [part[:3] for part in shown.split(b'\r\n\r\n')[1:]]
        assert bodies == [b'one', b'two'] * 100
        assert [record.status for record in proxy.wait(200)] == [200] * 200
