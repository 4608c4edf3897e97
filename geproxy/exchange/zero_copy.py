"""When octets take the short way, through pipes in the kernel: where many come at once. Reads no more than it must.

Nobody can tell from outside which way they went. Where there is no pipe, or somebody has to see the octets, or they are
throttled, nothing is taken here, and the copy loops do it.
"""
from __future__ import absolute_import, division, print_function

from geproxy.net import kernel_pipes

LONG = 32 * 1024        # octets: where so many come at once, a pipe is cheaper than copying
COARSE = 8 * 1024       # octets of a chunk for which it is
LINE = 5                # octets between two chunks, at least


def pass_body(body, source, sink, limit, chunked):
    """Pass on what is there of a body through pipes, as far as nobody needs to see it -> how many octets; 0 if they
    must be copied, or there are none."""
    if not body.splices:
        return 0
    if body.chunk is not None:
        return _pass_chunks(body, source, sink, limit, chunked) if body.chunk >= COARSE else 0
    pipe = fill(source, sink, body.unseen)
    if pipe is None:
        return 0
    body.skip(pipe.held)
    return empty(pipe, sink, limit, chunked)


def _pass_chunks(body, source, sink, limit, chunked):
    """The same for large chunks: their content goes on in a second pipe."""
    content = kernel_pipes.pool.take()
    if content is None:
        return 0
    raw = None
    try:
        raw = fill(source, sink)
        if raw is None:
            return 0
        count = raw.held
        behind = _sift(body, raw, content, lambda: _send(content, sink, limit, chunked))
        if behind or raw.held:
            source.unread(behind + raw.read_all())
        return count
    finally:
        for pipe in (raw, content):
            if pipe is not None:
                kernel_pipes.pool.give_back(pipe)


def _sift(body, raw, content, send):
    """Read out of `raw` what is between chunks, and pour what is in them into `content`; `send` empties that. Ends
    before `raw` is empty if the body does, or if chunks turn out to be small -> octets read from behind the body."""
    size, taken = LINE, 0               # octets of the last line between two chunks, of this one so far
    data = b''
    lines = raw.held // COARSE + 8
    while raw.held and lines and not body.done:
        data = b''
        if body.unseen:
            data = _pour(body, raw, content, send)
            if body.unseen or not data and not raw.held:
                continue
        lines -= 1
        data = data or raw.read(size)
        if body.repeats(data):
            continue
        piece = body.feed(data, len(data))
        if len(piece) and not content.write(piece):
            send()
            content.write(piece)
        taken += len(data) - len(piece)
        if len(piece) or body.unseen:
            size, taken = min(kernel_pipes.PAGE, max(LINE, taken)), 0
    send()
    return data[body.used:] if body.done else b''


def _pour(body, raw, content, send):
    """Pour the rest of a chunk, and as many more of its size as come, out of `raw` into `content` -> what was read
    behind the last one; b'' if nothing was. `send`: see `_sift`."""
    if COARSE <= body.chunk and len(body.again) <= kernel_pipes.PAGE:
        left, data = raw.pour_run(content, body.unseen, body.chunk, body.again)
        body.stand(left)
        if not left:
            return data
    if raw.held:
        moved = raw.pour(content, body.unseen)
        body.skip(moved)
        if not moved:
            send()
    return b''


def fill(source, sink, most=kernel_pipes.SIZE):
    """A pipe with up to `most` octets of those that are there; None if they must be copied, or there are none. Who
    gets it empties it."""
    pipe = None
    if most >= LONG and not source.buffer and sink.pace is None and source.splices and sink.splices:
        pipe = kernel_pipes.pool.take()
    if pipe is None:
        return None
    try:
        source.read_to(pipe, most)
    finally:
        if not pipe.held:
            kernel_pipes.pool.give_back(pipe)
    return pipe if pipe.held else None


def empty(pipe, sink, limit, chunked=False):
    """Send all that is in a pipe, and give it back -> how many octets. `chunked`: as one chunk. May wait."""
    count = pipe.held
    try:
        if chunked:
            _send(pipe, sink, limit, chunked)
        else:
            sink.send_from(pipe, limit)
        return count
    finally:
        kernel_pipes.pool.give_back(pipe)


def _send(pipe, sink, limit, chunked):
    count = pipe.held
    if chunked and count:
        sink.send(b'%x\r\n' % count, limit)
    sink.send_from(pipe, limit)
    if chunked and count:
        sink.send(b'\r\n', limit)
    return count
