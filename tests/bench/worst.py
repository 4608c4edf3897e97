"""Measure the most expensive messages that a client or an origin can send, compared with a usual message.

    python tests/bench/worst.py

It runs in one process, without sockets: each message is parsed, checked, written again and logged, as in the proxy. The
cost is processor time per octet, the least of several rounds. A message that is shorter than a usual one counts as
that long, because each request has a basic cost. Exit code 1: an input costs more than BOUND times a usual message.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import resource
import sys

if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from geproxy import errors  # noqa: E402
from geproxy.auth import htpasswd  # noqa: E402
from geproxy.http1 import basic, chunks, framing, grammar, reading, responses  # noqa: E402
from geproxy.observe import formats, record  # noqa: E402
from geproxy.policy import forwarded  # noqa: E402

BOUND = 10                  # largest cost of an octet, in times of a usual message; tests/test_bench.py checks it
USUAL = 50                  # usual messages are measured together, because one is too quick
ROUNDS = 15
SIZE = 64 * 1024            # octets of a head: [limits] head_size
Limits = collections.namedtuple('Limits', 'head_size fields')
LIMITS = Limits(SIZE, 1000)

# `stage`: who sends it, and when; `make`: a function of a number that returns an input, another one for each number;
# `run`: a function that processes such an input.
Case = collections.namedtuple('Case', 'stage name make run')


# --- processing

def read_request(octets):
    """Do all the work for a request whose client has not logged in: at the end it is refused with 407."""
    told = record.Record('192.0.2.1')
    try:
        request = understand(octets, told)
        for value in request.values(b'proxy-authorization'):
            credentials = basic.parse_credentials(value)
            if credentials is not None:
                htpasswd.normalised(*credentials)
        raise errors.LoginRequired('who is there?')
    except (errors.ProxyError, ValueError) as error:
        error = error if isinstance(error, errors.ProxyError) else errors.LoginFailed(str(error))
        told.reason, told.message = error.token, str(error)
        responses.failure(error, 'geproxy', told.id, b'GET', True, 'geproxy')
    tell(told)


def pass_request(octets):
    """Do all the work for a request that is allowed."""
    told = record.Record('192.0.2.1')
    try:
        request = understand(octets, told)
        edits = forwarded.edits(request, '192.0.2.1', 'add', None)
        if request.method != b'CONNECT':
            request.write(b'', b'1.1 geproxy', frozenset(), edits)
            request.wants_upgrade()
    except errors.ProxyError as error:
        told.reason, told.message = error.token, str(error)
        responses.failure(error, 'geproxy', told.id, b'GET', True)
    tell(told)


def read_without_limit(octets):
    """Parse and write a request with [limits] fields at its highest value."""
    reading.parse_request(octets, SIZE).write(b'', b'1.1 geproxy')


def understand(octets, told):
    """Parse and check a request. Return it, and note it in the Record `told`. Raises ProxyError."""
    reading.check_request_start(octets[:-2])
    request = reading.parse_request(octets, LIMITS.fields)
    told.request = request
    framing.request_body(request, LIMITS)
    request.passed_by(b'geproxy')
    return request


def tell(told):
    """Format the log lines of a Record."""
    formats.json_line(told, True)
    if told.reason:
        formats.failure_line(told)


def pass_response(octets):
    """Do all the work for a response head."""
    try:
        reading.check_response_start(octets[:-2])
        response = reading.parse_response(octets, LIMITS.fields)
        framing.response_body(response, b'GET', LIMITS)
        grammar.split_list(response.values(b'upgrade'))
        response.write(b'', b'1.1 geproxy', b'Fri, 27 Nov 2026 11:00:00 GMT', True)
    except errors.ProxyError as error:
        responses.failure(error, 'geproxy', 'id-1', b'GET', True)


def pass_chunks(octets):
    """Do all the work for a chunked body."""
    body = chunks.Chunked(frozenset(), LIMITS, errors.BadRequest, errors.ClientLost)
    try:
        chunks.encode_chunk(body.feed(octets, len(octets)))
    except errors.BadRequest as error:
        responses.failure(error, 'geproxy', 'id-1', b'GET', True)


# --- inputs

FIELDS = (b'User-Agent: bench/1.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n'
          b'Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n')
GET = b'GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n'
OK = b'HTTP/1.1 200 OK\r\n'


def usual_request(number):
    """Return a request as browsers send it, another one for each number."""
    return (b'GET http://a.example/1k?article=%d HTTP/1.1\r\nHost: a.example\r\n%s'
            b'Cookie: session=0f3a7c; seen=%d\r\n\r\n' % (number, FIELDS, number))


def usual_response(number):
    """Return a response head as servers send it, another one for each number."""
    return OK + (b'Server: nginx\r\nDate: Fri, 27 Nov 2026 11:00:00 GMT\r\nContent-Type: text/html\r\n'
                 b'ETag: "%x-400"\r\nContent-Length: 1024\r\n'
                 b'Connection: keep-alive\r\nAccept-Ranges: bytes\r\n\r\n' % number)


def full(octets, size=SIZE):
    """Return `octets` repeated until they fill a head of `size` octets."""
    return octets * ((size - 200) // len(octets))


def names(number, count=LIMITS.fields - 5):
    """Return `count` field lines with different names, other names for each number."""
    return b''.join(b'%x:\r\n' % (number * count + each) for each in range(count))


# Field lines for requests and responses: (name, a function of a number that returns them).
_FIELDS = [
    ('16,000 lines `a:`', lambda number: full(b'a:\r\n')),
    ('as many lines `a:` as there may be', lambda number: b'a:\r\n' * (LIMITS.fields - 5)),
    ('as many names as there may be', names),
    ('as many cookies as there may be', lambda number: b''.join(
        b'Cookie:%d\r\nSet-Cookie:%d\r\n' % (number, each) for each in range(LIMITS.fields // 2 - 5))),
    ('60 cookies', lambda number: b'Cookie:%d\r\n' % number * 30 + b'Set-Cookie:%d\r\n' % number * 30),
    ('a line that is no field', lambda number: full(b'a') + b'\r\n'),
    ('Connection: a, ...', lambda number: b'Connection: %s\r\n' % full(b'a,')),
    ('Connection: , ...', lambda number: b'Connection: %s\r\n' % full(b',')),
    ('Connection, 10,000 names', lambda number: b'Connection: %s\r\n' % b','.join(
        b'%x' % each for each in range(10000))),
    ('Upgrade: a, ...', lambda number: b'Connection: upgrade\r\nUpgrade: %s\r\n' % full(b'a,')),
    ('a value of blanks', lambda number: b'X:%sx%s\r\n' % (full(b' ', SIZE // 2), full(b'\t', SIZE // 2))),
    ('Transfer-Encoding: a, ...', lambda number: b'Transfer-Encoding: %s\r\n' % full(b'a,')),
    ('Content-Length: 0000 ...', lambda number: b'Content-Length: %s\r\n' % full(b'0')),
    ('NUL at the end', lambda number: b'X: %s\0\r\n' % full(b'a')),
    ('a fold in a cookie', lambda number: b'Cookie: %s\r\n x\r\n' % full(b'a')),
]
_REQUESTS = [(name, lambda number, make=make: GET + make(number) + b'\r\n') for name, make in _FIELDS] + [
    (name, lambda number, octets=octets: octets) for name, octets in (
        ('a long URL', b'GET http://a/%s HTTP/1.1\r\nHost: a\r\n\r\n' % full(b'a')),
        ('a URL of quotes', b'GET http://a/%s HTTP/1.1\r\nHost: a\r\n\r\n' % full(b'"')),
        ('a URL of questions', b'GET http://a/?%s HTTP/1.1\r\nHost: a\r\n\r\n' % full(b'?"')),
        ('a URL beyond ASCII', b'GET http://a/%s HTTP/1.1\r\nHost: a\r\n\r\n' % full(b'\xff')),
        ('a long method', full(b'M') + b' http://a/ HTTP/1.1\r\nHost: a\r\n\r\n'),
        ('a line of blanks and @', b'GET %s HTTP/1.1\r\nHost: a\r\n\r\n' % full(b' @')),
        ('a long host', b'GET http://%s/ HTTP/1.1\r\nHost: a\r\n\r\n' % full(b'a.')),
        ('CONNECT, a long host', b'CONNECT %s:1 HTTP/1.1\r\nHost: a\r\n\r\n' % full(b'a')),
        ('Host: blanks and @', b'GET / HTTP/1.1\r\nHost: %s\r\n\r\n' % full(b'a @')),
        ('Via: a, ...', GET + b'Via: %s\r\n\r\n' % full(b'a,')),
        ('Via: 1 a, ...', GET + b'Via: %s\r\n\r\n' % full(b'1 a,')),
        ('Expect: a, ...', GET + b'Expect: %s\r\n\r\n' % full(b'a,')),
        ('X-Forwarded-For: a, ...', GET + full(b'X-Forwarded-For: a\r\n', 18000) + b'\r\n'),
        ('Proxy-Authorization: Basic', GET + b'Proxy-Authorization: Basic %s\r\n\r\n' % full(b'YWFh')),
        ('no request at all', full(b'a') + b'\r\n\r\n'),
    )] + [('the shortest', lambda number: b'GET / HTTP/1.0\r\nHost:%d\r\n\r\n' % number)] + [
    (name, lambda number, piece=piece: b'GET http://%d%s@a/ HTTP/1.1\r\nHost: a\r\n\r\n' % (number, full(piece)))
    for name, piece in (('a long user in the target', b'a-'), ('the same, percent-encoded', b'%41'))]
_RESPONSES = [(name, lambda number, make=make: OK + make(number) + b'\r\n') for name, make in _FIELDS] + [
    ('a long reason', lambda number: b'HTTP/1.1 200 %s\r\n\r\n' % full(b'\xff')),
    ('no status line', lambda number: b'HTTP/1.1 %s\r\n\r\n' % full(b' @')),
    ('folds behind a long name', lambda number: OK + b'%s:\r\n%s\r\n' % (
        full(b'a', SIZE - 4 * LIMITS.fields), b' \r\n' * (LIMITS.fields - 5))),
    ('folds behind a long value', lambda number: OK + b'a:%s\r\n%s\r\n' % (
        full(b'a', SIZE - 4 * LIMITS.fields), b' \r\n' * (LIMITS.fields - 5))),
    ('lines that end with LF', lambda number: OK + b'a:\n' * (LIMITS.fields - 5) + b'\r\n'),
    ('Set-Cookie : a', lambda number: OK + b'Set-Cookie : %d\r\n' % number * LIMITS.fields + b'\r\n'),
    ('the shortest', lambda number: b'HTTP/1.1 %03d\r\n\r\n' % (200 + number % 100)),
]
_CHUNKS = [(name, lambda number, octets=octets: octets) for name, octets in (
    ('chunks of 1 octet', full(b'1\r\nx\r\n')), ('chunks of 1 and 2', full(b'1\r\nx\r\n2\r\nxx\r\n')),
    ('extensions', b''.join(b'1%s;b=%d\r\nx\r\n' % (b';a="a"' * 160, each) for each in range(60))),
    ('an extension behind blanks', b''.join(b'1%s;%d\r\nx\r\n' % (b' ' * 900, each) for each in range(60))),
    ('an extension that fails', b'1;%s"\r\n' % (b'a' * 1000)),
    ('a string without an end', b'1;a="%s\r\n' % (b'\\a' * 500)),
)] + [('trailers', lambda number: b'0\r\n' + names(number) + b'\r\n'),
      ('trailers `a:`', lambda number: b'0\r\n' + b'a:\r\n' * LIMITS.fields + b'\r\n')]

# The stages, with their usual message.
STAGES = [
    ('before log-in', usual_request, read_request, _REQUESTS), ('after log-in', usual_request, pass_request, _REQUESTS),
    ('body of a client', usual_request, pass_request, None),
    ('from an origin', usual_response, pass_response, _RESPONSES),
    ('body of an origin', usual_response, pass_response, None)]
CASES = [Case(stage, name, make, run if inputs else pass_chunks)
         for stage, _usual, run, inputs in STAGES for name, make in inputs or _CHUNKS]
CASES.append(Case('before log-in', '16,000 lines `a:`, where as many are allowed',
                  lambda number: GET + full(b'a:\r\n') + b'\r\n', read_without_limit))


# --- what it costs

def clock():
    """Seconds of processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Usual(object):
    """The usual message of a stage: what it costs, by the cheapest round so far."""

    def __init__(self, make, run):
        self._make, self._run, self._number = make, run, 0
        self.octets, self.seconds = len(make(10 ** 6)), float('inf')

    def measure(self):
        """Measure one more round."""
        inputs = [self._make(self._number + each) for each in range(USUAL)]
        self._number += USUAL
        began = clock()
        for each in inputs:
            self._run(each)
        self.seconds = min(self.seconds, (clock() - began) / USUAL)


