"""Who may go where; which addresses are off limits. Pure: values in, an error with its reason out, no I/O.

Three questions, asked in the order in which their answers become known: may this client use the proxy at all, may it
ask for that host and port, and, once per address and just before it is dialled, may it reach that address.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.address import kind, parse_ip, show_ip, unmap, unwrap, within

Ports = collections.namedtuple('Ports', 'ranges text')          # [(first, last)], and how the ini file has it


def allows_port(ports, port):
    """True if `port` is among `ports`."""
    return any(first <= port <= last for first, last in ports.ranges)


class Access(object):
    """The policy, built from one immutable [access] section; never changed, only replaced."""

    def __init__(self, settings, is_own):
        """`settings`: the section [access]; `is_own`: a function of (IP, port) that tells the proxy's listeners."""
        self._settings = settings
        self._is_own = is_own

    def check_client(self, client):
        """May this client (native text of its address) use the proxy? Raises Denied."""
        if not within(unmap(parse_ip(client)), self._settings.clients):
            raise errors.Denied('client %s is not among [access] clients' % client)

    def check_target(self, method, port):
        """May anyone ask for that port, by CONNECT or by http://? Raises Denied."""
        name = 'connect_ports' if method == b'CONNECT' else 'http_ports'
        ports = getattr(self._settings, name)
        if not allows_port(ports, port):
            raise errors.Denied('port %d is not among [access] %s (%s)' % (port, name, ports.text))

    def check_address(self, client, text, port):
        """May this client reach that address (both native text)? Raises AddressDenied.

        Asked for what is about to be dialled, so that no trick with names leads around it.
        """
        ip = unmap(parse_ip(text))
        if self._is_own(ip, port):
            raise errors.Ourselves('%s port %d is this proxy itself' % (show_ip(ip), port))
        carried = unwrap(ip)
        for inner in carried:
            denied = within(inner, self._settings.deny_addresses)
            if denied:
                raise errors.AddressDenied('%s is in [access] deny_addresses (%s)%s' % (
                    show_ip(inner), denied.text, _way(ip, inner)))
        if within(ip, self._settings.allow_addresses):
            return
        local = kind(ip) == 'loopback' and self._settings.loopback == 'auto' and (
            kind(unmap(parse_ip(client))) == 'loopback')
        for inner in carried:
            self._check_kind(ip, inner, local)

    def _check_kind(self, ip, inner, local):
        what = kind(inner)
        allowed = {'public': True, 'private': self._settings.private, 'loopback': local}.get(what, False)
        if not allowed:
            raise errors.AddressDenied('%s is a %s address%s' % (show_ip(inner), what, _way(ip, inner)))


def _way(ip, inner):
    """How a packet to `ip` comes to `inner`, in words."""
    return '' if inner == ip else ', by way of %s' % show_ip(ip)
