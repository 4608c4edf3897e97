"""The examples in conf/ do what each of them is for."""
from __future__ import absolute_import, division, print_function

import datetime
import io
import os
import re
import shutil
import time

import pytest

from geproxy import errors
from geproxy.net.address import parse_ip
from geproxy.policy import access, routes, rules
from geproxy.settings import loading
from processes import CHECKOUT, GEPROXY, folder, run, write

CONF = os.path.join(CHECKOUT, 'conf')
TUESDAY_NOON = time.mktime(datetime.datetime(2026, 11, 24, 12).timetuple())
SUNDAY_NOON = TUESDAY_NOON - 2 * 86400


def policy(name):
    """The Access of an example, and its Settings."""
    settings = loading.load(os.path.join(CONF, name))
    return access.Access(settings.access, lambda ip, port: False, lambda ip: False), settings


def decided(name, client, user, method, host, port, address, now):
    """Where it says so ('rule' by its comment, 'ports', 'special', 'client', 'no rule'), for a refusal; else ''."""
    judge, settings = policy(name)
    groups = settings.users.groups.get(user, frozenset()) if settings.users else frozenset()
    question = rules.Question(parse_ip(client), user, groups, method, host, port)
    try:
        judge.check_client(question.client)
        judge.check_target(question, now)
        judge.check_address(question, address, now)
    except errors.AddressDenied:
        return 'special'
    except errors.Denied as error:
        return str(error)
    return ''


EGRESS = [
    (b'CONNECT', b'api.example.com', 443, '8.8.8.8', ''),
    (b'CONNECT', b'www.pypi.org', 443, '8.8.8.8', ''),
    (b'GET', b'deb.debian.org', 80, '8.8.8.8', ''),
    (b'CONNECT', b'deb.debian.org', 443, '8.8.8.8', ''),
    (b'GET', b'pypi.org', 443, '8.8.8.8', 'deny any any'),         # https only by CONNECT
    (b'CONNECT', b'api.example.com', 8443, '8.8.8.8', 'port 8443'),
    (b'CONNECT', b'evil.example', 443, '8.8.8.8', 'deny any any'),
    (b'CONNECT', b'a.pastebin.com', 443, '8.8.8.8', 'SEC-101'),
    (b'CONNECT', b'api.example.com', 443, '10.0.0.1', 'special'),
    (b'CONNECT', b'api.example.com', 443, '169.254.169.254', 'special'),
    (b'CONNECT', b'api.example.com', 443, '::ffff:127.0.0.1', 'special'),
    (b'GET', b'169.254.169.254', 80, '169.254.169.254', 'deny any any'),
]


@pytest.mark.parametrize('method, host, port, address, why', EGRESS)
def test_the_egress_allowlist_lets_a_tier_reach_what_it_needs_and_nothing_inside(method, host, port, address, why):
    found = decided('egress-allowlist.ini', '10.1.2.3', None, method, host, port, address, TUESDAY_NOON)
    assert (why in found) if why else found == ''
    assert decided('egress-allowlist.ini', '10.2.0.1', None, method, host, port, address, TUESDAY_NOON)


CORPORATE = [
    ('10.9.0.5', None, b'GET', b'deb.debian.org', 80, TUESDAY_NOON, ''),
    ('10.9.0.5', None, b'CONNECT', b'www.example.com', 443, TUESDAY_NOON, 'machines reach their updates only'),
    ('10.2.0.5', b'anna', b'CONNECT', b'www.bank.example', 443, SUNDAY_NOON, ''),
    ('10.2.0.5', b'anna', b'CONNECT', b'git.example', 22, SUNDAY_NOON, ''),
    ('10.2.0.5', b'bert', b'CONNECT', b'www.bank.example', 443, TUESDAY_NOON, ''),
    ('10.2.0.5', b'bert', b'CONNECT', b'www.bank.example', 443, SUNDAY_NOON, 'banking is for finance'),
    ('10.2.0.5', b'emil', b'CONNECT', b'www.bank.example', 443, TUESDAY_NOON, 'banking is for finance'),
    ('10.2.0.5', b'emil', b'CONNECT', b'www.example.org', 443, TUESDAY_NOON, ''),
    ('10.2.0.5', b'emil', b'CONNECT', b'www.example.org', 22, TUESDAY_NOON, 'port 22'),
    ('10.2.0.5', b'dora', b'CONNECT', b'www.example.com', 443, TUESDAY_NOON, ''),
    ('10.2.0.5', b'dora', b'CONNECT', b'www.example.org', 443, TUESDAY_NOON, 'our own sites only'),
    ('10.2.0.5', b'dora', b'CONNECT', b'www.video.example', 443, TUESDAY_NOON, 'our own sites only'),
    ('10.2.0.5', b'emil', b'CONNECT', b'www.video.example', 443, TUESDAY_NOON, ''),
    ('10.9.0.5', b'emil', b'CONNECT', b'www.video.example', 443, TUESDAY_NOON, 'machines reach their updates only'),
    ('10.2.0.5', None, b'CONNECT', b'www.video.example', 443, TUESDAY_NOON, 'deny any any'),
    ('10.2.0.5', b'anna', b'GET', b'x.malware.example', 80, TUESDAY_NOON, 'security@corp'),
    ('10.2.0.5', b'anna', b'GET', b'tracker.example', 80, TUESDAY_NOON, 'security@corp'),
    ('9.9.9.9', b'anna', b'GET', b'a.example', 80, TUESDAY_NOON, 'client 9.9.9.9'),
    ('10.2.0.5', None, b'GET', b'a.example', 80, TUESDAY_NOON, 'deny any any'),
]


