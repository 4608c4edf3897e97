"""Header sections: what is secret in a head is cut out before the rest is remembered, and comes back when it is
written. What is understood and written of a section is tested in test_message.py."""
from __future__ import absolute_import, division, print_function

import gc
import re
import types

import gevent
import pytest

from geproxy import errors
from geproxy.http1 import reading, section
from helpers import ask, connect, listening, proxying, read_until

GET = b'GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n'
OK = b'HTTP/1.1 200 OK\r\n'


@pytest.mark.parametrize('fields, secrets', [
    (b'Cookie: a=b\r\n', [b'a=b']), (b'COOKIE:a=b \t\r\nX: y\r\n', [b'a=b']), (b'cookie: \r\n', [b'']),
    (b'Set-Cookie: a\r\nset-cookie: b\r\n', [b'a', b'b']), (b'Authorization: \t x\xff\r\n', [b'x\xff']),
    (b'Proxy-Authorization: Basic eDp5\r\nX: y\r\nCookie: c\r\n', [b'Basic eDp5', b'c']),
    (b'X-Cookie: a\r\nCookies: b\r\nX: Cookie: c\r\n', None), (b'Cookie : a\r\n', None), (b'Cookie: a\n', None),
    (b'Cookie: a\r\n b\r\n', None), (b'Cookie: a\0b\r\n', None), (b'Cookie: a\rb\r\n', None),
    (b'X: \x000\x00\r\nCookie: a\r\n', None), (b'', None), (b'Set-Cookie: a\r\n' * 64, None),
])
def test_secrets_are_cut_out_completely_or_not_at_all(fields, secrets):
    head = GET + fields + b'\r\n'
    bare, found = section.cut_secrets(head)
    assert found == secrets
    if found is None:
        assert bare is head
    else:
        assert not [secret for secret in secrets if len(secret) > 2 and secret in bare]
        assert section.restore(bare, found).replace(b' ', b'').replace(b'\t', b'') == head.replace(
            b' ', b'').replace(b'\t', b'')


@pytest.mark.parametrize('parse, start', [(reading.parse_request, GET), (reading.parse_response, OK)])
@pytest.mark.parametrize('fields', [
    [b'cookie'], [b'set-cookie', b'x', b'set-cookie'], [b'authorization', b'cookie', b'proxy-authorization', b'cookie'],
    [b'proxy-authorization', b'x', b'cookie']])
def test_each_message_has_its_own_secrets_and_shares_the_rest(parse, start, fields):
    for number in list(range(6)) * 2:
        values = [b'%s-%d-%d' % (name, number, place) for place, name in enumerate(fields)]
        lines = [b'%s: %s\r\n' % pair for pair in zip(fields, values)]
        found = parse(start + b''.join(lines) + b'\r\n')
        for name in fields:
            expected = tuple(value for other, value in zip(fields, values) if other == name)
            assert found.values(name) == expected and name in found.index
        assert [field[1][0] for field in found.fields][-len(fields):] == values
        passed = b''.join(line for line in lines if not line.startswith(b'proxy-'))
        for _ in range(2):
            assert found.write(b'', b'1.1 p').endswith(passed + b'Via: 1.1 p\r\n\r\n')


@pytest.mark.parametrize('reader, start', [(reading.requests, GET), (reading.responses, OK)])
def test_a_head_that_has_the_hash_of_another_is_not_taken_for_it(reader, start):
    for _ in range(6):
        assert reader.read(start + b'Set-Cookie: secret\r\nX: y\r\n\r\n').values(b'set-cookie') == (b'secret',)
    known = reader._by_hash[hash(start + b'Set-Cookie: secret\r\nX: y\r\n\r\n')]
    for fields, values in ((b'Set-Cookie: other!\r\nX: y\r\n', (b'other!',)), (b'Set-Cookie: secret\r\nX: z\r\n', (b'secret',)), (b'Set-Cookie: a\r\nX: z\r\n', (b'a',)),
                           (b'Set-Cookie: a\r\nSet-Cookie: b\r\nX: y\r\n', (b'a', b'b')), (b'X: y\r\n', ())):
        reader._by_hash[hash(start + fields + b'\r\n')] = known
        found = reader.read(start + fields + b'\r\n')
        assert found.values(b'set-cookie') == values
        assert found.write(b'').partition(b'\r\n')[2].endswith(fields + b'\r\n')


