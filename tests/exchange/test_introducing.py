"""The PROXY header of a load balancer, good, bad and missing. (test_balanced has the rest.)"""
from __future__ import absolute_import, division, print_function

import pytest
from helpers import ask, proxying
from processes import own

TRUSTED = '[proxy]\nproxy_protocol = 127.0.0.1\n[access]\nclients = any'
LINE = b'PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n'


@pytest.mark.parametrize('octets, status, client', [
    (LINE + own(), b'200', '192.0.2.7'), (b'PROXY UNKNOWN\r\n' + own(), b'200', '127.0.0.1'), (own(), b'400', '127.0.0.1'),
])
def test_the_client_is_the_one_that_the_header_names(octets, status, client):
    with proxying(TRUSTED) as (address, proxy):
        assert ask(address, octets)[9:12] == status
        assert [record.client for record in proxy.wait()] == [client]


def test_a_load_balancer_that_sends_nothing_makes_no_exchange():
    with proxying(TRUSTED) as (address, proxy):
        assert ask(address, b'') == b'' and proxy.records == []
