"""``geproxy learn``: from what went through to rules that allow it."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import config, learn, record
from geproxy.learn import Seen


@pytest.mark.parametrize('line, seen', [
    ('1795410893.909      2 127.0.0.1 TCP_MISS/200 189 GET http://www.a.test:8080/x? - HIER_DIRECT/127.0.0.1 -',
     Seen('www.a.test', 8080, False, '2026-11-23')),
    ('1795410896.128     49 127.0.0.1 TCP_TUNNEL/200 1580 CONNECT WWW.a.test.:443 bob HIER_DIRECT/127.0.0.1 -',
     Seen('www.a.test', 443, True, '2026-11-23')),
    ('1795410893.931      0 127.0.0.1 TCP_DENIED/407 3501 GET http://a.test/ - HIER_NONE/- text/html', False),
    ('1795410894.006      0 127.0.0.1 NONE_NONE/400 3376 GARBAGE error:invalid-request - HIER_NONE/- text/html', False),
    ('1795410894.006      0 127.0.0.1 NONE_NONE/200 3376 GET error:invalid-request - HIER_NONE/- text/html', False),
    ('10.0.0.5 - bob [23/Nov/2026:09:30:56 +0100] "GET http://a.test/ HTTP/1.1" 304 12', Seen('a.test', 80, False, '2026-11-23')),
    ('10.0.0.5 - - [23/Nov/2026:09:30:56 +0100] "CONNECT a.test:22 HTTP/1.1" 200 12 "-" "-"', Seen('a.test', 22, True, '2026-11-23')),
    ('{"@timestamp": "2026-11-23T09:30:56.000Z", "http.request.method": "GET", "url.original": "http://[::1]/", '
     '"http.response.status_code": 200}', Seen('::1', 80, False, '2026-11-23')),
    ('{"a": 1}', None),
    ('{', None),
    ('2026-11-23 09:30:56 bob@127.0.0.1 GET http://a.test/?b 200 215 7ms', Seen('a.test', 80, False, '2026-11-23')),
    ('\x1b[2m09:30:56 \x1b[0m\x1b[32m127.0.0.1 CONNECT a.test:443 200 215 7ms (3 up)\x1b[0m', Seen('a.test', 443, True, '')),
    ('09:30:56 127.0.0.1 CONNECT a.test:443 open, to 10.0.0.1', False),
    ('2026-11-23 09:30:54 geproxy[17678] listening on *:9000', False),
    ('', False),
    ('what is this', None),
])
def test_a_line_of_any_log_is_read(line, seen):
    assert learn.read_line(line + '\n') == seen


def test_what_was_refused_is_learnt_on_demand():
    line = '1795410893.931      0 127.0.0.1 TCP_DENIED/403 3501 GET http://a.test/ - HIER_NONE/- text/html\n'
    assert learn.read_line(line) is False
    assert learn.read_line(line, True) == Seen('a.test', 80, False, '2026-11-23')


@pytest.mark.parametrize('name', sorted(record.FORMATS))
def test_what_this_proxy_writes_is_read(name):
    made = record.Record('10.0.0.5')
    made.method, made.url, made.version, made.status, made.user = b'GET', b'http://a.test:81/b?c', b'HTTP/1.1', 200, b'bob'
    line = record.FORMATS[name](made, False)
    found = learn.read_line(('2026-11-23 09:30:56 ' if name == 'console' else '') + line)
    assert found[:3] == ('a.test', 81, False)


@pytest.mark.parametrize('host, suffix', [
    ('a', 'a'), ('a.test', 'a.test'), ('x.a.test', 'a.test'), ('y.x.a.test', 'a.test'), ('x.a.co.uk', 'a.co.uk'),
    ('co.uk', 'co.uk'), ('b.s3.amazonaws.com', 'b.s3.amazonaws.com'), ('x.b.github.io', 'b.github.io'),
    ('10.0.0.1', '10.0.0.1'), ('::1', '::1')])
def test_hosts_are_grouped_below_names_of_one_owner(host, suffix):
    assert learn.suffix(host) == suffix


def test_the_most_wanted_come_first_with_ports_counts_and_days():
    seen = [Seen('b.test', 443, True, '2026-11-23'), Seen('x.a.test', 443, True, '2026-11-22')] + [
        Seen(host, 80, False, '2026-11-%d' % day) for day, host in enumerate(['x.a.test', 'y.a.test', 'z.a.test'], 24)] + [
        Seen('::1', 8080, False, '')]
    assert learn.section(seen, ['access.log'])[3:] == [
        'rules =',
        '    allow any .a.test:80,443  # 4 times; 3 hosts, as x.a.test; CONNECT and http, 2026-11-22 to 2026-11-26',
        '    allow any [::1]:8080  # 1 times; http',
        '    allow any b.test:443  # 1 times; CONNECT, 2026-11-23',
        '    deny any any']


def test_the_result_loads_as_it_is(tmpdir, capsys):
    log = tmpdir.join('access.log')
    log.write_binary(b''.join(
        b'1795410893.909      2 127.0.0.1 TCP_MISS/200 189 GET http://%s/ - HIER_DIRECT/127.0.0.1 -\n' % host
        for host in (b'a.test', b'x.b.test', b'y.b.test', b'z.b.test:81', b'[2001:db8::1]', b'10.0.0.1:8080', b'_x-y.c'))
        + b'garbage\n')
    assert learn.main(['learn', str(log)]) == 0
    text, said = capsys.readouterr()
    rules = config.load('learnt.ini', text.split('\n')).access.rules
    assert [rule.text for rule in rules][0] == 'allow any .b.test:80,81' and len(rules) == 6
    assert said == 'geproxy: 1 lines were of no format that is known here\n'


def test_without_anything_to_learn_it_says_so(tmpdir, capsys):
    assert learn.main(['learn', str(tmpdir.join('none.log'))]) == 2
    assert capsys.readouterr() == ('', 'geproxy: %s/none.log: No such file or directory\n' % tmpdir)
    tmpdir.join('empty.log').write_binary(b'')
    assert learn.main(['learn', str(tmpdir.join('empty.log'))]) == 1
    assert capsys.readouterr() == ('', 'geproxy: nothing to learn from\n')
