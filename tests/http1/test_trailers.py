"""Which trailer fields go on."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.http1 import trailers


@pytest.mark.parametrize('lines, options, passed', [
    ([], [], b''),
    ([b'X-Sum: 1', b'x-sum:2'], [], b'X-Sum: 1\r\nx-sum: 2\r\n'),
    ([b'X-Sum: 1', b'X-B: 2'], [b'x-sum'], b'X-B: 2\r\n'),
    ([b'X-Sum:'], [], b'X-Sum: \r\n'),
    ([b'X-Sum: 1', b'X_Sum: 2', b'X_B: 3'], [b'x-sum'], b'X_B: 3\r\n'),
    ([b'X-Sum: 1', b'X_Sum: 2', b'X-B: 3'], [b'x_sum'], b'X-B: 3\r\n'),
] + [([name + b': x'], [], b'') for name in (
    b'Content-Length', b'Transfer-Encoding', b'Host', b'Connection', b'Trailer', b'TE', b'Upgrade', b'Keep-Alive',
    b'Proxy-Connection', b'Proxy-Authorization', b'Proxy-Authenticate', b'Authorization', b'Set-Cookie', b'Expect',
    b'Max-Forwards', b'Content-Encoding', b'Content-Type', b'Content-Range', b'Cache-Control', b'Via')])
def test_trailers_go_on_but_never_framing_or_routing(lines, options, passed):
    assert trailers.parse(lines, frozenset(options), errors.BadCoding) == passed


@pytest.mark.parametrize('lines', [
    [b'X'], [b' X: y'], [b'X : y'], [b': y'], [b'X: \x00'], [b'X: a\rb'], [b'X: a\nb'], [b'X: a', b' b'],
    [b'GET / HTTP/1.1'],
])
def test_a_doubtful_trailer_is_refused(lines):
    for error in (errors.BadRequest, errors.BadCoding):
        with pytest.raises(error):
            trailers.parse(lines, frozenset(), error)
