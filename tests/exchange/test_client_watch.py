"""A client that leaves is noticed, and nothing else is taken for that."""
from __future__ import absolute_import, division, print_function

import pytest
import ways

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange.client_watch import ClientWatch
from geproxy.net.deadlines import TimeLimit
from helpers import PATIENCE
from ways import LIMITS

ends = ways.ends


def test_a_watch_sees_a_client_that_has_gone_by_its_probe(ends):
    client, user, origin, _server = ends
    probes = []

    def probe():
        probes.append(client.send_now(b'H'))
    watch = ClientWatch(client, TimeLimit('linger', PATIENCE, errors.ClientLost), 1000)
    user.close()
    began = monotonic()
    with pytest.raises(errors.ClientLost):
        watch.wait(origin, monotonic() + PATIENCE, probe)
    assert probes == [1] and monotonic() - began < 1


def test_a_watch_reads_ahead_no_more_than_its_room(ends):
    client, user, origin, server = ends
    watch = ClientWatch(client, LIMITS[0], 1000)
    user.sendall(b'x' * 500000)
    assert not watch.wait(origin, monotonic() + 0.3)
    assert 1000 <= len(client.buffer) < 1000 + 16 * 1024
    server.sendall(b'x')
    assert watch.wait(origin, monotonic() + PATIENCE)
