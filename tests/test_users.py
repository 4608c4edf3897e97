"""The files of users and groups, as files."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from geproxy import hashes, users

SHA = b'{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='


def write(folder, name, octets):
    """A file in `folder` -> its path."""
    path = str(folder.join(name))
    with open(path, 'wb') as opened:
        opened.write(octets)
    return path


def test_users_and_groups_are_read(tmpdir):
    paths = write(tmpdir, 'users', b'bob:' + SHA + b'\neve:' + SHA + b'\n'), write(tmpdir, 'groups', b'a: bob\nb: bob x\n')
    book = users.read(*paths)
    assert book.paths == paths
    assert book.users == {b'bob': hashes.parse(SHA), b'eve': hashes.parse(SHA)}
    assert book.groups == {b'bob': {b'a', b'b'}, b'x': {b'b'}}


def test_groups_may_be_without(tmpdir):
    book = users.read(write(tmpdir, 'users', b'bob:' + SHA))
    assert book.groups == {} and len(book.paths) == 1


def test_all_that_is_wrong_is_told_at_once(tmpdir):
    bad, gone = write(tmpdir, 'users', b'bob\neve:' + SHA + b'\nann:hunter2\n'), str(tmpdir.join('groups'))
    with pytest.raises(users.FilesError) as caught:
        users.read(bad, gone)
    assert caught.value.problems == [
        (bad, 1, 'this line is no name:value'), (bad, 3, "user 'ann' has plain text, or no hash known here"),
        (gone, 0, 'cannot be read: No such file or directory')]
    assert str(caught.value).splitlines() == [
        bad + ':1: this line is no name:value', bad + ":3: user 'ann' has plain text, or no hash known here",
        gone + ': cannot be read: No such file or directory']


def test_a_file_without_users_lets_nobody_in(tmpdir):
    book = users.read(write(tmpdir, 'users', b'# none yet\n'))
    assert book.users == {}
    assert not any(hashes.verify(secret, password) for secret in book.secrets for password in (b'', b'fits nothing'))


def test_only_what_has_changed_is_read_again(tmpdir):
    path = write(tmpdir, 'users', b'bob:' + SHA)
    book = users.read(path)
    assert users.read_again(book) is None
    write(tmpdir, 'users', b'bob:' + SHA + b'\neve:' + SHA)
    again = users.read_again(book)
    assert set(again.users) == {b'bob', b'eve'}
    assert users.read_again(again) is None


@pytest.mark.parametrize('change', ['time', 'inode'])
def test_a_change_that_leaves_the_size_is_seen(tmpdir, change):
    path = write(tmpdir, 'users', b'bob:' + SHA)
    book = users.read(path)
    status = os.stat(path)
    if change == 'inode':
        os.rename(write(tmpdir, 'new', b'eve:' + SHA), path)        # as editors do
        os.utime(path, (status.st_atime, status.st_mtime))
    else:
        write(tmpdir, 'users', b'eve:' + SHA)
        os.utime(path, (status.st_atime, status.st_mtime + 1))
    assert set(users.read_again(book).users) == {b'eve'}


def test_a_file_that_has_gone_is_told(tmpdir):
    path = write(tmpdir, 'users', b'bob:' + SHA)
    book = users.read(path)
    os.remove(path)
    with pytest.raises(users.FilesError) as caught:
        users.read_again(book)
    assert str(caught.value) == path + ': cannot be read: No such file or directory'
