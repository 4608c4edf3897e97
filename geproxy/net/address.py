"""Hosts and IP addresses as values: parsed, wrapped forms opened, named by what they are for. Looks nothing up.

Not the standard library's ipaddress: what that calls private changed between releases; one table here means
one answer on every Python. The ranges are those of the IANA special-purpose registries (RFC 6890 and updates).
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import socket

from geproxy.memo import Memo

Network = collections.namedtuple('Network', 'version value shift text')
Ports = collections.namedtuple('Ports', 'ranges text')              # [(first, last)], and how people write it


class IP(collections.namedtuple('IP', 'version value salt')):
    """`version`: 4 or 6; `value`: the address as an integer; `salt`: the same as text.

    What is kept by address is kept in dicts, and hash() of an integer is known to everybody: a client that has a
    network of IPv6 addresses could come from many with one hash, and each look-up would pass them all. hash() of a text
    is another in each process, and it is part of that of the tuple.
    """
    __slots__ = ()

    def __new__(cls, version, value):
        return tuple.__new__(cls, (version, value, '%x' % value))

    def __repr__(self):
        return 'IP(version=%r, value=%r)' % self[:2]


def _parse_ip(text):
    """Native text of an IPv4 or IPv6 address (no brackets; a zone is cut off) -> IP. Raises ValueError.

    Only the four decimal numbers are an IPv4 address here; ``0x7f.1`` is a name, for the resolver to judge.
    """
    family, version = (socket.AF_INET6, 6) if ':' in text else (socket.AF_INET, 4)
    try:
        packed = socket.inet_pton(family, text.partition('%')[0])
    except (socket.error, UnicodeError, TypeError, ValueError):
        raise ValueError('%r is not an IP address' % text)
    return IP(version, int(binascii.hexlify(packed), 16))


parse_ip = Memo(_parse_ip).__getitem__


def is_ip(text):
    """True if native `text` is an IP address."""
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True


def show_ip(ip):
    """IP -> native text in its usual form."""
    return _shown[('%08x' if ip.version == 4 else '%032x') % ip.value]


# By text: hashes of numbers are known to all, so the owner of an IPv6 network could choose addresses that all have the
# same. Those of text are not, from Python 3.3 on; with 2.7 that takes `python -R`.
_shown = Memo(lambda digits: socket.inet_ntop(
    socket.AF_INET if len(digits) == 8 else socket.AF_INET6, binascii.unhexlify(digits.encode('ascii'))))


def parse_network(text):
    """``10.0.0.0/8``, ``::1`` or one address -> Network. Raises ValueError with what is wrong."""
    host, slash, length = text.partition('/')
    ip = parse_ip(host)
    bits = 32 if ip.version == 4 else 128
    if slash and not (length.isdigit() and int(length) <= bits):
        raise ValueError('%r has no prefix length from 0 to %d behind its slash' % (text, bits))
    shift = bits - int(length) if slash else 0
    if ip.value >> shift << shift != ip.value:
        raise ValueError('%r has bits set behind its prefix: did you mean %s/%s?' % (
            text, show_ip(IP(ip.version, ip.value >> shift << shift)), length))
    return Network(ip.version, ip.value >> shift, shift, text)


def allows_port(ports, port):
    """True if `port` is among `ports`."""
    for first, last in ports.ranges:
        if first <= port <= last:
            return True
    return False


def within(ip, networks):
    """The first of `networks` that holds `ip`, or None."""
    for network in networks:
        if network.version == ip.version and ip.value >> network.shift == network.value:
            return network
    return None


# Where clouds give credentials and secrets to their machines: (addresses, whose, where that is documented). Their
# names, such as metadata.google.internal, need no table: they lead to one of these, and what is dialled is judged.
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

# What an address is for. The first match counts, so exceptions stand before their range.
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

# Kinds that are never dialled unless [access] says so.
SPECIAL = ('loopback', 'metadata', 'link-local', 'unspecified', 'multicast', 'reserved')
PRESETS = dict((kind, networks) for kind, networks in _RANGES if kind != 'public')
PRESETS['any'] = [parse_network('0.0.0.0/0'), parse_network('::/0')]

# IPv6 forms that carry an IPv4 address: how far it stands from the right, and what it is XORed with.
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
    """An IPv4-mapped IPv6 address -> the IPv4 address that it stands for; others as they are."""
    return IP(4, ip.value & 0xffffffff) if ip.version == 6 and within(ip, [_MAPPED]) else ip


def unwrap(ip):
    """All addresses that a packet to `ip` may end at: itself, or those it carries (mapped ones: only those)."""
    carried = [IP(4, (ip.value >> shift & 0xffffffff) ^ mask)
               for network, shift, mask in _WRAPPERS if within(ip, [network])]
    if not carried or within(ip, [_MAPPED]):
        return carried or [ip]
    return [ip] + carried


def opens(networks, ip):
    """Return True if a list of addresses that may be reached means `ip`. The presets link-local, private and reserved
    do not mean the cloud metadata that lies within them; numbers mean all that they hold.

    `networks`: Networks; `ip`: an IP."""
    if kind(ip) == 'metadata':
        networks = [network for network in networks if network.text not in ('link-local', 'private', 'reserved')]
    return within(ip, networks) is not None


def household(text, ipv6_prefix=64):
    """Return the name under which a client is counted, native text: its IPv4 address, or its IPv6 network.

    `text`: native text of an address; `ipv6_prefix`: length of the prefix of such a network, in bits.
    """
    ip = parse_ip(text)
    if ip.version == 4 or kind(ip) == 'loopback':
        return text
    shift = 128 - ipv6_prefix
    return '%s/%d' % (show_ip(IP(6, ip.value >> shift << shift)), ipv6_prefix) if shift else show_ip(ip)


def kind(ip):
    """IP -> 'public', 'private', or one of SPECIAL; of that address alone, see `unwrap`."""
    for name, networks in _RANGES:
        if within(ip, networks):
            return name
    return 'public'
