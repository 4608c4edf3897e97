"""Request and response heads: their meaning, and how they are written for the next hop (RFC 9110, RFC 9112). No I/O.

A head is never copied. It is written anew from what was understood, so that the next program cannot understand it in
another way. The fields that go on keep their order, case and duplicates, and each octet of their values.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.http1 import grammar
from geproxy.http1.section import Section, restore, restored

# To send one of these twice has the same effect as to send it once (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset([b'GET', b'HEAD', b'OPTIONS', b'TRACE', b'PUT', b'DELETE'])
_PROTOCOLS = [b'HTTP/1.%d' % minor for minor in range(10)]
# What policy changes in a request head. `removed`: a frozenset of field names in lower case; `added`: whole field lines
# as octets.
Edits = collections.namedtuple('Edits', 'removed added')
NO_EDITS = Edits(frozenset(), b'')
PORTS = {b'http': 80, b'https': 443}        # of an authority that names no port (RFC 9110, 4.2)
EMPTY = Section([], {})
OFFERS = 16         # protocols in Upgrade that are read; more are ignored


class Message(object):
    """The common part of request and response heads.

    `version`: (1, minor); `fields`, `index`: see grammar.parse_fields; to read a value call `values`, because `index`
    has marks where secrets were cut out; `framed`: what framing has found out, None before; `large`: True if the head
    is too large to be remembered, so that no other exchange shares it.
    """
    __slots__ = ('version', 'index', 'framed', 'large', '_section', '_written', '_secrets')

    @property
    def fields(self):
        """All field lines; see grammar.parse_fields."""
        return self._section.fields if self._secrets is None else self._section.fields_with(self._secrets)

    def count(self):
        """Return the number of field lines."""
        return len(self._section.fields)

    def values(self, lower):
        """Return the values of all fields of a name, as a tuple of octets. `lower`: the name in lower case."""
        found = self.index.get(lower, ())
        if found and self._secrets is not None and found[0][:1] == b'\0':
            return tuple([restore(value, self._secrets) for value in found])
        return found

    def options(self):
        """Return the connection options, a frozenset in lower case: what Connection names (RFC 9110, 7.6.1)."""
        return self._section.options

    def upgrades(self):
        """Return the valid protocols in Upgrade, as octets; b'' if Connection does not name Upgrade (RFC 9110, 7.8)."""
        if self.version < (1, 1) or b'upgrade' not in self.options():
            return b''
        return b', '.join(filter(grammar.is_protocol, grammar.split_list(self.values(b'upgrade'))[:OFFERS]))


class Request(Message):
    """A request head. It is never changed, because all exchanges with the same octets share it, unless it has secrets.

    `target`: as it came, without userinfo and fragment; `form`, `authority`, `path`: see grammar.split_target; the
    authority is that of Host if the target has none; `protocol`: the version as octets; `host`: of the origin, in lower
    case, without brackets or a last dot; `port`: its port, or None if only the scheme tells (PORTS); `url`: for people:
    the absolute URL, or host:port for CONNECT, or None if the target has no scheme: see `url_for`.

    No attribute depends on how the request arrived, such as by TLS: the head is remembered by its octets.

    `persists`: True if the client's connection may carry another request (RFC 9112, 9.3); `repeatable`: True if the
    method allows to send it twice; `expects`: True if the client waits for a 100; `unmet`: another expectation as
    octets, or None (RFC 9110, 10.1.1); `hops`: how many more hops OPTIONS or TRACE may take, or None (RFC 9110, 7.6.2).
    """
    __slots__ = ('method', 'target', 'form', 'authority', 'path', 'protocol', 'url', 'host', 'port', 'persists',
                 'repeatable', 'expects', 'unmet', 'hops')

    def __init__(self, start, section):
        """Understand a head. Raises BadRequest.

        `start`: (version, method, target, form, authority, path) of its request line; `section`: its Section.
        """
        self.version, self.method, self.target, self.form, self.authority, self.path = start
        self._section, self.index, self._secrets = section, section.index, None
        index = self.index
        self._find_authority(index.get(b'host', ()))
        host = self.authority.host
        self.protocol, self.url = _PROTOCOLS[self.version[1]], self.target
        self.host, self.port = host[:-1] if host[-1:] == b'.' else host, self.authority.port
        if self.form == 'absolute':
            self.port = self.port or PORTS[b'http']
        elif self.form != 'authority':
            self.url = None
        # Never with HTTP/1.0: its Keep-Alive may have passed an older proxy that does not know it (RFC 9112, 9.3).
        self.persists = self.version >= (1, 1) and b'close' not in section.options and (
            b'proxy-connection' not in index or self._keeps_proxy_connection())
        self.repeatable = self.method in IDEMPOTENT
        self.expects, self.unmet = self._expectations() if b'expect' in index else (False, None)
        self.hops = self._max_forwards() if b'max-forwards' in index else None
        self.framed, self.large, self._written = None, False, [None, b'']

    def with_secrets(self, values):
        """Return a copy with the secrets of one exchange. The copies share the octets that were written of the head.

        `values`: a list of octets, from section.cut_secrets.
        """
        made = Request.__new__(Request)
        # One by one, because to pack and unpack them took a third longer (3.11).
        made.version, made.framed = self.version, self.framed
        made._section, made._written = self._section, self._written
        made.method, made.target = self.method, self.target
        made.form, made.authority = self.form, self.authority
        made.path, made.protocol = self.path, self.protocol
        made.url, made.host = self.url, self.host
        made.port, made.persists = self.port, self.persists
        made.repeatable, made.expects = self.repeatable, self.expects
        made.unmet, made.hops = self.unmet, self.hops
        made.index, made.large = self.index, self.large
        made._secrets = values
        return made

    def url_for(self, scheme):
        """Return the absolute URL of a request whose target has none, octets (RFC 9110, 7.1).

        `scheme`: of the connection by which it came, b'http' or b'https'.
        """
        return b'%s://%s%s' % (scheme, self.authority.text, self.path if self.form == 'origin' else b'')

    def forget(self):
        """Drop the fields of a large head that will not be sent again. All other attributes stay."""
        self._section, self.index, self._written, self._secrets = EMPTY, {}, [None, b''], None

    def _find_authority(self, values):
        """Set the authority by Host if the target has none (RFC 9112, 3.2). `values`: of Host."""
        if self.form == 'authority':
            return      # the target decides, and the head does not go on: some clients write nonsense into Host
        if len(values) > 1:
            raise errors.BadRequest('there are %d Host fields' % len(values))
        if not values and self.version >= (1, 1):
            raise errors.BadRequest('HTTP/1.1 needs a Host field')
        named = grammar.parse_authority(values[0]) if values and values[0] else None
        if self.form != 'absolute':
            if named is None:
                raise errors.BadRequest('the request names no host: neither its target nor Host has one')
            self.authority = named

    def _keeps_proxy_connection(self):
        """Return False if Proxy-Connection says close. It is no field of HTTP, but clients that send `close` mean it.
        """
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
        """Return True if Via names a proxy (RFC 9110, 7.6.3). `name`: pseudonym or host, octets in lower case."""
        if b'via' not in self.index:
            return False
        members = [member.lower().split() for member in grammar.split_list(self.values(b'via'))]
        return any(words[1:2] == [name] for words in members)

    def wants_upgrade(self, allowed=None):
        """Return the protocols that may be offered to the origin, as Upgrade has them, or b'' (RFC 9110, 7.8).

        `allowed`: a frozenset of protocols as octets in lower case; None for any. Never h2c, in any spelling: its
        settings are for one hop, and requests inside it would escape every rule. An invalid protocol is left out.
        """
        offers = []
        for offer in self.upgrades().split(b', '):
            name, slash, version = offer.partition(b'/')
            lower = name.lower()
            if grammar.is_token(name) and (not slash or grammar.is_token(version)) and lower[:3] != b'h2c' and (
                    allowed is None or lower in allowed):
                offers.append(offer)
        return b', '.join(offers)

    def write(self, framing, via=b'', settled=frozenset(), edits=NO_EDITS, upgrades=None):
        """Return the head for the origin, as octets.

        `framing`: the field line that frames the body, or b''; `via`: our Via field value, or b''; `settled`: names of
        fields that do not go on, a frozenset in lower case; `edits`: what policy changes, an Edits; `upgrades`: see
        `wants_upgrade`.
        """
        asked = framing, via, settled, edits, upgrades
        written = self._written
        if written[0] != asked:                 # 2.3 us, where heads are repeated (3.13, 2026)
            written[:] = asked, self._write(*asked)
        return written[1] if self._secrets is None else restored(written, self._secrets)

    def write_absolute(self, line, *asked):
        """Return the head for another proxy, as octets: with a target in absolute-form (RFC 9112, 3.2.2).

        `line`: a field line that comes first, or b''. It may be a secret of this proxy, so it is not remembered;
        `asked`: the arguments of `write`.
        """
        head = self.write(*asked)
        start, end = len(self.method) + 1, head.index(b' HTTP/1.1\r\n')
        path = self.path if self.path != b'*' else b''      # the last proxy on the way writes the * (RFC 9112, 3.2.4)
        return b'%shttp://%s%s HTTP/1.1\r\n%s%s' % (
            head[:start], self.authority.text, path, line, head[end + len(b' HTTP/1.1\r\n'):])

    def _write(self, framing, via, settled, edits, upgrades):
        host = b'Host: %s\r\n' % self.authority.text
        index, replaced, first = self.index, {}, b''
        if b'host' not in index:
            first = host
        elif self._section.fields[0][2] != host or b'host' in self._section.options:  # mostly Host comes first
            replaced[b'host'] = host
        if framing:
            replaced[framing.partition(b':')[0].lower()] = framing
        if self.hops is not None:
            replaced[b'max-forwards'] = b'Max-Forwards: %d\r\n' % (self.hops - 1)
        offers = self.wants_upgrade(upgrades) if b'upgrade' in index else b''
        if offers:
            replaced[b'connection'] = b'Connection: Upgrade\r\n'
            replaced[b'upgrade'] = b'Upgrade: %s\r\n' % offers
        added = b''
        if edits is not NO_EDITS:
            settled, added = settled | edits.removed, edits.added
        return b'%s %s HTTP/1.1\r\n%s%s%s%s\r\n' % (
            self.method, self.path, first, self._section.write(replaced, settled), added,
            b'Via: %s\r\n' % via if via else b'')


class Response(Message):
    """A response head. It is never changed, and shared as requests are.

    `status`: an int; `reason`: the reason phrase, octets; `persists`: True if the origin's connection may carry another
    request (RFC 9112, 9.3); `dated`: True if it has a Date that goes on; `content_type`: octets, without parameters.
    """
    __slots__ = ('status', 'reason', 'persists', 'dated', 'content_type')
    behind = b''            # see Mended

    def __init__(self, start, section):
        """Understand a head.

        `start`: (version, status, reason) of its status line; `section`: its Section.
        """
        self.version, self.status, self.reason = start
        self._section, self.index, self._secrets = section, section.index, None
        options = section.options
        self.persists = b'close' not in options and (self.version >= (1, 1) or b'keep-alive' in options)
        self.dated = b'date' in self.index and b'date' not in options
        self.content_type = self.index.get(b'content-type', (b'',))[0].partition(b';')[0]
        self.framed, self.large, self._written = None, False, [None, b'']

    def with_secrets(self, values):
        """Return a copy with the secrets of one exchange. `values`: as for Request.with_secrets."""
        made = Response.__new__(Response)
        made.version, made.framed, made._section, made._written = (
            self.version, self.framed, self._section, self._written)
        made.status, made.reason, made.persists = self.status, self.reason, self.persists
        made.dated, made.content_type = self.dated, self.content_type
        made.index, made.large, made._secrets = self.index, self.large, values
        return made

    def write(self, framing, via=b'', date=b'', close=False, upgrade=b''):
        """Return the head for the client, as octets.

        `framing`, `via`: see Request.write; `date`: for a response that came without Date (RFC 9110, 6.6.1);
        `close`: True to say that the connection ends after this response; `upgrade`: the Upgrade field value of a 101
        or 426.
        """
        asked = framing, via, date, close, upgrade
        written = self._written
        if written[0] != asked:
            written[:] = asked, self._write(*asked)
        return written[1] if self._secrets is None else restored(written, self._secrets)

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
    """A response whose head was invalid and had to be mended. `behind`: octets that came after the end of the head."""
    __slots__ = ('behind',)
