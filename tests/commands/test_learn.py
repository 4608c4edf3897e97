"""``geproxy learn``: from what went through to rules that allow it."""
from __future__ import absolute_import, division, print_function

import pytest
from helpers import Asked

from geproxy.commands import learn
from geproxy.net import address
from geproxy.observe import formats, record
from geproxy.settings import loading

SQUID = '1795410893.909      2 127.0.0.1 %s 189 %s %s - %s text/html\n'
NOTHING = ('geproxy: nothing to learn: no line has a request that went through. '
           'For refused requests: --refused\n')


def learnt(*lines):
    """Return what is learnt from these lines: {host: (count, ways, first, last)}."""
    found = learn.Learnt()
    for line in lines:
        found.add(learn.read_line(line))
    return dict((host, (tally.count, tally.ways, tally.first, tally.last)) for host, tally in found.tallies.items())


def seen(*each):
    """Return {host: Tally} for these: (host, port, true for CONNECT, day)."""
    found = learn.Learnt()
    for host, port, tunnel, day in each:
        host = '[%s]' % host if ':' in host else host
        found.add(('CONNECT', '%s:%d' % (host, port), day) if tunnel else ('GET', 'http://%s:%d/' % (host, port), day))
    return found.tallies


def proposed(*each):
    """Return the rules and comments that are proposed for these; see `seen`."""
    return [line.strip() for line in list(learn.section(seen(*each), ['log']))[4:-1]]


@pytest.mark.parametrize('line, host, port, tunnel, day', [
    ('1795410893.909      2 127.0.0.1 TCP_MISS/200 189 GET http://www.a.test:8080/x? - HIER_DIRECT/127.0.0.1 -',
     'www.a.test', 8080, False, '2026-11-23'),
    ('1795410896.128     49 127.0.0.1 TCP_TUNNEL/200 1580 CONNECT WWW.a.test.:443 bob HIER_DIRECT/127.0.0.1 -',
     'www.a.test', 443, True, '2026-11-23'),
    ('10.0.0.5 - bob [23/Nov/2026:09:30:56 +0100] "GET http://a.test?x HTTP/1.1" 304 12', 'a.test', 80, False, '2026-11-23'),
    ('10.0.0.5 - - [23/Nov/2026:09:30:56 +0100] "CONNECT a.test:22 HTTP/1.1" 200 12 "-" "-"', 'a.test', 22, True, '2026-11-23'),
    ('10.0.0.5 - - [23/Brumaire/2026:09:30:56 +0100] "CONNECT a.test:22 HTTP/1.1" 200 12', None, 0, None, ''),
    ('10.0.0.5 - - [23/Bru/2026:09:30:56 +0100] "CONNECT a.test:22 HTTP/1.1" 200 12', 'a.test', 22, True, ''),
    ('{"@timestamp": "2026-11-23T09:30:56.000Z", "http.request.method": "GET", "url.original": "http://[0::1]/", '
     '"http.response.status_code": 200, "destination.ip": "::1"}', '::1', 80, False, '2026-11-23'),
    ('2026-11-23 09:30:56 bob@127.0.0.1 GET http://a.test/?b 200 215 7ms', 'a.test', 80, False, '2026-11-23'),
    ('\x1b[2m09:30:56 \x1b[0m\x1b[32m127.0.0.1 CONNECT a.test:443 200 215 7ms (3 up)\x1b[0m', 'a.test', 443, True, ''),
    (SQUID % ('TCP_MISS/200', 'GET', 'http://[::ffff:10.0.0.1]/', 'HIER_DIRECT/10.0.0.1'), '10.0.0.1', 80, False, '2026-11-23'),
    (SQUID % ('TCP_MISS/200', 'GET', 'error:invalid-request', 'HIER_DIRECT/10.0.0.1'), None, 0, None, ''),
])
def test_a_line_of_any_log_is_read(line, host, port, tunnel, day):
    assert learnt(line + '\n') == ({host: (1, {(port, tunnel)}, day, day)} if host else {})


