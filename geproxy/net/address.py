"""IP addresses as values: parsed, taken out of addresses that carry them, and sorted by purpose. Looks up no names.

The standard library's ipaddress is not used, because its idea of a private address changed between releases. The table
here gives the same answer on every Python. Its ranges are those of the IANA special-purpose registries (RFC 6890 and
updates).
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import re
import socket

from geproxy.compat import to_native
from geproxy.memo import Memo

Network = collections.namedtuple('Network', 'version value shift text')
Ports = collections.namedtuple('Ports', 'ranges text')              # [(first, last)], and the text as people write it


class IP(collections.namedtuple('IP', 'version value salt')):
    """An IP address. `version`: 4 or 6; `value`: the address as an integer; `salt`: the same as text.

    Addresses are keys of dicts, and hash() of an integer is the same everywhere. So a client with a network of IPv6
    addresses could use many with the same hash, and make each look-up slow. `salt` prevents that, because hash() of a
    text is different in each process.
    """
    __slots__ = ()

    def __new__(cls, version, value):
        return tuple.__new__(cls, (version, value, '%x' % value))

    def __repr__(self):
        return 'IP(version=%r, value=%r)' % self[:2]


def _parse_ip(text):
    """Return native text of an IPv4 or IPv6 address, without brackets, as an IP. A zone is cut off. Raises ValueError.

    An IPv4 address is four decimal numbers only: ``0x7f.1`` is a name, and the resolver decides about it.
    """
    family, version = (socket.AF_INET6, 6) if ':' in text else (socket.AF_INET, 4)
    try:
        packed = socket.inet_pton(family, text.partition('%')[0])
    except (socket.error, UnicodeError, TypeError, ValueError):
        raise ValueError('%r is not an IP address' % text)
    return IP(version, int(binascii.hexlify(packed), 16))


parse_ip = Memo(_parse_ip).__getitem__


def is_ip(text):
    """Return True if native `text` is an IP address."""
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True


_ZEROS = re.compile(r'(?<![^.])0+(?=[0-9])')     # at the beginning of a number


def _find_address(host):
    name = to_native(host.rstrip(b'.'))
    if name == 'localhost' or name.endswith('.localhost'):
        return '127.0.0.1'              # RFC 6761, 6.3
    # Other proxies read 127.1, 2130706433 and 0x7f.1 as addresses, too, as inet_aton(3) does. It refuses 0169, which is
    # no octal number, but some read it as 169.
    for text in (name, _ZEROS.sub('', name)):
        try:
            return socket.inet_ntoa(socket.inet_aton(text))
        except (socket.error, ValueError):
            pass
    return show_ip(parse_ip(name)) if is_ip(name) else None


# The address of a host, octets in lower case, as native text if no look-up is needed to know it, else None.
known_address = Memo(_find_address).__getitem__


def show_ip(ip):
    """Return `ip`, an IP, as native text in its usual form."""
    return _shown[('%08x' if ip.version == 4 else '%032x') % ip.value]


# Keys are texts, not numbers, for the reason that IP has a salt. Python 2.7 needs `python -R` for it.
_shown = Memo(lambda digits: socket.inet_ntop(
    socket.AF_INET if len(digits) == 8 else socket.AF_INET6, binascii.unhexlify(digits.encode('ascii'))))


def parse_network(text):
    """Return native text such as ``10.0.0.0/8`` or ``::1`` as a Network. Raises ValueError."""
    host, slash, length = text.partition('/')
    ip = parse_ip(host)
    bits = 32 if ip.version == 4 else 128
    if slash and not (length.isdigit() and int(length) <= bits):
        raise ValueError('invalid network %r: expected a prefix length from 0 to %d after the slash' % (text, bits))
    shift = bits - int(length) if slash else 0
    if ip.value >> shift << shift != ip.value:
        raise ValueError('invalid network %r: it has bits set after its prefix; did you mean %s/%s?' % (
            text, show_ip(IP(ip.version, ip.value >> shift << shift)), length))
    return Network(ip.version, ip.value >> shift, shift, text)


def allows_port(ports, port):
    """Return True if `port`, an int, is among `ports`, a Ports."""
    for first, last in ports.ranges:
        if first <= port <= last:
            return True
    return False


def within(ip, networks):
    """Return the first of `networks`, Networks, that contains `ip`, an IP; None if there is none."""
    for network in networks:
        if network.version == ip.version and ip.value >> network.shift == network.value:
            return network
    return None


# Where clouds give credentials and secrets to their machines: (addresses, whose, where that is documented). Names such
# as metadata.google.internal need no table: they lead to one of these addresses, and each address is checked.
METADATA = (
    ('169.254.169.254', 'AWS, Azure, Google, Oracle, OpenStack, DigitalOcean, Hetzner, Vultr, IBM, Exoscale, Linode',
     'cloud-init: doc/rtd/reference/datasources'),
    ('169.254.170.2 169.254.170.23', 'AWS: containers of ECS, pods of EKS',
     'docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html'),
    ('fd00:ec2::/32', 'AWS: metadata (::254), pods of EKS (::23), name server (::253), clock (::123)',
     'docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html, '
     'docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html'),
    ('fd20:ce::254', 'Google: machines with IPv6 only', 'cloud.google.com/compute/docs/metadata/querying-metadata'),
    ('168.63.129.16', 'Azure: the host of the machine (WireServer)',
     'learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16'),
    ('192.0.0.192', 'Oracle: Cloud at Customer, Classic',
     'docs.oracle.com/en/cloud/cloud-at-customer/occ-get-started/retrieve-predefined-instance-metadata.html'),
    ('fd00:c1::a9fe:a9fe', 'Oracle', 'oci-python-sdk: auth/signers/instance_principals_security_token_signer.py'),
    ('100.100.100.200 fd00:100::100:200', 'Alibaba', 'cloud-init: datasources/aliyun, its tests for IPv6'),
    ('169.254.42.42 fd00:42::42', 'Scaleway', 'cloud-init: datasources/scaleway'),
    ('fd00:a9fe:a9fe::1', 'Linode (Akamai)', 'techdocs.akamai.com/cloud-computing/docs/metadata-service-api'),
    ('fe80::a9fe:a9fe', 'OpenStack, Linode', 'cloud-init: sources/DataSourceOpenStack.py; OpenStack Neutron'),
    ('169.254.0.23 169.254.10.10 100.88.222.5', 'Tencent', 'datadog-agent: pkg/util/cloudproviders/tencent'),
    ('169.254.169.252', 'Google: pods of GKE', 'cloud.google.com/kubernetes-engine/docs/concepts/workload-identity'),
    ('192.80.8.124', 'Equinix Metal (Packet)', 'typhoon and gardener: blocked metadata networks of Packet'),
)

# The purpose of addresses. The first match counts, so exceptions stand before their range.
_RANGES = [(kind, [parse_network(word) for word in words.split()]) for kind, words in (
    ('metadata', ' '.join(addresses for addresses, _whose, _source in METADATA)),
    ('loopback', '127.0.0.0/8 ::1'),
    ('unspecified', '0.0.0.0/8 ::'),
    ('private', '10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7'),
    ('link-local', '169.254.0.0/16 fe80::/10'),
    ('multicast', '224.0.0.0/4 ff00::/8'),
    ('public', '192.0.0.9 192.0.0.10 2001:1::1 2001:1::2 2001:1::3 2001:3::/32 2001:4:112::/48 2001:20::/28 '
               '2001:30::/28 2001::/32'),       # the last, Teredo, is opened before it is judged
    ('reserved', '192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 '
                 '::/96 ::ffff:0:0/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 3fff::/20 '
                 '5f00::/16 fec0::/10'),
)]

# Kinds that are dialled only if [access] allows them.
SPECIAL = ('loopback', 'metadata', 'link-local', 'unspecified', 'multicast', 'reserved')
PRESETS = dict((kind, networks) for kind, networks in _RANGES if kind != 'public')
PRESETS['any'] = [parse_network('0.0.0.0/0'), parse_network('::/0')]

# IPv6 networks whose addresses carry an IPv4 address: how many bits are right of it, and what it is XORed with.
_WRAPPERS = [(parse_network(text), shift, mask) for text, shift, mask in (
    ('::ffff:0:0/96', 0, 0),                    # IPv4-mapped, RFC 4291 2.5.5.2
    ('::ffff:0:0:0/96', 0, 0),                  # IPv4-translated, RFC 2765
    ('64:ff9b::/96', 0, 0),                     # NAT64, RFC 6052
    ('2002::/16', 80, 0),                       # 6to4, RFC 3056
    ('2001::/32', 64, 0),                       # Teredo's server, RFC 4380
    ('2001::/32', 0, 0xffffffff),               # Teredo's client, written inverted
)]
_MAPPED = _WRAPPERS[0][0]


def unmap(ip):
    """Return the IPv4 address of an IPv4-mapped IPv6 address; other addresses as they are. `ip`: an IP."""
    return IP(4, ip.value & 0xffffffff) if ip.version == 6 and within(ip, [_MAPPED]) else ip


def unwrap(ip):
    """Return all addresses that a packet to `ip` may reach, a list of IPs: itself, and those that it carries.

    A mapped address means only the one that it carries.
    """
    carried = [IP(4, (ip.value >> shift & 0xffffffff) ^ mask)
               for network, shift, mask in _WRAPPERS if within(ip, [network])]
    if not carried or within(ip, [_MAPPED]):
        return carried or [ip]
    return [ip] + carried


def allows_ip(networks, ip):
    """Return True if a list of allowed networks allows an address.

    `networks`: Networks; `ip`: an IP. The presets link-local, private and reserved contain addresses of cloud metadata,
    and do not allow these. A network that is written as numbers allows all its addresses.
    """
    if kind(ip) == 'metadata':
        networks = [network for network in networks if network.text not in ('link-local', 'private', 'reserved')]
    return within(ip, networks) is not None


def client_network(text, ipv6_prefix=64):
    """Return the IPv4 address or the IPv6 network by which a client is counted, as native text.

    `text`: the address of the client, native text; `ipv6_prefix`: length of the prefix of an IPv6 network, in bits.
    """
    ip = parse_ip(text)
    if ip.version == 4 or kind(ip) == 'loopback':
        return text
    shift = 128 - ipv6_prefix
    return '%s/%d' % (show_ip(IP(6, ip.value >> shift << shift)), ipv6_prefix) if shift else show_ip(ip)


def kind(ip):
    """Return 'public', 'private', or one of SPECIAL for `ip`, an IP. Addresses inside it are not considered: see
    `unwrap`."""
    for name, networks in _RANGES:
        if within(ip, networks):
            return name
    return 'public'
