"""A header section, understood, and written anew for the next hop; and how the secrets in a head are kept out of it.

What is understood is remembered and shared. A secret is not: its value is cut out of the head first, and a mark stands
in its place. So clients that differ only in their cookies share what is remembered, and no cookie stays in memory.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy.http1 import grammar

# Between us and one neighbour only (RFC 9110, 7.6.1), and what frames the body, which is written anew.
HOP_BY_HOP = frozenset([
    b'connection', b'proxy-connection', b'keep-alive', b'te', b'upgrade', b'transfer-encoding', b'content-length'])
FOR_PROXIES = frozenset([
    b'proxy-authorization', b'proxy-authenticate', b'proxy-authentication-info'])
_DROPPED = HOP_BY_HOP | FOR_PROXIES

# NUL stands in no head that is understood, so no client can write a mark.
MARKS = [b'\0%d\0' % number for number in range(64)]
_numbers = dict((mark, number) for number, mark in enumerate(MARKS))

# The fields that mostly carry secrets, whole: a value that is folded, or has a bare CR behind it, is not cut out. Other
# secrets are too seldom to be looked for in each head: a section that has one is not remembered (grammar.is_secret).
_split = re.compile(
    br'(\n(?:[Cc][Oo][Oo][Kk][Ii][Ee]|(?:[Pp][Rr][Oo][Xx][Yy]-)?[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Aa][Tt][Ii][Oo][Nn]'
    br'|[Ss][Ee][Tt]-[Cc][Oo][Oo][Kk][Ii][Ee]):)([\t\x20-\x7e\x80-\xff]*)(?=\r\n[^\t ])').split


def cut(head):
    """Cut the secrets out of a head -> (the head with marks in their place, [values]); (head, None) if there is none,
    or they cannot be cut out."""
    parts = _split(head)
    if not 1 < len(parts) <= 3 * len(MARKS) or head.find(b'\0') >= 0:
        return head, None
    values = [value.strip(b' \t') for value in parts[2::3]]
    parts[2::3] = MARKS[:len(values)]
    return b''.join(parts), values


def restore(octets, values):
    """Put values that were cut out back to where their marks are, as far as these are there."""
    if len(values) == 1:                # mostly
        return octets.replace(MARKS[0], values[0])
    pieces = octets.split(b'\0')
    pieces[1::2] = [values[int(number)] for number in pieces[1::2]]
    return b''.join(pieces)


def restored(written, values):
    """Return what was written of a head with `values` in the place of the marks.

    `written`: [anything, octets]; the pieces around a single mark are kept behind them, for the next time.
    """
    if len(values) > 1:
        return restore(written[1], values)
    if len(written) == 2:
        before, mark, behind = written[1].partition(MARKS[0])
        written += (before, behind) if mark else (written[1], None)
    return written[2] + values[0] + written[3] if written[3] is not None else written[2]


class Section(object):
    """A header section, understood: `fields` and `index` as of grammar.parse_fields; `options`: the connection options,
    in lower case (RFC 9110, 7.6.1); `dropped`: names of fields that do not go on, whether they are there or not.

    Its meaning is never changed: all messages that have it, octet for octet, share it.
    """
    __slots__ = ('fields', 'index', 'options', 'dropped', '_intact')

    def __init__(self, fields, index):
        self.fields, self.index = fields, index
        self.options, self.dropped = frozenset(), _DROPPED
        if b'connection' in index:
            self.options = frozenset(option.lower() for option in grammar.split_list(index[b'connection']))
            self.dropped = _DROPPED | self.options
        self._intact = self.dropped.isdisjoint(index)

    def has_no_secret(self):
        """Return True if this may be remembered: what may be secret in it was cut out."""
        return not any(grammar.is_secret(lower, value) and value not in _numbers
                       for lower, values, _line in self.fields for value in values)

    def fields_with(self, values):
        """Return the fields with `values` in the place of the marks."""
        return [(lower, tuple([restore(value, values) for value in found]), restore(line, values))
                for lower, found, line in self.fields]

    def write(self, replaced, also_dropped):
        """It for the next hop, as octets, without the empty line.

        `replaced`: {name in lower case: a whole field line as octets, or b''}; a line takes the place of the first
        field of its name, or comes last; `also_dropped`: names in lower case.
        """
        if self._intact and not replaced and also_dropped.isdisjoint(self.index):
            return b''.join([field[2] for field in self.fields])
        dropped, left, lines = self.dropped, dict(replaced), []
        for lower, _values, line in self.fields:
            if lower in replaced:
                lines.append(left.pop(lower, b''))
            elif lower not in dropped and lower not in also_dropped:
                lines.append(line)
        lines.extend(left[lower] for lower in sorted(left))
        return b''.join(lines)
