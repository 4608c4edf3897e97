"""Reads heads: octets become a Request or a Response, and repeated heads are remembered (RFC 9112). No I/O.

Requests are read strictly. A response head that the strict parser refuses goes to `leniency`, which accepts it if it
has only one meaning. Heads are remembered by their octets alone: nothing of how they arrived is kept with them.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy import compat, errors
from geproxy.http1 import grammar, leniency
from geproxy.http1.message import Mended, Request, Response
from geproxy.http1.section import MARKS, Section, cut_secrets
from geproxy.memo import Bounded, Memo

FIELDS = 1000           # field lines in a head, unless the caller gives another number
START_SIZE = 256        # octets of an incomplete request line that are looked at
REMEMBERED = 200        # heads, and header sections, of each kind: a client sends the same ones again and again
MEMORABLE = 2048        # octets of the longest head that is remembered
MEMORABLE_FIELDS = MEMORABLE // 4        # lines in such a head, at most: each has a name, a colon and its end
MOST_HASHES = 2000      # hashes of heads that came once
_find_private = re.compile(br'[?#@]').search        # queries, fragments and passwords: such lines are not remembered


def _parse_request_section(octets):
    return Section(*grammar.parse_fields(octets[:-4].split(b'\r\n') if octets[2:] else (), errors.BadRequest))


def _parse_response_section(octets):
    return Section(*grammar.parse_fields(
        octets[:-4].split(b'\r\n') if octets[2:] else (), errors.BadResponse))


class Reader(object):
    """Understands heads of one kind. Remembers start lines, header sections, and whole heads that come again."""

    def __init__(self, make, parse_line, parse_section, error, too_large, mend):
        """Make a reader that remembers nothing yet.

        `make`: Request or Response; `parse_line`, `parse_section`: functions of octets that return its arguments;
        `error`: the class to raise for octets that may not be in a head; `too_large`: the class for too many fields;
        `mend`: a function of a refused head that returns what `make` does, without remembering it, or None.
        """
        self._make, self._error, self._too_large, self._mend = make, error, too_large, mend
        self.lines = Memo(parse_line, keeps=lambda line, _start: not _find_private(line))
        self.sections = Memo(parse_section, REMEMBERED, MEMORABLE,      # with the empty line
                             lambda _octets, section: section.has_no_secret())
        self.heads = Memo(self._join, REMEMBERED, MEMORABLE)
        self.patterns = Memo(self._join, REMEMBERED, MEMORABLE)         # heads with marks for their secrets
        self._by_hash = Bounded(REMEMBERED)     # {hash of a head with one secret: its pattern}, that came again
        self._hashes = Bounded(MOST_HASHES)     # {hash of such a head that came once: True}

    def read(self, head, most=FIELDS):
        """Understand a head, and return the Request or Response.

        `head`: octets with the empty line; `most`: how many field lines it may have. Raises the errors of its parts.
        """
        # get() of a Memo is quicker than [], by 0.3 us (3.13).
        found = self.heads.get(head) or self._read_again(head) or self._read_anew(head, most)
        if most < MEMORABLE_FIELDS and found.count() > most:    # remembered when more were allowed
            raise self._too_many(found.count(), most)
        return found

    def _read_again(self, head):
        """Return the Request or Response of a head with one secret that came before, or None.

        The hash of the head tells where the secret is, if all octets around it are the same. So nothing searches for
        the secret: 1.3 instead of 3.6 us (3.11).
        """
        known = self._by_hash.get(hash(head))
        if known is None:
            return None
        before, behind, start, end, size, pattern = known
        if len(head) != size or not head.startswith(before) or not head.endswith(behind):
            return None
        value = head[start:end]
        return None if not compat.KEYED_HASH and grammar.find_control(value) else pattern.with_secrets([value])

    def _learn_again(self, head, bare, secret, pattern):
        """Remember where the secret of a head is, but not the secret, when the head comes for the second time."""
        number = hash(head)
        if number not in self._hashes:
            self._hashes.remember(number, True)
            return
        at = head.find(secret, bare.find(MARKS[0]))
        end = at + len(secret)
        self._by_hash.remember(number, (head[:at], head[end:], at, end, len(head), pattern))

    def _read_anew(self, head, most):
        try:
            return self._understand(head, most)
        except self._error:
            mended = self._mend(head)
            if mended is None:
                raise           # not by name: then the error and its frames would keep each other, and the head
            return mended

    def _too_many(self, count, most):
        return self._too_large('the head has %d fields, more than the %d of [limits] fields' % (count, most))

    def _understand(self, head, most):
        bare, secrets = cut_secrets(head)
        if secrets is None:
            return self._learn(head, head, self.heads, most)
        found = self.patterns.get(bare)
        if found is None:
            found = self._learn(head, bare, self.patterns, most)
        elif len(secrets) == 1:
            self._learn_again(head, bare, secrets[0], found)
        return found.with_secrets(secrets)

    def _learn(self, head, bare, known, most):
        # Lines are counted before they are parsed: to parse 16,000 takes 10 ms, and the client has not logged in yet.
        count = head.count(b'\n') - 2
        if count > most:
            count = head.count(b'\n', 0, leniency.end_of(head)) - 2        # a part of the body may follow it
            if count > most:
                raise self._too_many(count, most)
        line, _end, octets = bare.partition(b'\r\n')
        start, section = self.lines.get(line), self.sections.get(octets)
        if start and section and head.find(b'\0') < 0:     # a head must not bring marks of its own
            return known[bare]      # remembered the second time, so that heads that vary do not displace the others
        doubtful = grammar.find_doubtful(head)
        if doubtful is not None:
            raise _doubt(doubtful, self._error)
        made = self._make(start or self.lines.learn(line), section or self.sections.learn(octets))
        made.large = len(head) > MEMORABLE
        return made

    def _join(self, head):
        line, _end, octets = head.partition(b'\r\n')
        return self._make(self.lines[line], self.sections[octets])


def _parse_request_line(line):
    """Return the `start` of a Request. Raises BadRequest, VersionNotSupported or NotImplementedHere."""
    match = grammar.match_plain_request_line(line)
    if match is not None:
        method, target, authority, path, minor = match.groups()
        return (1, int(minor)), method, target, 'absolute', grammar.parse_authority(authority), path
    return _parse_any_request_line(line)


def _parse_any_request_line(line):
    match = grammar.match_request_line(line)
    if match is None:
        raise _no_request_line(line)
    method, target, major, minor = match.groups()
    if major != b'1':
        raise errors.VersionNotSupported('HTTP/%s.%s is not HTTP/1.x' % (int(major), int(minor)))
    return ((1, int(minor)), method, target) + tuple(grammar.split_target(method, target))


def _mend_request(head):
    """Return the Request of a refused head if only a userinfo or fragment in its target is wrong, else None."""
    line, _end, octets = head.partition(b'\r\n')
    mended = None if grammar.find_doubtful(head) else leniency.mend_request(line, octets)
    if mended is None:
        return None
    # Nothing is remembered here, because the target may have had a password.
    line, octets, credentials = mended
    section = _parse_request_section(octets)
    if credentials and b'authorization' not in section.index:
        field = grammar.parse_field(b'Authorization: ' + credentials)
        section.index[field[0]] = field[1]
        section = Section(section.fields + [field], section.index)
    return Request(_parse_request_line(line), section)


# parse_request takes the octets of a request head with its empty line, and returns a Request. Raises BadRequest,
# HeadTooLarge, VersionNotSupported or NotImplementedHere (RFC 9112, 2.2, 3, 5).
requests = Reader(Request, _parse_request_line, _parse_request_section, errors.BadRequest, errors.HeadTooLarge,
                  _mend_request)
parse_request = requests.read


def _no_request_line(line):
    return errors.BadRequest("invalid request line, which begins with '%s'" % grammar.first_word(line))


def _parse_status_line(line):
    match = grammar.match_status_line(line)
    if match is None:
        raise errors.BadResponse("invalid status line '%s'" % grammar.printable(line))
    major, minor, status, reason = match.groups()
    if major != b'1' or status[:1] == b'0':
        raise errors.BadResponse("the status line '%s' is not of HTTP/1.x" % grammar.printable(line))
    return (1, int(minor)), int(status), reason or b''


def _mend_response(head):
    """Return the Mended response of a refused head. Its connection is not used again. Raises BadResponse."""
    head, behind = leniency.mend_response(head)
    line, _end, octets = head.partition(b'\r\n')
    doubtful = grammar.find_doubtful(head)
    if doubtful is not None:
        raise _doubt(doubtful, errors.BadResponse)
    response = Mended(_parse_status_line(line), _parse_response_section(octets))
    response.persists, response.behind = False, behind
    return response


# parse_response takes the octets of a response head with its empty line, and returns a Response. Raises BadResponse or
# ResponseHeadTooLarge (RFC 9112, 4, 5).
responses = Reader(Response, _parse_status_line, _parse_response_section, errors.BadResponse,
                   errors.ResponseHeadTooLarge, _mend_response)
parse_response = responses.read


def check_request_start(octets, checked=0):
    """Check the beginning of a request head that is incomplete. Raises BadRequest.

    So a client that speaks another protocol, or ends its lines wrongly, gets the error at once, not after a time-out.
    `octets`: those that have arrived; `checked`: how many of them were checked before. Each octet is checked once.
    """
    end = octets.find(b'\r\n')      # not partition(): it would copy the head for each octet that arrives
    if end >= max(0, checked - 2) and grammar.match_request_line(octets[:end]) is None:
        raise _no_request_line(octets[:end])
    if end < 0 and grammar.match_request_line_start(octets[:START_SIZE]) is None:
        raise errors.BadRequest("invalid request, which begins with '%s'" % grammar.first_word(octets))
    _check_octets(octets, checked, errors.BadRequest)


def check_response_start(octets, checked=0):
    """Check the beginning of a response head. Raises BadResponse. `octets`, `checked`: as for `check_request_start`."""
    if octets[:5] != b'HTTP/'[:len(octets)]:
        raise errors.BadResponse("invalid response, which begins with '%s'" % grammar.first_word(octets))
    end = octets.find(b'\n')
    if end >= max(0, checked - 2) and not leniency.is_status_line(octets[:end]):
        raise errors.BadResponse("invalid status line '%s'" % grammar.printable(octets[:end]))
    _check_octets(octets, checked, errors.BadResponse, leniency.find_fatal)


def _check_octets(octets, checked, error, find=grammar.find_doubtful):
    # The last octet is not checked yet: it may be a CR, and its LF may follow.
    doubtful = find(octets, max(0, checked - 2))
    if doubtful is not None and (doubtful.end() < len(octets) or doubtful.group() != b'\r'):
        raise _doubt(doubtful, error)


def _doubt(doubtful, error):
    octet = {b'\r': 'a bare CR', b'\n': 'a bare LF', b'\0': 'NUL'}.get(doubtful.group()) or (
        'the control octet %d' % ord(doubtful.group()))
    return error('%s at octet %d of the head' % (octet, doubtful.start()))