@pytest.mark.parametrize('line, found', [
    ('{"a": 1}', None),
    ('{', None),
    ('{"a":' * 20000, None),
    ('{"@timestamp": [], "http.request.method": 1, "url.original": null, "http.response.status_code": 0}', False),
    ('99999999999999999999.909      2 127.0.0.1 TCP_MISS/200 189 GET http://a/ - HIER_DIRECT/127.0.0.1 -', None),
    ('09:30:56 127.0.0.1 CONNECT a.test:443 open, to 10.0.0.1', False),
    ('2026-11-23 09:30:54 geproxy[17678] listening on *:9000', False),
    ('', False),
    ('what is this', None),
])
def test_a_line_without_an_exchange_differs_from_one_of_unknown_format(line, found):
    assert learn.read_line(line + '\n') is found


@pytest.mark.parametrize('result, peer, went', [
    ('TCP_MISS/200', 'HIER_DIRECT/10.0.0.1', True),
    ('TCP_MISS/401', 'HIER_DIRECT/10.0.0.1', True),
    ('TCP_MISS/403', 'HIER_DIRECT/10.0.0.1', True),
    ('TCP_MISS/503', 'FIRSTUP_PARENT/10.0.0.1', True),
    ('TCP_MISS_ABORTED/000', 'HIER_DIRECT/2001:db8::1', True),
    ('TCP_MEM_HIT/200', 'HIER_NONE/-', True),
    ('NONE_NONE/200', 'HIER_NONE/-', False),            # a page of the proxy's own
    ('TCP_DENIED/403', 'HIER_NONE/-', False),
    ('TCP_DENIED/407', 'HIER_NONE/-', False),
    ('TCP_MISS/503', 'HIER_NONE/-', False),
])
def test_a_request_went_through_if_an_address_was_reached(result, peer, went):
    line = SQUID % (result, 'GET', 'http://a.test/', peer)
    assert bool(learn.read_line(line)) is went
    assert learn.read_line(line, refused=True) == ('GET', 'http://a.test', '2026-11-23')


def test_in_json_the_address_tells_whether_it_went_through():
    line = ('{"@timestamp": "2026-11-23T09:30:56.000Z", "http.request.method": "GET", "url.original": "http://a.test/b", '
            '"http.response.status_code": %s}')
    assert learn.read_line(line % '404, "destination.ip": "10.0.0.1"') == ('GET', 'http://a.test', '2026-11-23')
    assert learn.read_line(line % '200') is False
    assert learn.read_line(line % '403', refused=True) == ('GET', 'http://a.test', '2026-11-23')


@pytest.mark.parametrize('status, went', [
    (0, False), (200, True), (304, True), (400, False), (401, True), (403, False), (404, True), (407, False), (408, False),
    (410, True), (414, False), (417, False), (429, False), (431, False), (500, False), (502, False), (504, False)])
def test_in_a_log_without_addresses_the_status_tells(status, went):
    made = record.Record('10.0.0.5')
    made.request, made.status = Asked(b'GET', b'http://a.test/', b'HTTP/1.1'), status
    for line in (formats.common_line(made, False), '09:30:56 ' + formats.console_line(made, False)):
        assert bool(learn.read_line(line)) is went, line
        assert learn.read_line(line, refused=True)[:2] == ('GET', 'http://a.test')


@pytest.mark.parametrize('name', sorted(formats.FORMATS))
def test_each_format_of_this_proxy_is_read(name):
    made = record.Record('10.0.0.5')
    made.request, made.status, made.user = Asked(b'GET', b'http://a.test:81/b?c', b'HTTP/1.1'), 404, b'bob'
    made.address = '10.0.0.1'
    line = formats.FORMATS[name](made, False)
    found = learnt(('2026-11-23 09:30:56 ' if name == 'console' else '') + line)
    assert found['a.test'][:2] == (1, {(81, False)})


