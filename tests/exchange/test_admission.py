"""From the first octets to a request that may go on: targets, rules, limits, log-ins. Real sockets."""
from __future__ import absolute_import, division, print_function

import base64
import hashlib
import re

import gevent
import pytest
from helpers import ask, connect, listening, proxying, read_all, read_until
from processes import Client
from test_conversation import get, nothing, saying, split, text_of

from geproxy.compat import monotonic
from geproxy.upstream.resolver import Resolver


@pytest.mark.parametrize('before, behind, line, authorization', [
    (b'bob:se%63ret@', b'/a', b'GET /a HTTP/1.1', b'Basic Ym9iOnNlY3JldA=='),
    (b'bob@', b'?a@b', b'GET /?a@b HTTP/1.1', b'Basic Ym9iOg=='),
    (b'@', b'', b'GET / HTTP/1.1', None),
    (b'', b'/a#b?c@d', b'GET /a HTTP/1.1', None),
    (b'', b'#', b'GET / HTTP/1.1', None),
    (b'', b'/\xc3\xa9?\xff#\xfe', b'GET /\xc3\xa9?\xff HTTP/1.1', None),
    (b'x' * 9000 + b':y@', b'/', b'GET / HTTP/1.1', b'Basic ' + base64.b64encode(b'x' * 9000 + b':y')),
])
def test_userinfo_and_fragment_of_a_target_never_go_on(before, behind, line, authorization):
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, proxy):
        target = b'http://' + before + text_of(origin) + behind
        assert ask(address, b'GET %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (target, text_of(origin))).endswith(b'ok')
        got, fields, _body = split(seen[0] + b'\r\n\r\n')
        assert (got, fields.get(b'authorization')) == (line, authorization)
        assert proxy.wait()[0].url == b'http://' + text_of(origin) + behind.partition(b'#')[0]


def test_userinfo_of_a_target_does_not_replace_authorization_nor_log_in_to_the_proxy(people):
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying(people) as (address, proxy):
        line = b'GET http://bob:bob-secret@%s/ HTTP/1.1\r\nHost: x\r\n%s\r\n'
        assert ask(address, line % (text_of(origin), b''))[9:12] == b'407'
        more = basic(b'eve', b'eve-secret')
        assert ask(address, line % (text_of(origin), more)).endswith(b'ok')
        assert ask(address, line % (text_of(origin), more + b'Authorization: Bearer x\r\n')).endswith(b'ok')
        told = [split(head + b'\r\n\r\n')[1][b'authorization'] for head in seen]
        assert told == [b'Basic ' + base64.b64encode(b'bob:bob-secret'), b'Bearer x']
        assert [record.user for record in proxy.wait(3)] == [b'', b'eve', b'eve']


def test_a_rule_sees_the_host_behind_userinfo_and_may_strip_the_authorization_made_of_it():
    seen, rules = [], '[access]\nrules =\n  deny any bad.test # no\n  allow any any strip Authorization\n'
    with listening(saying(b'ok', seen)) as origin, proxying(rules) as (address, _proxy):
        shown = ask(address, b'GET http://good.test@bad.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 403 ') and b'good.test' not in shown
        assert ask(address, b'GET http://bob:secret@%s/ HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin)).endswith(b'ok')
        assert b'authorization' not in seen[0].lower()


def test_no_answer_shows_a_password_of_a_target():
    with proxying() as (address, _proxy):
        for target in (b'http://bob:hush@a.test:22/', b'http://bob:hush@no-such-name.invalid/', b'http://bob:hush@@a/',
                       b'http://bob:hu%0dsh@a/', b'https://bob:hush@a/', b'http://bob:hush@a b/', b'bob:hush@a',
                       b'http://bob:hush@a\\b/', b'http://bob:hush@169.254.169.254/', b'http://bob:hush@:80/'):
            shown = ask(address, b'GET %s HTTP/1.1\r\nHost: a\r\n\r\n' % target)
            assert shown[9:10] in b'45' and b'hu' not in shown.replace(b'shu', b''), target


def test_a_client_that_cannot_do_https_through_a_proxy_is_told_so():
    with proxying() as (address, _proxy):
        shown = ask(address, b'GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 501 https:// goes through a proxy by CONNECT only')
        assert b'busybox wget' in shown and b'curl' in shown


def test_a_tunnel_to_a_port_of_http_ports_is_refused_and_the_hint_says_what_to_do():
    with proxying('[access]\nconnect_ports = 443\nhttp_ports = any\n') as (address, _proxy):
        shown = ask(address, b'CONNECT a.test:8090 HTTP/1.1\r\nHost: a.test\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 403 port 8090 is not among [access] connect_ports (443)')
        assert b'http_ports does not count for CONNECT' in shown


def test_options_of_a_whole_server_becomes_an_asterisk():
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, _proxy):
        ask(address, b'OPTIONS http://%s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        ask(address, b'OPTIONS * HTTP/1.1\r\nHost: %s\r\n\r\n' % text_of(origin))
        assert [head.split(b'\r\n')[0] for head in seen] == [b'OPTIONS * HTTP/1.1'] * 2


def test_a_refusal_names_the_rule_in_the_answer_and_in_the_record():
    rules = '[access]\nrules =\n  deny any bad.test\n  allow any any\n'
    with proxying(rules) as (address, proxy):
        status, fields, body = split(ask(address, b'GET http://BAD.test./ HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert re.match(br'HTTP/1.1 403 denied by test\.ini:\d+: deny any bad\.test\Z', status)
        why = status[len(b'HTTP/1.1 403 '):]
        assert b'details="%s"' % why in fields[b'proxy-status'] and body.startswith(b'geproxy: %s\n' % why)
        record, = proxy.wait()
        assert record.message == why.decode('ascii') and record.rule == why.split(b' ')[2][:-1].decode('ascii')


def test_a_rule_about_networks_judges_dialled_addresses_and_kept_connections():
    with listening(saying(b'ok')) as origin:
        rules = '[access]\nrules =\n  deny 10.0.0.0/8 any\n  allow any 127.0.0.1:%d\n' % origin[1]
        with proxying(rules) as (address, proxy):
            for _ in range(2):
                assert ask(address, get(origin).replace(b'127.0.0.1', b'localhost')).endswith(b'ok')
            assert b' 403 no rule allows it' in ask(address, get(('127.0.0.2', origin[1]))).split(b'\r\n')[0]
            records = proxy.wait(3)
            assert [record.kept for record in records] == [False, True, False]
            assert [record.rule.partition(':')[0] for record in records] == ['test.ini', 'test.ini', '']


def test_policy_report_records_refusals_that_would_have_happened():
    with listening(saying(b'ok')) as origin:
        with proxying('[access]\npolicy = report\nrules =\n  deny any localhost\n  deny any loopback\n') as (address, proxy):
            assert ask(address, get(origin).replace(b'127.0.0.1', b'localhost')).endswith(b'ok')
            assert ask(address, get(origin)).endswith(b'ok')
            first, second = proxy.wait(2)
            assert (first.reason, second.reason) == ('', '')
            assert first.would.endswith(': deny any localhost') and second.would.endswith(': deny any loopback')


def test_a_rule_strips_and_sets_what_its_origin_gets():
    seen = []
    with listening(saying(b'ok', seen)) as origin:
        with proxying('[proxy]\nforwarded = add\n[access]\nrules =\n  allow any loopback strip Cookie set X-Env=test\n') as (
                address, _proxy):
            ask(address, get(origin, more=b'Cookie: a=b\r\nX-Env: none\r\nX: y\r\n'))
    assert seen[0].split(b'\r\n')[2:] == [b'X: y', b'X-Env: test', b'Forwarded: for=127.0.0.1',
                                          b'X-Forwarded-For: 127.0.0.1', seen[0].split(b'\r\n')[-1]]


def length_of(size):
    """An origin that answers with that many octets."""
    def handle(sock):
        while read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % size + b'x' * size)
    return handle


def test_requests_beyond_the_rate_get_429_and_when_to_come_back():
    with listening(saying(b'ok')) as origin, proxying('[limits]\nrequests = 0.5\nburst = 3') as (address, proxy):
        with Client(address) as client:
            answers = [client.ask(get(origin)) for _ in range(5)]
        assert [answer[9:12] for answer in answers] == [b'200'] * 3 + [b'429'] * 2
        assert answers[4].startswith(
            b'HTTP/1.1 429 client 127.0.0.1 sends more than 0.5 requests per second ([limits] requests)\r\n')
        assert b'\r\nRetry-After: 2\r\n' in answers[4]
        assert proxy.wait(5)[4].reason == 'request_rate_exceeded'


@pytest.mark.parametrize('octets, status', [
    (b'GET / HTTP/1.1\r\n\r\n', b'400'), (b'nonsense\r\n\r\n', b'400'), (b'GET http://a/' + b'a' * 70000, b'414'),
    (b'GET http://a/ HTTP/1.1\r\nHost: a\r\n' + b'A: b\r\n' * 1001 + b'\r\n', b'431'),
    (b'GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n', b'501'), (b'GET http://a/ HTTP/2.0\r\nHost: a\r\n\r\n', b'505'),
])
def test_requests_that_cannot_be_parsed_count_too(octets, status):
    with proxying('[limits]\nrequests = 0.001\nburst = 2') as (address, proxy):
        assert [ask(address, octets)[9:12] for _ in range(4)] == [status] * 2 + [b'429'] * 2
        assert ask(address, get(('127.0.0.1', 1)))[9:12] == b'429'
        assert proxy.wait(5)[4].reason == 'request_rate_exceeded'


def test_connections_beyond_those_of_one_client_get_429():
    with proxying('[limits]\nper_client = 2') as (address, proxy):
        clients = [connect(address) for _ in range(2)]
        for client in clients:
            client.sendall(b'OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n')
            assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        refused = ask(address, get(('127.0.0.1', 1)))
        assert refused.startswith(b'HTTP/1.1 429 client 127.0.0.1 has 2 connections already ([limits] per_client)\r\n')
        assert b'\r\nRetry-After: 1\r\n' in refused
        clients.pop().close()
        clients.pop().close()
        proxy.wait_until(lambda: not proxy.server.live)
        assert b' 429 ' not in ask(address, get(('127.0.0.1', 1)))


@pytest.mark.parametrize('more', ['[limits]\nrate = 200k', '[access]\nrules =\n  allow any any rate 200k'])
def test_octets_go_no_faster_than_their_rate(more):
    with listening(length_of(100000)) as origin, proxying(more) as (address, _proxy):
        began = monotonic()
        assert len(ask(address, get(origin))) > 100000
        # Neither much faster (the first twentieth of a second is free) nor as slow as if it went both ways at once.
        assert monotonic() - began > 0.35


def test_a_used_up_quota_ends_open_exchanges_and_refuses_new_requests(tmpdir):
    more = '[limits]\nquota = 50k\nquota_file = %s\n' % tmpdir.join('quota')
    with listening(length_of(30000)) as origin, proxying(more) as (address, proxy):
        for _ in range(2):
            assert len(ask(address, get(origin))) > 30000
        refused = ask(address, get(origin))
        assert refused.startswith(b'HTTP/1.1 429 client 127.0.0.1 has had its 50k octets for today ([limits] quota)\r\n')
        assert b'\r\nRetry-After: ' in refused
        assert [record.reason for record in proxy.wait(3)] == ['', '', 'quota_exceeded']
    assert 'client' not in tmpdir.join('quota').read() and ' 127.0.0.1\n' in tmpdir.join('quota').read()
    with listening(nothing) as origin, proxying(more) as (address, proxy):
        assert ask(address, get(origin)).startswith(b'HTTP/1.1 429 ')       # a restart forgives nobody


def basic(user, password):
    """The field line of a log-in."""
    return b'Proxy-Authorization: Basic %s\r\n' % base64.b64encode(b'%s:%s' % (user, password))


@pytest.fixture
def people(tmpdir):
    """The [auth] section that knows bob, in ops, and eve."""
    sha = b'{SHA}%s'
    lines = [b'%s:%s' % (name, sha % base64.b64encode(hashlib.sha1(name + b'-secret').digest())) for name in (b'bob', b'eve')]
    tmpdir.join('users').write_binary(b'\n'.join(lines))
    tmpdir.join('groups').write_binary(b'ops: bob\n')
    return '[auth]\nusers = %s\ngroups = %s\nrealm = the gateway\n' % (tmpdir.join('users'), tmpdir.join('groups'))


def test_a_client_that_has_not_logged_in_may_do_so_on_the_same_connection(people):
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying(people) as (address, proxy), Client(address) as client:
        asked = client.ask(get(origin))
        assert asked.startswith(b'HTTP/1.1 407 this proxy asks for a name and a password\r\n')
        assert split(asked)[1][b'proxy-authenticate'] == b'Basic realm="the gateway", charset="UTF-8"'
        assert b'\r\nConnection: close\r\n' not in asked
        assert client.ask(get(origin, more=basic(b'bob', b'wrong'))).startswith(b"HTTP/1.1 407 log-in as 'bob' failed\r\n")
        # a body that has come is read, and CONNECT may come again, too
        assert client.ask(get(origin, method=b'POST', more=b'Content-Length: 5\r\n') + b'12345')[9:12] == b'407'
        client.send(get(origin, method=b'POST', more=b'Content-Length: 6\r\n') + b'123')
        client.send(b'456')
        assert client.response()[9:12] == b'407'
        assert client.ask(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin))[9:12] == b'407'
        assert client.ask(get(origin, more=basic(b'bob', b'bob-secret'))).endswith(b'ok')
        # per request, never remembered for the connection
        assert client.ask(get(origin))[9:12] == b'407'
        records = proxy.wait(7)
        assert [record.user for record in records] == [b''] * 5 + [b'bob', b'']
        assert [record.reason for record in records][:2] == ['login_required', 'login_failed']
    assert b'authorization' not in seen[0].lower() and len(seen) == 1


@pytest.mark.parametrize('behind', [b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n', b'\x16\x03\x01', b'\r\n', b'x'])
def test_a_client_that_does_not_wait_behind_connect_loses_its_connection_when_it_must_log_in(people, behind):
    head = b'CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: x\r\n%s\r\n'
    with proxying(people) as (address, proxy):
        for more in (b'', basic(b'bob', b'wrong')):
            with Client(address) as client:
                client.send(head % more + behind)
                shown = client.rest()
                assert shown.startswith(b'HTTP/1.1 407 ') and shown.count(b'HTTP/1.1 ') == 1
                assert b'\r\nConnection: close\r\n' in shown
        assert [record.method for record in proxy.wait(2)] == [b'CONNECT'] * 2


def test_a_client_that_waits_behind_connect_may_log_in_on_the_same_connection(people):
    with listening(lambda sock: sock.sendall(sock.recv(100))) as origin, proxying(people) as (address, _proxy):
        with Client(address) as client:
            for more in (b'', basic(b'bob', b'wrong')):
                shown = client.ask(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n%s\r\n' % (text_of(origin), more))
                assert shown.startswith(b'HTTP/1.1 407 ') and b'\r\nConnection: close\r\n' not in shown
            more = basic(b'bob', b'bob-secret')
            client.send(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n%s\r\n' % (text_of(origin), more))
            assert read_until(client.socket, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
            client.send(b'through')
            assert client.socket.recv(100) == b'through'


def test_a_large_body_behind_a_refused_log_in_is_not_read(people):
    with proxying(people) as (address, _proxy):
        shown = ask(address, get(('127.0.0.1', 1), method=b'POST', more=b'Content-Length: 100000\r\n'))
        assert shown.startswith(b'HTTP/1.1 407 ') and b'\r\nConnection: close\r\n' in shown


def test_rules_may_name_users_and_groups(people):
    rules = '[access]\nrules =\n  allow group:ops any\n  deny user:* any # ask ops\n'
    with listening(saying(b'ok')) as origin, proxying(people + rules) as (address, proxy):
        assert ask(address, get(origin, more=basic(b'bob', b'bob-secret'))).endswith(b'ok')
        refused = ask(address, get(origin, more=basic(b'eve', b'eve-secret')))
        assert re.match(br'HTTP/1.1 403 denied by test\.ini:\d+: deny user:\* any', refused)
        assert [record.user for record in proxy.wait(2)] == [b'bob', b'eve']


def test_an_exempt_client_need_not_log_in_but_a_wrong_log_in_is_refused(people):
    with listening(saying(b'ok')) as origin, proxying(people + 'exempt = loopback\n') as (address, _proxy):
        assert ask(address, get(origin)).endswith(b'ok')
        assert ask(address, get(origin, more=basic(b'bob', b'wrong')))[9:12] == b'407'
        assert ask(address, get(origin, more=basic(b'bob', b'bob-secret') * 2))[9:12] == b'400'


def test_a_new_user_may_log_in_without_a_reload(people, tmpdir):
    with listening(saying(b'ok')) as origin, proxying(people) as (address, proxy):
        assert ask(address, get(origin, more=basic(b'new', b'new-secret')))[9:12] == b'407'
        tmpdir.join('users').write_binary(b'new:{SHA}' + base64.b64encode(hashlib.sha1(b'new-secret').digest()))
        proxy.wait_until(lambda: any('reread: 1 users' in text for text in proxy.said))
        assert ask(address, get(origin, more=basic(b'new', b'new-secret'))).endswith(b'ok')
        assert ask(address, get(origin, more=basic(b'bob', b'bob-secret')))[9:12] == b'407'


def test_a_request_is_judged_by_the_users_it_began_with(people, tmpdir):
    policy = '[access]\nrules =\n  deny group:ops any\n  allow user:* any\n'
    with listening(nothing) as origin, proxying(people + policy) as (address, proxy), Client(address) as client:
        octets = get(origin, more=basic(b'bob', b'bob-secret'))
        client.send(octets[:30])
        proxy.wait_until(lambda: any(conversation.current for conversation in proxy.server.live))
        tmpdir.join('groups').write_binary(b'ops:\n')
        proxy.wait_until(lambda: any('reread: 2 users' in text for text in proxy.said))
        client.send(octets[30:])
        assert b'denied by test.ini:' in client.response()


def test_fields_that_a_rule_sets_for_one_address_never_go_to_another_address_on_a_retry():
    heads = []

    def dying(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        heads.append(read_until(sock, b'\r\n\r\n'))        # and ends, as a kept connection may at any time

    def other(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother')
    rules = '[access]\nrules =\n  allow any 127.0.0.2 set Authorization=for-2-only\n  allow any 127.0.0.3\n'
    with listening(dying, '127.0.0.2') as (_host, port), proxying(rules) as (address, proxy), Client(address) as client:
        there = ['127.0.0.2']
        proxy.server._upstream.dialling.resolver = Resolver(keep=-1, ask=lambda host: list(there))
        assert client.ask(get(('a.test', port))).endswith(b'ok')
        with listening(other, '127.0.0.3', port):
            there[:] = ['127.0.0.3']
            assert client.ask(get(('a.test', port))).endswith(b'other')
    assert b'for-2-only' in heads[0] and b'for-2-only' not in heads[1] and b'uthorization' not in heads[1]


def test_a_failed_log_in_counts_as_a_request(people):
    with proxying(people + '[limits]\nrequests = 0.1\nburst = 2\n') as (address, _proxy), Client(address) as client:
        statuses = [client.ask(get(('127.0.0.1', 1)))[9:12] for _ in range(4)]
    assert statuses == [b'407', b'407', b'429', b'429']


def test_a_body_that_trickles_behind_a_refused_log_in_is_not_waited_for(people):
    with proxying(people) as (address, _proxy), Client(address) as client:
        client.send(get(('127.0.0.1', 1), method=b'POST', more=b'Content-Length: 60000\r\n') + b'x')
        began = monotonic()
        trickle = gevent.spawn(lambda: [client.send(b'x') or gevent.sleep(0.1) for _ in range(100)])
        answer = client.response()
        trickle.kill()
        assert answer[9:12] == b'407' and b'\r\nConnection: close\r\n' in answer and monotonic() - began < 5


@pytest.mark.parametrize('more', ['', '[access]\nrules = deny any any\n', 'auth'])
def test_a_browser_that_visits_gets_its_page_with_any_policy(people, more):
    with proxying(people if more == 'auth' else more) as (address, _proxy):
        shown = ask(address, b'GET / HTTP/1.1\r\nHost: gateway:%d\r\n\r\n' % address[1])
        assert shown.startswith(b'HTTP/1.1 200 ') and b'This is a proxy, not a web site' in shown
        if more:
            assert ask(address, get(('gateway', address[1])))[9:12] in (b'403', b'407')


def test_a_loop_is_reported_even_if_a_log_in_is_required(people):
    with proxying(people) as (address, proxy):
        via = b'Via: 1.1 %s\r\n' % proxy.server.proxy.name_octets
        assert ask(address, get(('127.0.0.1', 1), more=via))[9:12] == b'508'


def test_a_refusal_does_not_count_for_a_quota(tmpdir):
    # The quota ends in the middle of the request, so there is a pace by then; the answer has to get through all the same.
    more = '[limits]\nquota = 50k\nquota_file = %s\n' % tmpdir.join('quota')
    with listening(read_all) as origin, proxying(more) as (address, proxy), Client(address) as client:
        client.send(get(origin, method=b'POST', more=b'Content-Length: 1000000\r\n'))
        for _ in range(20):
            client.send(b'x' * 10000)
            gevent.sleep(0.01)          # so that it comes in pieces, each of which is charged
        answer = client.response()
        assert answer.startswith(b'HTTP/1.1 429 client 127.0.0.1 has had its 50k octets for today ([limits] quota)\r\n')
        assert proxy.wait()[0].reason == 'quota_exceeded' and not proxy.said


def test_a_quota_that_is_used_up_before_the_response_begins_gives_429(tmpdir):
    # The quota ends with the request head: the response is held back, whole.
    more = '[limits]\nquota = 1k\nquota_file = %s\n' % tmpdir.join('quota')

    def origin(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    with listening(origin) as place, proxying(more) as (address, proxy), Client(address) as client:
        assert client.ask(get(place, more=b'X: %s\r\n' % (b'x' * 1000))).startswith(
            b'HTTP/1.1 429 client 127.0.0.1 has had its 1k octets for today ')
        assert client.ask(get(place))[9:12] == b'429'          # and the connection is as good as ever
        assert [(each.status, each.reason) for each in proxy.wait(2)] == [(429, 'quota_exceeded')] * 2


@pytest.mark.parametrize('garbage', [b'\xff' * 100, b' ' * 100, b'\x80\x81\x82', b'{"json": 1}', b'GET  ', b'GET / FTP'])
def test_garbage_without_a_line_end_is_refused_at_once(garbage):
    with proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(garbage)                 # and waits
        assert read_until(client, b'\r\n').startswith(b'HTTP/1.1 400 ')
        client.close()
