"""Decides when octets go through a pipe in the kernel instead of our memory, and sends them. Pipes: net.kernel_pipes.

That is cheaper where many octets come at once. The peers see no difference. Octets are left to the copy loops (relay,
tunnel) if there is no pipe, if they are throttled, if a tap has to see them, or if a transport codes them.
"""
from __future__ import absolute_import, division, print_function

from geproxy.net import kernel_pipes

LONG = 32 * 1024        # octets: if so many come at once, a pipe is cheaper than copying
COARSE = 8 * 1024       # octets of a chunk: the same for chunks of that size
LINE = 5                # octets between two chunks, at least


def pass_body(body, source, sink, limit, chunked):
    """Pass on what is there of a body through pipes. Return how many octets; 0 if none can go so.

    `body`: one of framing, or Tapped; `source`, `sink`: Streams; `limit`: the TimeLimit for sending; `chunked`: True to
    send in chunked coding. May wait for the sink.
    """
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
    """Do the same for a body in large chunks: their content goes on in a second pipe."""
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
    """Separate the content of chunks from the lines between them.

    `raw`: the Pipe to read from; `content`: the Pipe that gets the content; `send`: a function that empties it. Ends
    before `raw` is empty if the body does, or if chunks are small. Return octets that were read behind the body.
    """
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
    """Move the rest of a chunk, and all further chunks of the same size, from `raw` into `content`.

    `send`: see `_sift`. Return the octets that were read behind the last chunk, b'' if none were.
    """
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
    """Fill a pipe with octets that are there. Return it, or None if there are none or they must be copied.

    `source`: the Stream to read from; `sink`: the Stream that they are for; `most`: octets. The caller calls `empty`.
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