def test_lines_are_summed_up_by_host():
    found = learn.Learnt()
    for number in range(learn.KNOWN + 2):               # enough to empty the memory of known URLs in between
        found.add(('GET', 'http://a.test:81?%d' % number, '2026-11-%02d' % (1 + number % 28)))
    found.add(('CONNECT', 'A.test.:443', '2026-10-01'))
    found.add(None)
    found.add(False)
    tally = found.tallies.pop('a.test')
    assert (tally.count, tally.ways) == (learn.KNOWN + 3, {(81, False), (443, True)})
    assert (tally.first, tally.last) == ('2026-10-01', '2026-11-28')
    assert (found.tallies, found.strange) == ({}, 1)


@pytest.mark.parametrize('host, suffix', [
    ('a', 'a'), ('a.test', 'a.test'), ('x.a.test', 'a.test'), ('y.x.a.test', 'a.test'), ('10.0.0.1', '10.0.0.1'), ('::1', '::1'),
    ('co.uk', 'co.uk'), ('a.co.uk', 'a.co.uk'), ('y.x.a.co.uk', 'a.co.uk'), ('x.a.com.au', 'a.com.au'), ('x.a.go.id', 'a.go.id'),
    ('x.a.edu.pe', 'a.edu.pe'), ('x.a.sch.uk', 'a.sch.uk'), ('x.a.uk.com', 'a.uk.com'), ('y.x.com.test', 'com.test')])
def test_hosts_are_grouped_by_domains_of_one_owner(host, suffix):
    assert learn.suffix(host) == suffix


@pytest.mark.parametrize('host', [
    'amazonaws.com', 'b.amazonaws.com', 'b.s3.eu-west-1.amazonaws.com', 'x.y.z.github.io', 'a.blob.core.windows.net',
    'a.azurewebsites.net', 'a.scm.azurewebsites.net', 'd1.cloudfront.net', 'storage.googleapis.com', 'a.b.web.app',
    'a.fastly.net', 'a.pages.dev', 'a.b.workers.dev', 'a.vercel.app', 'a.blogspot.com', 'b.fra1.digitaloceanspaces.com',
    'a.myshopify.com', 'a.herokuapp.com', 'a.gitlab.io', 'a.e.akamaihd.net'])
def test_hosts_of_providers_are_never_grouped(host):
    assert learn.suffix(host) == host
    assert proposed(*[(name + host, 443, True, '') for name in ('a.', 'b.', 'c.')]) == [
        'allow any %s:443  # 1 time; CONNECT' % (name + host) for name in ('a.', 'b.', 'c.')]


def test_the_most_wanted_hosts_come_first_with_ports_counts_and_days():
    tallies = seen(('b.test', 443, True, '2026-11-23'), ('x.a.test', 443, True, '2026-11-22'), ('::1', 8080, False, ''), *[
        (host, 80, False, '2026-11-%d' % day) for day, host in enumerate(['x.a.test', 'y.a.test', 'z.a.test'], 24)])
    assert list(learn.section(tallies, ['access.log', 'a b'])) == [
        '# Learnt from access.log, a%20b: 6 requests for 5 hosts. Remove the rules that you do not want:',
        '# a request that went through once may still be unwanted. Then check the file: geproxy --check FILE',
        '[access]',
        'rules =',
        '    allow any .a.test:80,443  # 4 times; 3 hosts, as x.a.test; CONNECT and http, 2026-11-22 to 2026-11-26',
        '    allow any [::1]:8080  # 1 time; http',
        '    allow any b.test:443  # 1 time; CONNECT, 2026-11-23',
        '    deny any any']
    assert ': 1 request for 1 host. ' in next(learn.section(seen(('a', 80, False, '')), ['log']))


@pytest.mark.parametrize('host', sorted(address.PRESETS) + [
    'any.', '2130706433', '127.1', '0', '1.2.3.4.5', '127.0.0.256', 'a' * 255])
def test_a_host_that_a_rule_would_misread_becomes_a_comment(host):
    line, = proposed((host, 80, False, ''))
    assert line == '# no rule for %s:80: 1 time; http' % host.rstrip('.')


