"""What an origin is told of the client: Forwarded (RFC 7239) and X-Forwarded-For, and what a rule strips or sets."""
from __future__ import absolute_import, division, print_function

from geproxy.compat import to_octets
from geproxy.message import NO_EDITS

NAMES = frozenset([b'forwarded', b'x-forwarded-for', b'x-forwarded-host', b'x-forwarded-proto', b'x-forwarded-by',
                   b'x-real-ip'])


def edits(request, client, mode, options):
    """What to take away from a Request, as names in lower case, and what to put in, as field lines.

    `client`: native text of its address; `mode`: 'off', 'add' or 'strip'; `options`: rules.Options, or None.
    """
    if mode == 'off' and not (options and (options.strip or options.fields)):
        return NO_EDITS
    dropped, lines = (set(NAMES) if mode == 'strip' else set()), []
    if options:
        dropped.update(options.strip)
        dropped.update(name.lower() for name, _value in options.fields)
        lines = [b'%s: %s\r\n' % field for field in options.fields]
    if mode == 'add':
        address = to_octets(client)
        node = b'"[%s]"' % address if b':' in address else address      # RFC 7239, 6
        for name, value in ((b'Forwarded', b'for=' + node), (b'X-Forwarded-For', address)):
            if name.lower() not in dropped:
                lines.append(b'%s: %s\r\n' % (name, b', '.join(request.values(name.lower()) + (value,))))
                dropped.add(name.lower())
    return _with_twins(dropped, request, not options), b''.join(lines)


def _with_twins(names, request, ours):
    """Return the frozenset of `names`, and of those fields of a Request that CGI and WSGI programs take for one of
    these: there - and _ are the same (RFC 3875, 4.1.18), so that X_Forwarded_For says who the client is, too. `ours`:
    true if no rule has a part in `names`."""
    # The usual way takes 0.2 us more than none (3.11).
    if b'_' not in b''.join(request.index) and (ours or b'_' not in b''.join(names)):
        return frozenset(names)
    folded = set(name.replace(b'_', b'-') for name in names)
    return frozenset(names).union(lower for lower in request.index if lower.replace(b'_', b'-') in folded)