@pytest.mark.parametrize('parse, start', [(reading.parse_request, GET), (reading.parse_response, OK)])
def test_no_peer_can_write_a_mark(parse, start):
    for _ in range(6):
        parse(start + b'Cookie: a\r\n\r\n')
        parse(start + b'Cookie: a\r\nSet-Cookie: b\r\n\r\n')
    for forged in (b'Cookie: \x000\x00\r\n', b'Cookie: \x001\x00\r\nSet-Cookie: b\r\n',
                   b'Cookie: b\r\nSet-Cookie: \x001\x00\r\n'):
        with pytest.raises(errors.ProxyError) as raised:
            parse(start + forged + b'\r\n')
        assert 'NUL' in str(raised.value)


def secrets_in_memory():
    """The numbers of the secrets that are in anything this process refers to: octets, text or bytearrays."""
    found, seen, left = set(), set(), gc.get_objects()
    seen.add(id(left))
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, (bytes, bytearray, type(u''))):
            octets = each.encode('utf-8', 'replace') if isinstance(each, type(u'')) else bytes(each)
            found.update(int(number) for number in find_secrets(octets))
        elif not isinstance(each, types.ModuleType):
            left.extend(gc.get_referents(each))
    return found


# (the beginning of a request's line behind its method, fields of the request, fields of its response); %s is the secret
SECRETS = [
    (b'/', b'Authorization: Bearer %s\r\n', b''), (b'/', b'Proxy-Authorization: Basic %s\r\n', b''),
    (b'/', b'Cookie: session=%s\r\nAccept: */*\r\n', b''), (b'/', b'X-Api-Key: %s\r\n', b''),
    (b'/', b'x-auth-token:%s\r\n', b''), (b'/', b'Referer: http://a/?code=%s\r\n', b''),
    (b'/?token=%s', b'', b''), (b'/', b'', b'Set-Cookie: id=%s; Path=/\r\nSet-Cookie: b=%s\r\n'),
    (b'/', b'', b'Set-Cookie : id=%s\r\n'), (b'/', b'', b'Location: http://b/?code=%s\r\n'),
    (b'/', b'Cookie : %s\r\n', b''), (b'/', b'%s\r\n', b''), (b'/', b'Cookie: %s\0\r\n', b''),
]


find_secrets = re.compile(br'0x5ec7e7-([0-9]+)-z').findall


def test_no_secret_outlives_its_exchange():
    for number, (path, fields, answer) in enumerate(SECRETS):
        exchange_often(b'0x5ec7e7-%d-z' % number, path, fields, answer)
    found = secrets_in_memory()
    assert not found, [SECRETS[number] for number in found]
    kept = [b'0x5ec7e7-%d-z' % len(SECRETS)]
    assert kept and secrets_in_memory() == set([len(SECRETS)])      # they would have been found


def test_a_connection_that_waits_for_another_request_has_no_secret_of_the_last():
    def handle(sock):
        while read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: %s\r\n\r\n' % (b'0x5ec7e7-%d-z' % 101))
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        for _ in range(4):
            client.sendall(b'GET http://%s:%d/?%s HTTP/1.1\r\nHost: a\r\nCookie: %s\r\n\r\n' % (
                origin[0].encode('ascii'), origin[1], b'0x5ec7e7-%d-z' % 102, b'0x5ec7e7-%d-z' % 103))
            assert read_until(client, b'\r\n\r\n')[9:12] == b'200'
        del proxy.wait(4)[:]
        proxy.wait_until(lambda: not any(conversation.view().exchange for conversation in proxy.server.live))
        gevent.sleep(0)             # so that the connection waits again
        assert secrets_in_memory() == set()
        client.close()


def exchange_often(secret, path, fields, answer):
    """The same exchange, with a secret in it, as often as it takes until all of it is remembered."""
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        head = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n%s\r\n' % answer
        sock.sendall(head.replace(b'%s', secret))

    with listening(handle) as origin, proxying('[log]\nquery = on\nformat = console') as (address, proxy):
        target = b'http://%s:%d%s' % (origin[0].encode('ascii'), origin[1], path)
        head = (b'GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n' % (target, fields)).replace(b'%s', secret)
        for _ in range(4):
            answered = ask(address, head)
            assert answered[9:12] == b'200' and (not answer or secret in answered) or answered[9:12] == b'400'
        del proxy.wait(4)[:]
