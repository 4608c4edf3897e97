"""Decides when octets go through a pipe in the kernel instead of our memory, and sends them. Pipes: net.kernel_pipes.

A pipe is cheaper when many octets come at once. The peers see no difference. The copy loops (relay, tunnel) send the
octets if there is no pipe, if a throttle holds them back, if a tap has to see them, or if a transport codes them.
"""
from __future__ import absolute_import, division, print_function

from geproxy.net import kernel_pipes

LONG = 32 * 1024        # octets: if at least so many come at once, a pipe is cheaper than copying
COARSE = 8 * 1024       # octets: a pipe is also cheaper for chunks of at least this size
LINE = 5                # octets that stand between two chunks, at least


def pass_body(body, source, sink, limit, chunked):
    """Pass on the octets of a body that are there, through pipes. Return how many; 0 if no pipe can be used.

    `body`: one of framing, or Tapped; `source`, `sink`: Streams; `limit`: the TimeLimit for sending; `chunked`: True to
    send in chunked coding. May wait for the sink.
    """
    if not body.splices:
        return 0
    if body.chunk is not None:
        return _pass_chunks(body, source, sink, limit, chunked) if body.chunk >= COARSE else 0
    pipe = fill(source, sink, body.skippable)
    if pipe is None:
        return 0
    body.skip(pipe.held)
    return empty(pipe, sink, limit, chunked)


def _pass_chunks(body, source, sink, limit, chunked):
    """Do what `pass_body` does for a body in large chunks: move their content to a second pipe and send it from there.
    """
    content = kernel_pipes.pool.take()
    if content is None:
        return 0
    raw = None
    try:
        raw = fill(source, sink)
        if raw is None:
            return 0
        count = raw.held
        after = _separate_content(body, raw, content, lambda: _send(content, sink, limit, chunked))
        if after or raw.held:
            source.unread(after + raw.read_all())
        return count
    finally:
        for pipe in (raw, content):
            if pipe is not None:
                kernel_pipes.pool.give_back(pipe)


def _separate_content(body, raw, content, send):
    """Separate the content of chunks from the lines between them.

    `raw`: the Pipe to read from; `content`: the Pipe that gets the content; `send`: a function that empties `content`.
    Stops before `raw` is empty if the body ends, or if chunks are small. Return the octets that were read after the
    body.
    """
    size, taken = LINE, 0               # octets of the last line between two chunks, and of this line so far
    data = b''
    lines = raw.held // COARSE + 8
    while raw.held and lines and not body.done:
        data = b''
        if body.skippable:
            data = _pour(body, raw, content, send)
            if body.skippable or not data and not raw.held:
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
        if len(piece) or body.skippable:
            size, taken = min(kernel_pipes.PAGE, max(LINE, taken)), 0
    send()
    return data[body.used:] if body.done else b''


def _pour(body, raw, content, send):
    """Move the rest of a chunk, and all further chunks of the same size, from `raw` into `content`.

    `send`: see `_separate_content`. Return the octets that were read after the last chunk, b'' if none were.
    """
    if COARSE <= body.chunk and len(body.separator) <= kernel_pipes.PAGE:
        left, data = raw.pour_run(content, body.skippable, body.chunk, body.separator)
        body.skip_run(left)
        if not left:
            return data
    if raw.held:
        moved = raw.pour(content, body.skippable)
        body.skip(moved)
        if not moved:
            send()
    return b''


def fill(source, sink, most=kernel_pipes.SIZE):
    """Fill a pipe with octets that are there. Return the pipe, or None if there are none or they must be copied.

    `source`: the Stream to read from; `sink`: the Stream to send to; `most`: octets. The caller calls `empty`.
    """
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
    """Send all that is in a pipe, and give the pipe back. Return how many octets. May wait.

    `pipe`: from `fill`; `sink`: a Stream; `limit`: a TimeLimit; `chunked`: True to send it as one chunk.
    """
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
