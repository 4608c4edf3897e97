"""Client connections that are ended before they end by themselves."""
from __future__ import absolute_import, division, print_function

import gevent
from helpers import listening, proxying, read_all
from processes import Client, get, own

from geproxy import errors
from geproxy.admin import status
from geproxy.compat import monotonic
from geproxy.service import ending


def test_a_client_that_waits_for_its_response_gets_the_error_as_response():
    with listening(read_all) as origin, proxying() as (address, proxy), Client(address) as client:
        client.send(get(origin))
        proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1})
        ended = gevent.spawn(ending.end, proxy.server.live, list(proxy.server.live), errors.Killed('enough'))
        assert client.rest().startswith(b'HTTP/1.1 503 enough\r\n')
        client.socket.close()
        ended.join()
        assert not proxy.server.live


def test_an_idle_client_is_ended_without_a_word():
    with proxying() as (address, proxy), Client(address) as client:
        client.ask(own())
        ending.end(proxy.server.live, list(proxy.server.live), errors.Killed('enough'))
        assert client.rest() == b'' and not proxy.server.live


def test_connections_that_have_ended_already_are_left_alone():
    with proxying() as (address, proxy):
        with Client(address) as client:
            client.ask(own())
            conversations = list(proxy.server.live)
        proxy.wait_until(lambda: not proxy.server.live)
        began = monotonic()
        ending.end(proxy.server.live, conversations, errors.Killed('enough'))
        assert monotonic() - began < ending.BRIEFLY
        with Client(address) as client:
            assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
