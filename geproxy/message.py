"""Request and response heads: parsed, asked, written anew (RFC 9110, RFC 9112). No I/O, no clock, no log.

A head is never copied: what goes on is written from what was understood, so that the next one to read it cannot
understand something else. Order, case and duplicates of the fields that pass are kept, and every octet of a value.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors, grammar, leniency
from geproxy.memo import Memo

# Between us and one neighbour only (RFC 9110, 7.6.1), and what frames the body, which is written anew.
HOP_BY_HOP = frozenset([
    b'connection', b'proxy-connection', b'keep-alive', b'te', b'upgrade', b'transfer-encoding', b'content-length'])
FOR_PROXIES = frozenset([
    b'proxy-authorization', b'proxy-authenticate', b'proxy-authentication-info'])
_DROPPED = HOP_BY_HOP | FOR_PROXIES
# Sending these twice does what sending them once does (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset([b'GET', b'HEAD', b'OPTIONS', b'TRACE', b'PUT', b'DELETE'])


START_SIZE = 256        # octets of a request line that is not all there: enough to see what it is
REMEMBERED = 200        # heads, and header sections, of each kind: a kept-alive client repeats its, octet for octet
MEMORABLE = 2048        # octets of the longest that is remembered
_PROTOCOLS = [b'HTTP/1.%d' % minor for minor in range(10)]
NO_EDITS = (frozenset(), b'')       # see Request.write


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


def _parse_request_section(octets):
    return Section(*grammar.parse_fields(octets[:-4].split(b'\r\n') if octets[2:] else (), errors.BadRequest))


def _parse_response_section(octets):
    return Section(*grammar.parse_fields(
        octets[:-4].split(b'\r\n') if octets[2:] else (), errors.BadResponse))


class Message(object):
    """What both kinds of head have: `version` as (1, minor), `fields` and `index` as of grammar.parse_fields; `framed`:
    what framing has found out of it, None before."""
    __slots__ = ('version', 'fields', 'index', 'framed', '_section', '_written')

    def values(self, lower):
        """All values of the fields of that name (in lower case), as a tuple."""
        return self.index.get(lower, ())

    def options(self):
        """The connection options, in lower case: what Connection names (RFC 9110, 7.6.1)."""
        return self._section.options

    def upgrades(self):
        """The protocols in Upgrade, if Connection names it too, else b''; what is none is left out (RFC 9110, 7.8)."""
        if self.version < (1, 1) or b'upgrade' not in self.options():
            return b''
        return b', '.join(filter(grammar.is_protocol, grammar.split_list(self.values(b'upgrade'))))


class Request(Message):
    """A request head, never changed: all exchanges that have it, octet for octet, share it.

    `target`: as it came, without userinfo and fragment; `form`, `authority`, `path`: see grammar.split_target; without
    an authority in the target, it is that of Host; `protocol`: the version as octets; `url`: for people: absolute, or
    host:port for CONNECT; `host`, `port`: of the origin, in lower case, without brackets or a last dot.

    `persists`: the client's connection may carry another request (RFC 9112, 9.3); `repeatable`: sending it twice is as
    good as once, as far as its method tells; `expects`: the client waits for 100, `unmet`: it expects something else,
    octets, else None (RFC 9110, 10.1.1); `hops`: how many more OPTIONS or TRACE may take, or None (RFC 9110, 7.6.2).
    """
    __slots__ = ('method', 'target', 'form', 'authority', 'path', 'protocol', 'url', 'host', 'port', 'persists',
                 'repeatable', 'expects', 'unmet', 'hops')

    def __init__(self, start, section):
        """`start`: what is known of its request line; `section`: its Section. Raises BadRequest."""
        self.version, self.method, self.target, self.form, self.authority, self.path = start
        self._section, self.fields, self.index = section, section.fields, section.index
        index = self.index
        self._settle_authority(index.get(b'host', ()))
        host = self.authority.host
        self.protocol, self.url = _PROTOCOLS[self.version[1]], self.target
        if self.form in ('origin', 'asterisk'):
            self.url = b'http://' + self.authority.text + (self.path if self.form == 'origin' else b'')
        self.host, self.port = host[:-1] if host[-1:] == b'.' else host, self.authority.port or 80
        # Never with HTTP/1.0: a proxy must not, as Keep-Alive there may come from behind another, older proxy.
        self.persists = self.version >= (1, 1) and b'close' not in section.options and (
            b'proxy-connection' not in index or self._keeps())
        self.repeatable = self.method in IDEMPOTENT
        self.expects, self.unmet = self._expectations() if b'expect' in index else (False, None)
        self.hops = self._max_forwards() if b'max-forwards' in index else None
        self.framed, self._written = None, (None, b'')

    def _settle_authority(self, values):
        """By Host, where the target has none (RFC 9112, 3.2). `values`: of Host."""
        if self.form == 'authority':
            return      # the target decides, and nothing of the head goes on: some clients write nonsense into Host
        if len(values) > 1:
            raise errors.BadRequest('there are %d Host fields' % len(values))
        if not values and self.version >= (1, 1):
            raise errors.BadRequest('HTTP/1.1 needs a Host field')
        named = grammar.parse_authority(values[0]) if values and values[0] else None
        if self.form != 'absolute':
            if named is None:
                raise errors.BadRequest('there is no host to go by, neither in the target nor in Host')
            self.authority = named

    def _keeps(self):
        """Proxy-Connection is no field of HTTP, but who sends `close` in it means it."""
        return not any(b'close' in value.lower() for value in self.values(b'proxy-connection'))

    def _expectations(self):
        members = [member.lower() for member in grammar.split_list(self.values(b'expect'))]
        unmet = [member for member in members if member != b'100-continue']
        return bool(members) and self.version >= (1, 1), unmet[0] if unmet else None

    def _max_forwards(self):
        if self.method not in (b'OPTIONS', b'TRACE'):
            return None
        values = self.values(b'max-forwards')
        if len(values) > 1 or not grammar.is_length(values[0]):
            raise errors.BadRequest('Max-Forwards is not one number')
        return int(values[0])

    def passed_by(self, name):
        """True if that one, in lower case, passed it on before us, by Via: a pseudonym or host (RFC 9110, 7.6.3)."""
        if b'via' not in self.index:
            return False
        members = [member.lower().split() for member in grammar.split_list(self.values(b'via'))]
        return any(words[1:2] == [name] for words in members)

    def wants_upgrade(self):
        """What the client would change to, as Upgrade has it, or b''.

        Never h2c: its settings go hop by hop, and what tunnels behind it would escape every rule.
        """
        offers = [offer for offer in self.upgrades().split(b', ') if offer and not offer.lower().startswith(b'h2c')]
        return b', '.join(offers)

    def write(self, framing, via=b'', settled=frozenset(), edits=NO_EDITS):
        """The head for the origin, as octets.

        `framing`: the field line that frames the body, or b''; `via`: our Via field value, or b''; `settled`: names,
        in lower case, of fields that are not passed on; `edits`: what policy takes away, as such names, and puts in, as
        field lines.
        """
        asked = framing, via, settled, edits
        if self._written[0] != asked:           # 2.3 us, where heads are repeated (3.13, 2026)
            self._written = asked, self._write(*asked)
        return self._written[1]

    def _write(self, framing, via, settled, edits):
        host = b'Host: %s\r\n' % self.authority.text
        index, replaced, first = self.index, {}, b''
        if b'host' not in index:
            first = host
        elif self.fields[0][2] != host or b'host' in self._section.options:     # mostly it comes first, like this
            replaced[b'host'] = host
        if framing:
            replaced[framing.partition(b':')[0].lower()] = framing
        if self.hops is not None:
            replaced[b'max-forwards'] = b'Max-Forwards: %d\r\n' % (self.hops - 1)
        offers = self.wants_upgrade() if b'upgrade' in index else b''
        if offers:
            replaced[b'connection'] = b'Connection: Upgrade\r\n'
            replaced[b'upgrade'] = b'Upgrade: %s\r\n' % offers
        return b'%s %s HTTP/1.1\r\n%s%s%s%s\r\n' % (
            self.method, self.path, first, self._section.write(replaced, settled | edits[0] if edits[0] else settled),
            edits[1], b'Via: %s\r\n' % via if via else b'')


class Response(Message):
    """A response head, never changed, and shared as requests are. `status`: an int; `reason`: the reason phrase, as
    octets; `persists`: true if the origin's connection may carry another request (RFC 9112, 9.3); `dated`: true if it
    has a Date that goes on; `content_type`: without its parameters, octets."""
    __slots__ = ('status', 'reason', 'persists', 'dated', 'content_type')
    behind = b''            # see Mended

    def __init__(self, start, section):
        """`start`: what is known of its status line; `section`: its Section."""
        self.version, self.status, self.reason = start
        self._section, self.fields, self.index = section, section.fields, section.index
        options = section.options
        self.persists = b'close' not in options and (self.version >= (1, 1) or b'keep-alive' in options)
        self.dated = b'date' in self.index and b'date' not in options
        self.content_type = self.index.get(b'content-type', (b'',))[0].partition(b';')[0]
        self.framed, self._written = None, (None, b'')

    def write(self, framing, via=b'', date=b'', close=False, upgrade=b''):
        """The head for the client, as octets.

        `framing`, `via`: see Request.write; `date`: for a response that came without Date (RFC 9110, 6.6.1);
        `close`: say that the connection ends behind it; `upgrade`: the Upgrade field value of a 101 or 426.
        """
        asked = framing, via, date, close, upgrade
        if self._written[0] != asked:
            self._written = asked, self._write(*asked)
        return self._written[1]

    def _write(self, framing, via, date, close, upgrade):
        replaced = {}
        if framing:
            replaced[framing.partition(b':')[0].lower()] = framing
        if date and not self.dated:
            replaced[b'date'] = b'Date: %s\r\n' % date
        if close or upgrade:
            options = (b'close' if close else b'', b'Upgrade' if upgrade else b'')
            replaced[b'connection'] = b'Connection: %s\r\n' % b', '.join(filter(None, options))
        if upgrade:
            replaced[b'upgrade'] = b'Upgrade: %s\r\n' % upgrade
        return b'HTTP/1.1 %03d %s\r\n%s%s\r\n' % (
            self.status, self.reason, self._section.write(replaced, frozenset()),
            b'Via: %s\r\n' % via if via else b'')


class Mended(Response):
    """One whose head had to be mended. `behind`: octets that were taken for its head, and stand behind it."""
    __slots__ = ('behind',)


class Reader(object):
    """Understands heads of one kind, and remembers what it has understood: start lines and header sections, and the
    whole of heads that come again."""

    def __init__(self, make, parse_line, parse_section, error, mend):
        """`make`: Request or Response; `parse_line`, `parse_section`: functions of octets, for what that takes;
        `error`: the class for octets that may stand nowhere in a head; `mend`: a function of a refused head
        that returns what `make` does, of nothing that is remembered, or None, or raises."""
        self._make, self._error, self._mend = make, error, mend
        self.lines = Memo(parse_line)
        self.sections = Memo(parse_section, REMEMBERED, MEMORABLE)      # with the empty line
        self.heads = Memo(self._join, REMEMBERED, MEMORABLE)

    def read(self, head):
        """A head, its empty line included -> Request or Response. Raises what its parts do."""
        # To get() what a Memo has is quicker than to ask it with [], by 0.3 us (3.13).
        known = self.heads.get(head)
        if known:
            return known
        try:
            return self._understand(head)
        except self._error:
            mended = self._mend(head)
            if mended is None:
                raise           # an error that a frame holds would keep that frame, and the head, in memory
            return mended

    def _understand(self, head):
        line, _end, octets = head.partition(b'\r\n')
        start, section = self.lines.get(line), self.sections.get(octets)
        if start and section:
            return self.heads[head]     # remembered the second time: what varies would push out what does not
        doubtful = grammar.find_doubtful(head)
        if doubtful is not None:
            raise _doubt(doubtful, self._error)
        return self._make(start or self.lines.learn(line), section or self.sections.learn(octets))

    def _join(self, head):
        line, _end, octets = head.partition(b'\r\n')
        return self._make(self.lines[line], self.sections[octets])


def _parse_request_line(line):
    """-> what Request takes as `start`."""
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
    """A Request of a refused head, if only userinfo or fragment in its target were wrong; else None."""
    line, _end, octets = head.partition(b'\r\n')
    mended = None if grammar.find_doubtful(head) else leniency.mend_request(line, octets)
    if mended is None:
        return None
    # By no memo: all that this has of a password ends with the exchange.
    line, octets, credentials = mended
    section = _parse_request_section(octets)
    if credentials and b'authorization' not in section.index:
        field = grammar.parse_field(b'Authorization: ' + credentials)
        section.index[field[0]] = field[1]
        section = Section(section.fields + [field], section.index)
    return Request(_parse_request_line(line), section)


# The octets of a request head, its empty line included -> Request. Raises BadRequest, VersionNotSupported or
# NotImplementedHere (RFC 9112, 2.2, 3, 5).
requests = Reader(Request, _parse_request_line, _parse_request_section, errors.BadRequest, _mend_request)
parse_request = requests.read


def _no_request_line(line):
    return errors.BadRequest("what begins with '%s' is not a request line" % grammar.first_word(line))


def _parse_status_line(line):
    match = grammar.match_status_line(line)
    if match is None:
        raise errors.BadResponse("'%s' is not a status line" % grammar.printable(line))
    major, minor, status, reason = match.groups()
    if major != b'1' or status[:1] == b'0':
        raise errors.BadResponse("'%s' is not of HTTP/1.x" % grammar.printable(line))
    return (1, int(minor)), int(status), reason or b''


def _mend_response(head):
    """A Response of a refused head, if it has one meaning. The next octets of its connection are not to be trusted."""
    head, behind = leniency.mend_response(head)
    line, _end, octets = head.partition(b'\r\n')
    doubtful = grammar.find_doubtful(head)
    if doubtful is not None:
        raise _doubt(doubtful, errors.BadResponse)
    response = Mended(_parse_status_line(line), _parse_response_section(octets))
    response.persists, response.behind = False, behind
    return response


# The octets of a response head, its empty line included -> Response. Raises BadResponse (RFC 9112, 4, 5).
responses = Reader(Response, _parse_status_line, _parse_response_section, errors.BadResponse, _mend_response)
parse_response = responses.read


def check_request_start(octets, checked=0):
    """Judge the beginning of a request head that is not all there yet; raises BadRequest.

    So a client that talks something else, or ends its lines wrongly, is told now and not when its time is over.
    `checked`: how many of these octets it was called with before; what comes in single octets is not read anew
    for each.
    """
    line, end, _rest = octets.partition(b'\r\n')
    if end and len(line) >= checked - 2 and grammar.match_request_line(line) is None:
        raise _no_request_line(line)
    if not end and grammar.match_request_line_start(octets[:START_SIZE]) is None:
        raise errors.BadRequest("what begins with '%s' is not a request" % grammar.first_word(octets))
    _check_octets(octets, checked, errors.BadRequest)


def check_response_start(octets, checked=0):
    """The same for a response head; raises BadResponse."""
    if octets[:5] != b'HTTP/'[:len(octets)]:
        raise errors.BadResponse("what begins with '%s' is not a response" % grammar.first_word(octets))
    end = octets.find(b'\n')
    if end >= max(0, checked - 2) and not leniency.is_status_line(octets[:end]):
        raise errors.BadResponse("'%s' is not a status line" % grammar.printable(octets[:end]))
    _check_octets(octets, checked, errors.BadResponse, leniency.find_fatal)


def _check_octets(octets, checked, error, find=grammar.find_doubtful):
    # The last octet is not judged yet: it may be a CR that gets its LF.
    doubtful = find(octets, max(0, checked - 2))
    if doubtful is not None and (doubtful.end() < len(octets) or doubtful.group() != b'\r'):
        raise _doubt(doubtful, error)


def _doubt(doubtful, error):
    octet = {b'\r': 'a bare CR', b'\n': 'a bare LF', b'\0': 'NUL'}.get(doubtful.group()) or (
        'the control octet %d' % ord(doubtful.group()))
    return error('%s at octet %d of the head' % (octet, doubtful.start()))