@pytest.mark.parametrize('client, user, method, host, port, now, why', CORPORATE)
def test_the_corporate_gateway_lets_each_where_they_belong(client, user, method, host, port, now, why):
    found = decided('corporate.ini', client, user, method, host, port, '8.8.8.8', now)
    assert (why in found) if why else found == ''


def test_the_corporate_gateway_has_limits_and_everybody_logs_in():
    _judge, settings = policy('corporate.ini')
    assert settings.limits.quota == 20 << 30 and settings.limits.rate == 8 << 20 and settings.limits.per_client == 200
    assert settings.users.by_name == {}            # nobody has a password that everybody knows
    video = [rule for rule in settings.access.rules if b'.video.example' in (rule.wheres[0].names or ())]
    assert [rule.options.rate for rule in video] == [4 << 20]


def test_the_corporate_gateway_is_tried_as_its_first_lines_say():
    text = open(os.path.join(CONF, 'corporate.ini')).read()
    commands = re.findall(r'(?m)^#   (.*)$', text)
    assert [command.split()[0] for command in commands] == ['mkdir', 'htpasswd', 'python', 'python']
    with folder() as here:
        for name in ('corporate.ini', 'corporate.users', 'corporate.groups', 'corporate.blocked'):
            shutil.copy(os.path.join(CONF, name), here)
        for path in commands[0].split()[2:]:                                    # as `mkdir -p` would, but in here
            os.makedirs(here + path)
        write(os.path.join(here, 'corporate.ini'), text.replace('= /var/', '= %s/var/' % here))
        with open(os.path.join(here, 'corporate.users'), 'a') as users:         # as `htpasswd` would
            users.write('%s:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n' % commands[1].split()[-1])
        for command, shown in zip(commands[2:], (b'', b'allow group:it any:any')):
            tried = run(GEPROXY + command.split()[3:] + ['--no-net'] * ('why' in command), cwd=here, more_env={'PYTHONPATH': CHECKOUT})
            assert (tried.popen.returncode, shown in tried.out) == (0, True), (tried.out, tried.err)


@pytest.mark.parametrize('host, port, method, why', [
    ('127.0.0.1', 8080, b'GET', ''), ('127.0.0.1', 22, b'CONNECT', ''), ('8.8.8.8', 1, b'GET', ''),
    ('169.254.169.254', 80, b'GET', 'special')])
def test_the_window_shows_everything_to_its_developer_only(host, port, method, why):
    assert decided('debug.ini', '127.0.0.1', None, method, host.encode('ascii'), port, host, 0) == why
    assert 'client 10.0.0.1' in decided('debug.ini', '10.0.0.1', None, method, host.encode('ascii'), port, host, 0)
    _judge, settings = policy('debug.ini')
    assert (settings.log.format, settings.log.query, settings.proxy.via) == ('console', 'on', False)


def test_the_examples_of_the_chapter_about_parents_do_what_it_says(tmpdir, monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with io.open(os.path.join(CHECKOUT, 'geproxy', 'manual', 'parents.md'), encoding='utf-8') as opened:
        first, logins, cntlm, environment = re.findall(r'(?s)```ini\n(.*?)```', opened.read())
    pems = os.path.join(CHECKOUT, 'tests', 'pems')
    for shown, there in (('corp-ca.pem', 'ca.pem'), ('client.pem', 'joe.pem'), ('client.key', 'joe.key')):
        shutil.copy(os.path.join(pems, there), str(tmpdir.join(shown)))
    tmpdir.join('parents').write_binary(logins.encode('ascii'))
    tmpdir.join('parents').chmod(0o600)
    lines = first.replace('/etc/geproxy/parents', str(tmpdir.join('parents'))).encode('ascii').splitlines()
    found = loading.load('proxy.ini', lines).routes
    for host, way in ((b'a.corp', ['direct']), (b'10.1.2.3', ['direct']), (b'partner.example', ['http://proxy-b.corp:3128']),
                      (b'a.test', ['http://proxy-a.corp:3128', 'http://proxy-b.corp:3128'])):
        assert [routes.show(route) for route in found.choose(host, 80).routes] == way
    assert [parent.login for parent in found.parents if parent.host == b'proxy-a.corp'] == [
        (b'joe', b'anything, with # and = in it')]
    assert len(loading.load('proxy.ini', cntlm.encode('ascii').splitlines()).routes.rows) == 1
    monkeypatch.setenv('all_proxy', 'http://joe:p%40ss@proxy:3128')
    by_variable = loading.load('proxy.ini', environment.encode('ascii').splitlines()).routes
    assert [parent.login for parent in by_variable.parents] == [(b'joe', b'p@ss')]