def usual():
    """Measure the usual message of each stage. Return {stage: Usual}."""
    found = {}
    for stage, make, run, _inputs in STAGES:
        found[stage] = Usual(make, run)
        for _ in range(ROUNDS):
            found[stage].measure()
    return found


def measure(case, normal, enough=0.0):
    """Measure a Case and its Usual in turns. Return (octets, seconds, cost of an octet in times of the Usual).

    `enough`: stop as soon as the last figure is as low as this.
    """
    best, octets, times = float('inf'), 0, 0.0
    for number in range(ROUNDS):
        made = case.make(number + 1)
        began = clock()
        case.run(made)
        best, octets = min(best, clock() - began), len(made)
        normal.measure()
        times = best / normal.seconds / max(1.0, octets / normal.octets)
        if times <= enough:
            break
    return octets, best, times


def main():
    """Print the table. Return the exit code."""
    normals, over = usual(), 0
    print('| stage | input | octets | us | us per KiB | times a usual message |')
    print('| --- | --- | ---: | ---: | ---: | ---: |')
    for stage, normal in sorted(normals.items()):
        print('| %s | **a usual message** | %d | %.1f | %.0f | 1 |' % (
            stage, normal.octets, normal.seconds * 1e6, normal.seconds * 1e6 * 1024 / normal.octets))
    for case in CASES:
        octets, seconds, times = measure(case, normals[case.stage])
        over += times > BOUND
        print('| %s | %s | %d | %.1f | %.0f | %.2f |' % (
            case.stage, case.name, octets, seconds * 1e6, seconds * 1e6 * 1024 / octets, times))
    return 1 if over else 0


if __name__ == '__main__':
    sys.exit(main())
