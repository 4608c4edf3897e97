"""The files of users and groups, as files."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from geproxy.auth import hashes, users

SHA = b'{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='


def write(folder, name, octets):
    """A file in `folder` -> its path."""
    path = str(folder.join(name))
    with open(path, 'wb') as opened:
        opened.write(octets)
    return path


def test_users_and_groups_are_read(tmpdir):
    paths = write(tmpdir, 'users', b'bob:' + SHA + b'\neve:' + SHA + b'\n'), write(tmpdir, 'groups', b'a: bob\nb: bob x\n')
    found = users.read(*paths)
    assert found.paths == paths
    assert found.by_name == {b'bob': hashes.parse(SHA), b'eve': hashes.parse(SHA)}
    assert found.groups == {b'bob': {b'a', b'b'}, b'x': {b'b'}}


def test_groups_may_be_without(tmpdir):
    found = users.read(write(tmpdir, 'users', b'bob:' + SHA))
    assert found.groups == {} and len(found.paths) == 1


def test_all_that_is_wrong_is_told_at_once(tmpdir):
    bad, gone = write(tmpdir, 'users', b'bob\neve:' + SHA + b'\nann:hunter2\n'), str(tmpdir.join('groups'))
    with pytest.raises(users.FilesError) as caught:
        users.read(bad, gone)
    assert caught.value.problems == [
        (bad, 1, 'invalid line: expected a name and a colon at its beginning'), (bad, 3, "user 'ann' has a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6"),
        (gone, 0, 'cannot be read: No such file or directory (this file is set in [auth] groups)')]
    assert str(caught.value).splitlines() == [
        bad + ':1: invalid line: expected a name and a colon at its beginning', bad + ":3: user 'ann' has a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6",
        gone + ': cannot be read: No such file or directory (this file is set in [auth] groups)']


def test_with_a_file_without_users_every_log_in_fails(tmpdir):
    found = users.read(write(tmpdir, 'users', b'# none yet\n'))
    assert found.by_name == {}
    assert not any(hashes.verify(secret, password) for secret in found.secrets for password in (b'', b'fits nothing'))


def test_only_changed_files_are_read_again(tmpdir):
    path = write(tmpdir, 'users', b'bob:' + SHA)
    found = users.read(path)
    assert users.read_again(found) is None
    write(tmpdir, 'users', b'bob:' + SHA + b'\neve:' + SHA)
    again = users.read_again(found)
    assert set(again.by_name) == {b'bob', b'eve'}
    assert users.read_again(again) is None


@pytest.mark.parametrize('change', ['time', 'inode'])
def test_a_change_that_leaves_the_size_is_seen(tmpdir, change):
    path = write(tmpdir, 'users', b'bob:' + SHA)
    found = users.read(path)
    status = os.stat(path)
    if change == 'inode':
        os.rename(write(tmpdir, 'new', b'eve:' + SHA), path)        # as editors do
        os.utime(path, (status.st_atime, status.st_mtime))
    else:
        write(tmpdir, 'users', b'eve:' + SHA)
        os.utime(path, (status.st_atime, status.st_mtime + 1))
    assert set(users.read_again(found).by_name) == {b'eve'}


def test_a_file_that_has_gone_is_told(tmpdir):
    path = write(tmpdir, 'users', b'bob:' + SHA)
    found = users.read(path)
    os.remove(path)
    with pytest.raises(users.FilesError) as caught:
        users.read_again(found)
    assert str(caught.value) == path + ': cannot be read: No such file or directory (this file is set in [auth] users)'


MIXED = [b'user%d:' % number + (b'$6$rounds=9000$a$' if number % 4 else b'$6$rounds=1000$a$') + b'%086d' % number
         for number in range(40)]


def users_of(tmpdir, lines):
    """Users of these lines."""
    path = tmpdir.join('users')
    path.write(b'\n'.join(lines), 'wb')
    return users.read(str(path))


def test_an_unknown_name_always_costs_the_same_and_another_user_changes_few(tmpdir):
    found, again, more = (users_of(tmpdir, lines) for lines in (MIXED, MIXED[::-1], MIXED + [b'new:{SHA}' + b'A' * 27 + b'=']))
    names = [b'nobody%d' % number for number in range(400)]
    first = [users.stand_in(found, name) for name in names]
    assert first == [users.stand_in(again, name) for name in names]     # as after a restart
    assert sum(users.stand_in(more, name) != secret for name, secret in zip(names, first)) < 40
    # As often as users have it: three of four.
    assert 200 < sum(secret.rounds == 9000 for secret in first) < 380


def test_without_users_a_secret_that_fits_nothing_stands_in():
    assert users.stand_in(users.NOBODY, b'bob').digest == b'fits nothing'


def test_hashes_that_cost_too_much_are_said(tmpdir):
    assert users.advice(users_of(tmpdir, MIXED)) == []
    text, = users.advice(users_of(tmpdir, MIXED + [b'slow:$6$rounds=60000$a$' + b'x' * 86]))
    assert ': 1 of 41 hashes take more than 100 ms each to verify: ' in text


def test_groups_alone_are_read_and_read_again(tmpdir):
    path = write(tmpdir, 'groups', b'a: bob\n')
    found = users.read('', path)
    assert (found.paths, found.by_name, found.groups) == ((path,), {}, {b'bob': {b'a'}})
    assert users.read_again(found) is None
    write(tmpdir, 'groups', b'a: bob eve\n')
    assert set(users.read_again(found).groups) == {b'bob', b'eve'}
