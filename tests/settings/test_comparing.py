"""What differs between two Settings, and what a reload may not change."""
from __future__ import absolute_import, division, print_function

import os
import shutil

from test_tls import path as pem

from geproxy.settings import comparing, loading, schema


def test_changes_are_listed_by_option_and_by_rule():
    old = loading.load('test.ini', ['[limits]', 'connections = 200', '[access]', 'rules = deny any a', '  allow  any b', '  deny any c'])
    new = loading.load('test.ini', ['[proxy]', 'listen = *:1', '[access]', 'clients =', 'rules = deny any a',
                                    '  allow any b # c', '  deny any d', '  allow any any'])
    assert comparing.changes(old, new) == [
        '[proxy] listen: *:9000 -> *:1 (needs a restart)',
        '[access] clients: loopback private -> nothing',
        '[access] rules: -allow any b', '[access] rules: -deny any c', '[access] rules: +allow any b  # c',
        '[access] rules: +deny any d', '[access] rules: +allow any any',
        '[limits] connections: 200 -> auto']
    assert comparing.changes(new, new) == []
    turned = loading.load('test.ini', ['[access]', 'rules = deny any c', '  deny any a', '  allow any b'])
    first = loading.load('test.ini', ['[access]', 'rules = deny any a', '  allow any b', '  deny any c'])
    assert comparing.changes(first, turned) == ['[access] rules: in another order']
    many = loading.load('test.ini', ['[access]', 'rules = allow any any set X=secret'] + [' deny any a%d' % number for number in range(99)])
    assert comparing.changes(loading.load(None), many)[::50] == ['[access] rules: +allow any any set X=***', '[access] rules: and 50 more']


def test_a_changed_file_of_parents_is_told_by_parent_and_without_passwords(tmpdir):
    shutil.copy(pem('ca.pem'), str(tmpdir.join('ca.pem')))
    path = tmpdir.join('parents')

    def read(text):
        path.write(text)
        path.chmod(0o600)
        return loading.load(str(tmpdir.join('x.ini')), [
            '[upstream]', 'parents = parents', 'routes = any http://a.test:1, https://b.test:2, socks5h://c.test, https://d.test:4'])
    joe, tls = '[http://a.test:1]\nuser = joe\npassword = secret\n', '[https://b.test:2]\nca = ca.pem\n'
    old = read(joe + tls)
    assert comparing.changes(old, read(tls + joe)) == []
    changed, added, gone = [read(text) for text in (
        joe.replace('secret', 'geheim') + tls, joe + tls + '[socks5h://c.test]\nuser = joe\npassword = secret\n', tls)]
    for before, after, parent in (old, changed, 'http://a.test:1'), (old, added, 'socks5h://c.test:1080'), (old, gone, 'http://a.test:1'):
        said = ['[upstream] parents: %s: user or password changed' % parent]
        assert comparing.changes(before, after) == comparing.changes(after, before) == said
    os.utime(str(tmpdir.join('ca.pem')), (1, 1))
    said = ['[upstream] parents: https://b.test:2: ca, certificate or key changed']
    assert comparing.changes(old, read(joe + tls)) == said == comparing.changes(old, read(joe))
    # That a parent is new is told by its row.
    assert not [line for line in comparing.changes(loading.load('x.ini', []), old) if 'changed' in line]


def test_options_that_need_a_restart_stay_as_they_are_until_then():
    running = loading.load('test.ini', ['[proxy]', 'listen = *:1', '[limits]', 'fields = 7'])
    read = loading.load('test.ini', ['[proxy]', 'listen = *:2', '[limits]', 'fields = 8'])
    after = comparing.without_restart(running, read)
    assert (after.proxy.listen, after.limits.fields) == (running.proxy.listen, 8)
    assert after.texts['proxy', 'listen'] == ('*:1',) and after.texts['limits', 'fields'] == ('8',)
    # The automatic name is made of the listeners, so it stays, too; another name is taken.
    assert after.proxy.name == running.proxy.name != read.proxy.name
    assert comparing.without_restart(running, loading.load('test.ini', ['[proxy]', 'name = gate'])).proxy.name == 'gate'
    assert comparing.changes(running, after) == ['[limits] fields: 7 -> 8']


def test_every_option_that_needs_a_restart_says_so():
    assert [(option.section, option.name) for option in schema.SCHEMA if not option.reloadable] == [
        ('proxy', 'listen'), ('proxy', 'user'), ('proxy', 'group'), ('limits', 'quota_file'), ('admin', 'listen')]