@pytest.mark.parametrize('host, where', [
    ('allow', 'allow:80'), ('http', 'http:80'), ('get', 'get:80'), ('until', 'until:80'), ('fd00', 'fd00:80'), ('0x7f.1', '0x7f.1:80'),
    ('_x-y~.c', '_x-y~.c:80'), ('10.0.0.1', '10.0.0.1:80'), ('0.0.0.0', '0.0.0.0:80'), ('2001:db8::1', '[2001:db8::1]:80'),
    ('::ffff:10.0.0.1', '10.0.0.1:80'), ('::', '[::]:80'), ('64:ff9b::a00:1', '[64:ff9b::a00:1]:80'), ('any.test', 'any.test:80')])
def test_a_rule_means_exactly_the_host_that_was_seen(host, where):
    assert proposed((host, 80, False, '')) == ['allow any %s  # 1 time; http' % where]


def test_a_domain_that_cannot_be_one_is_not_proposed():
    assert proposed(*[('%d.2.3.4.5' % number, 80, False, '') for number in range(3)]) == [
        '# no rule for %d.2.3.4.5:80: 1 time; http' % number for number in range(3)]


def test_many_ports_become_ranges_and_too_many_become_a_comment():
    assert proposed(*[('a', port, False, '') for port in (80, 8000, 8002, 8001, 65535)]) == [
        'allow any a:80,8000-8002,65535  # 5 times; http']
    line, = proposed(*[('a', port, False, '') for port in range(1, 65536, 2)])
    assert line.startswith('# no rule for a:1,3,5,') and line.endswith(',63,...: 32768 times; http')


def test_the_printed_section_loads(tmpdir, capsys):
    log = tmpdir.join('access.log')
    hosts = 'a.test x.b.test y.b.test z.b.test:81 [2001:db8::1] 10.0.0.1:8080 _x-y.c any private 2130706433'.split()
    log.write(''.join(SQUID % ('TCP_MISS/200', 'GET', 'http://%s/' % host, 'HIER_DIRECT/10.0.0.1') for host in hosts) + 'garbage\n')
    assert learn.main(['learn', str(log)]) == 0
    text, said = capsys.readouterr()
    rules = loading.load('learnt.ini', text.split('\n')).access.rules
    assert [rule.text for rule in rules][0] == 'allow any .b.test:80,81' and len(rules) == 6
    assert said == 'geproxy: skipped 1 line of unknown format\n'
    log.write_binary(b'garbage\n' * 2)
    assert learn.main(['learn', str(log)]) == 1
    assert capsys.readouterr()[1] == (
        'geproxy: skipped 2 lines of unknown format\n' + NOTHING)


def test_a_section_without_any_learnt_rule_loads(tmpdir, capsys):
    log = tmpdir.join('access.log')
    log.write(SQUID % ('TCP_MISS/200', 'CONNECT', 'loopback:443', 'HIER_DIRECT/127.0.0.1'))
    assert learn.main(['learn', str(log)]) == 0
    assert [rule.text for rule in loading.load('learnt.ini', capsys.readouterr()[0].split('\n')).access.rules] == ['deny any any']


def test_a_line_without_end_is_read_in_pieces(tmpdir, capsys):
    log = tmpdir.join('access.log')
    log.write_binary(b'x' * (learn.LINE_SIZE * 2 + 1))
    assert learn.main(['learn', str(log)]) == 1
    assert capsys.readouterr()[1].startswith('geproxy: skipped 3 lines of unknown format\n')


def test_if_nothing_is_learnt_the_message_says_why(tmpdir, capsys):
    assert learn.main(['learn', str(tmpdir.join('none.log'))]) == 2
    assert capsys.readouterr() == ('', 'geproxy: %s/none.log: No such file or directory\n' % tmpdir)
    tmpdir.join('empty.log').write_binary(b'')
    assert learn.main(['learn', str(tmpdir.join('empty.log'))]) == 1
    assert capsys.readouterr() == ('', NOTHING)
    assert learn.main(['learn', '--refused', str(tmpdir.join('empty.log'))]) == 1
    assert capsys.readouterr()[1] == 'geproxy: nothing to learn: no line has a request that names a host\n'
