"""Pipes from socket to socket. What the copy loops make of them stands in test_relay."""
from __future__ import absolute_import, division, print_function

import contextlib
import errno
import os
import resource
import socket
import sys

import gevent
import pytest

from geproxy.net import kernel_pipes
from helpers import PATIENCE

HERE = sys.platform.startswith('linux')
needs_splice = pytest.mark.skipif(not HERE, reason='splice(2) is of Linux')


def descriptors():
    """How many are open."""
    gevent.sleep(0.001)             # gevent closes from its loop
    return len(os.listdir('/proc/self/fd'))


@contextlib.contextmanager
def starving():
    """No more file descriptors."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (kept[0] + 1, limits[1]))
    try:
        with pytest.raises(OSError):
            while True:
                kept.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in kept:
            os.close(descriptor)


@pytest.fixture(params=['os', 'ctypes'])
def splice(request, monkeypatch):
    """splice(2), in each way in which it is to be had."""
    if request.param == 'ctypes':
        monkeypatch.delattr(os, 'splice', raising=False)
    elif not hasattr(os, 'splice'):
        pytest.skip('os.splice is there from Python 3.10')
    return kernel_pipes.find()


@pytest.fixture
def ends():
    """Two connected sockets that never wait, and two more."""
    made = socket.socketpair() + socket.socketpair()
    for sock in made:
        sock.settimeout(0.0)
    yield made
    for sock in made:
        sock.close()


@needs_splice
def test_octets_go_through_as_they_are_and_no_more_than_wanted(splice, ends):
    user, source, sink, server = ends
    pool = kernel_pipes.Pool(splice)
    pipe = pool.take()
    user.send(b'hello, world')
    assert pipe.fill(source.fileno(), 5) == 5 and pipe.held == 5
    assert pipe.drain(sink.fileno()) == 5 and pipe.held == 0
    assert server.recv(100) == b'hello' and source.recv(100) == b', world'
    user.close()
    assert pipe.fill(source.fileno(), 5) == 0
    pool.give_back(pipe)
    assert pool.take() is pipe
    pipe.close()


@needs_splice
def test_errors_of_the_system_are_raised(splice, ends):
    pipe = kernel_pipes.Pool(splice).take()
    with pytest.raises(OSError) as caught:
        pipe.fill(ends[1].fileno(), 5)
    assert caught.value.args[0] == errno.EAGAIN and os.strerror(errno.EAGAIN) in str(caught.value)
    pipe.close()
    assert not kernel_pipes.Pool(splice).refuses(caught.value)


@needs_splice
def test_there_are_only_so_many(splice):
    pool = kernel_pipes.Pool(splice, most=2)
    before = descriptors()
    first, second = pool.take(), pool.take()
    assert pool.take() is None and descriptors() == before + 4
    pool.give_back(first)
    assert pool.take() is first
    first.close()
    second.close()
    assert descriptors() == before


@needs_splice
def test_a_pipe_that_is_not_empty_is_not_used_again(splice, ends):
    pool = kernel_pipes.Pool(splice, most=1)
    before = descriptors()
    pipe = pool.take()
    ends[0].send(b'secret')
    pipe.fill(ends[1].fileno(), 100)
    pool.give_back(pipe)
    assert descriptors() == before
    pipe = pool.take()
    assert pipe.held == 0
    pipe.close()


@needs_splice
def test_without_descriptors_there_is_none(splice):
    pool = kernel_pipes.Pool(splice)
    with starving():
        assert pool.take() is None
    pipe = pool.take()
    assert pipe is not None
    pipe.close()


@needs_splice
def test_one_that_is_too_small_is_none(splice, monkeypatch):
    monkeypatch.setattr(kernel_pipes, 'SIZE', 1 << 31)             # nobody gets that
    pipe = kernel_pipes.Pool(splice).take()
    assert pipe is not None                                 # as it comes
    pipe.close()
    before = descriptors()
    monkeypatch.setattr(kernel_pipes, 'LEAST', 1 << 31)
    assert kernel_pipes.Pool(splice).take() is None and descriptors() == before


@needs_splice
@pytest.mark.parametrize('number', [errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_a_pool_that_was_refused_splice_never_tries_again(splice, ends, number):
    pool = kernel_pipes.Pool(splice)
    before = descriptors()
    idle, used = pool.take(), pool.take()
    pool.give_back(idle)
    ends[0].send(b'x' * 1000)
    used.fill(ends[1].fileno(), 1000)
    assert pool.refuses(OSError(number, os.strerror(number))) and pool.take() is None
    assert used.read_all() == b'x' * 1000
    pool.give_back(used)
    assert descriptors() == before


def test_a_system_without_it_has_no_pipes():
    assert kernel_pipes.Pool(None).take() is None
    assert (kernel_pipes.find() is not None) == HERE


@needs_splice
def test_the_process_has_its_pool(ends):
    pipe = kernel_pipes.pool.take()
    ends[0].settimeout(PATIENCE)
    ends[0].send(b'x')
    assert pipe.fill(ends[1].fileno(), 10) == 1 and pipe.read(10) == b'x'
    kernel_pipes.pool.give_back(pipe)


@needs_splice
def test_octets_are_poured_from_pipe_to_pipe_until_that_is_full(splice, ends):
    first, second = both = [kernel_pipes.Pool(splice).take() for _ in range(2)]
    pieces = 0
    while second.write(b'x' * kernel_pipes.PAGE):
        pieces += 1
    assert second.held == pieces * kernel_pipes.PAGE >= kernel_pipes.LEAST
    ends[0].send(b'hello, world')
    first.fill(ends[1].fileno(), 100)
    assert first.pour(second, 5) == 0 and first.held == 12      # full
    assert second.read_all() == b'x' * kernel_pipes.PAGE * pieces
    assert first.pour(second, 5) == 5 and second.write(b'!')
    assert second.read_all() == b'hello!' and first.read(100) == b', world' and first.held == 0
    for pipe in both:
        pipe.close()


@needs_splice
@pytest.mark.parametrize('octets, result, moved, rest', [
    (b'abc', (0, b''), b'abc', b''),
    (b'abc--', (0, b''), b'abc', b'--'),                        # not the whole line
    (b'abc--|de', (4, b''), b'abc', b'de'),                     # not the whole piece
    (b'abc--|defg--|hijk--!lm', (0, b'--!'), b'abcdefghijk', b'lm'),
    (b'ab', (3, b''), b'', b'ab'),
])
def test_pieces_with_the_same_line_between_them_are_poured_at_once(splice, octets, result, moved, rest):
    first, second = both = [kernel_pipes.Pool(splice).take() for _ in range(2)]
    first.write(octets)
    assert first.pour_run(second, 3, 4, b'--|') == result
    assert (first.held, second.held) == (len(rest), len(moved))
    assert second.read_all() == moved and first.read_all() == rest
    for pipe in both:
        pipe.close()


@needs_splice
def test_pieces_are_poured_at_once_until_the_other_pipe_is_full(splice):
    first, second = both = [kernel_pipes.Pool(splice).take() for _ in range(2)]
    while second.write(b'x' * kernel_pipes.PAGE):
        pass
    first.write(b'abc--|de')
    assert first.pour_run(second, 3, 4, b'--|') == (3, b'') and first.held == 8
    for pipe in both:
        pipe.close()


@needs_splice
def test_octets_that_cannot_be_poured_are_copied(splice, ends):
    def refuse(*_):
        raise OSError(errno.EINVAL, 'no')
    first, second = kernel_pipes.Pipe(refuse), kernel_pipes.Pipe(splice)
    first.write(b'hello')
    assert second.write(b'x') and first.pour(second, 2) == 0
    assert second.read_all() == b'x' and first.pour(second, 2) == 2
    assert second.read_all() == b'he' and first.read_all() == b'llo'
    first.close()
    second.close()
