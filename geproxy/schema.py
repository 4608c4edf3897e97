"""The options of the ini file: the table that declares each of them once. Reads nothing.

From it come validation with path and line, conf/proxy.ini, the README's table and what a reload may change.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.kinds import (
    admin_listeners, choice, count, count_or_auto, file_path, ipv6_prefix, listeners, log_path, many_octets, networks,
    octets, octets_or_auto, or_off, path, per_second, ports, protocols, pseudonym, realm, seconds, switch, text_line)
from geproxy.rulefiles import rule_list

Option = collections.namedtuple('Option', 'section name kind default live sentence')

# Kinds that are given the whole ini.Entry, for its lines; where there is none, the default as text.
WHOLE = (rule_list,)

SECTIONS = collections.OrderedDict((
    ('proxy', 'What this proxy is, and where it listens.'),
    ('access', 'Who may go where. Closed by default: strangers get 403.'),
    ('auth', 'Who is asking. Nobody is asked, unless users says who there is.'),
    ('timeouts', 'How long to wait for what. Numbers are seconds; 500ms, 2m, 1h are understood too.'),
    ('limits', 'How much is too much.'),
    ('upstream', 'The way to the origins.'),
    ('log', 'What is written down, and where.'),
    ('admin', 'To watch it run: health, metrics, geproxy ps, kill, tail, top. Never by way of the proxy.'),
))

SCHEMA = [Option(*row) for row in (
    ('proxy', 'listen', listeners, '*:9000', False,
     'Where to listen; several are separated by blanks. *:9000, or 9000, is that port on all addresses, '
     'IPv4 and IPv6; also 127.0.0.1:9000, [::1]:9000, fd:0 for a socket that supervisord hands over, and systemd for '
     'all that a '
     '.socket unit does.'),
    ('proxy', 'name', pseudonym, 'auto', True,
     'What this proxy calls itself in Via and Proxy-Status; loops are known by it, so no two proxies should share '
     'one. auto makes it from the names of host and listener.'),
    ('proxy', 'via', switch('on', 'off'), 'on', True,
     'Add a Via field to requests and responses, as RFC 9110 asks. Without it a loop by way of another proxy is '
     'not seen.'),
    ('proxy', 'forwarded', choice('off', 'add', 'strip'), 'off', True,
     'What origins learn of the client. off: Forwarded and X-Forwarded-For pass as they came; add: its address is '
     'added to both; strip: they are taken away, and so are X-Forwarded-Host, -Proto, -By and X-Real-IP, with _ for - '
     'too, as programs behind CGI and WSGI read them.'),
    ('proxy', 'proxy_protocol', networks, '', True,
     'Addresses and networks of load balancers that say who the client is, by a PROXY header (version 1 or 2) at the '
     'beginning of each connection, and must do so. From all others such a header is refused.'),
    ('proxy', 'user', text_line, '', False,
     'Whom to become, if root starts this, once the ports are open. Everything else is done as that user: logs are '
     'opened (so that they can be opened anew later), the ini file is read again. Empty: nobody else.'),
    ('proxy', 'group', text_line, '', False, 'Of which group then. Empty: the one of that user.'),
    ('access', 'clients', networks, 'loopback private', True,
     'Who may use this proxy at all: addresses, networks as 10.1.0.0/16, or loopback, private, any.'),
    ('access', 'connect_ports', ports, '80 443 563 8443', True,
     "Ports that CONNECT may reach, or any. 80 is among them since Node's fetch and ws:// tunnel there."),
    ('access', 'http_ports', ports, '80 443 1024-65535', True,
     'Ports that http:// may reach, or any.'),
    ('access', 'upgrades', protocols, 'websocket', True,
     'Protocols that a client may change to by Upgrade, or any. What is not among them is not offered to the origin: '
     'behind an upgrade octets pass unseen, as in a tunnel. h2c is never offered.'),
    ('access', 'rules', rule_list, '', True,
     'Who may go where, one rule in a line: allow or deny, WHO, WHERE; the first that fits decides, and with rules '
     'what fits none is denied. See "Rules" in the README.'),
    ('access', 'include', text_line, '', True,
     'More files with [access] rules, as in rules.d/*.ini, relative to this file. Their rules go before those here, in '
     'the order of the names of the files.'),
    ('access', 'policy', choice('enforce', 'report'), 'enforce', True,
     'report: what rules and ports would refuse goes through, and is logged as what would have been refused. clients '
     'and special addresses hold nevertheless.'),
    ('access', 'private', switch('allow', 'deny'), 'allow', True,
     'Whether private addresses (RFC 1918, RFC 6598, fc00::/7) may be reached.'),
    ('access', 'loopback', choice('auto', 'deny'), 'auto', True,
     'auto: a client on this very host may reach its loopback addresses and all other addresses of this host, which it '
     'could reach without the proxy too; other clients may not. deny: nobody may.'),
    ('access', 'allow_addresses', networks, '', True,
     'Addresses that may be reached although they are special: those of this host, loopback, link-local, cloud '
     'metadata, multicast, reserved. The presets of those names are understood. The presets link-local, private and '
     'reserved do not open the cloud metadata within them: that is opened by metadata, any, or its address.'),
    ('access', 'deny_addresses', networks, '', True,
     'Addresses that may not be reached, whatever else says so.'),
    ('auth', 'users', file_path, '', True,
     'An htpasswd file: with it, everybody has to log in (Basic), but for exempt. {SHA}, $apr1$, $1$, $5$, $6$, and '
     'bcrypt with the library of that name. Read again when it changes; a path relative to this file.'),
    ('auth', 'groups', file_path, '', True, 'A file of lines as `group: user user`, for group:NAME in rules.'),
    ('auth', 'realm', realm, 'geproxy', True, 'What is asked for: browsers show it.'),
    ('auth', 'exempt', networks, '', True, 'Clients that need not log in; if they do, it has to be right.'),
    ('timeouts', 'head', seconds, '20', True,
     'For a whole request head, once its first octet has come; and for that octet, on a new connection.'),
    ('timeouts', 'idle', seconds, '75', True, 'Between two requests of a kept-alive client.'),
    ('timeouts', 'login', seconds, '20', True, 'For verifying a name and a password.'),
    ('timeouts', 'dns', seconds, '10', True, 'For the addresses of a name.'),
    ('timeouts', 'connect', seconds, '10', True, 'For a connection to an origin, over all its addresses.'),
    ('timeouts', 'response', seconds, '120', True,
     'For the whole head of a response, once the request has been sent.'),
    ('timeouts', 'body', seconds, '300', True, 'Of silence within a body, in either direction.'),
    ('timeouts', 'tunnel', seconds, '1h', True, 'Of silence in both directions of a tunnel.'),
    ('timeouts', 'linger', seconds, '30', True,
     'For whoever has ended only its own direction: a client that waits for its answer, a half-closed tunnel, or the '
     'rest of a request that was refused. Of that, 16 MiB at most are read.'),
    ('timeouts', 'drain', seconds, '8', True,
     'For exchanges to end after SIGTERM. Less than stopwaitsecs of supervisord, which is 10 unless set.'),
    ('limits', 'connections', count_or_auto, 'auto', True,
     'Connections of clients at once; more get 503. auto: as many as the file descriptors of this process allow, '
     'two for each.'),
    ('limits', 'per_client', or_off(count), 'off', True,
     'Connections of one client at once; more get 429. off: no limit.'),
    ('limits', 'ipv6_prefix', ipv6_prefix, '64', True,
     'All IPv6 clients whose addresses agree in so many bits count as one client in limits and in failed log-ins, as '
     'one host can choose among all addresses of its network. 56 or 48: for clients that have many networks. 128: each '
     'address counts for itself, so that a client with a network can evade limits.'),
    ('limits', 'requests', or_off(per_second), 'off', True,
     'Requests per second of each user, or of each client that has not logged in; more get 429.'),
    ('limits', 'burst', count, '20', True, 'How many requests may come at once on top of that, after a pause.'),
    ('limits', 'rate', or_off(octets), 'off', True,
     'Octets per second of each user or client, over all its connections, in each direction. See also rate in rules.'),
    ('limits', 'quota', or_off(many_octets), 'off', True,
     'Octets per day of each user or client, both directions together, this host\'s days; more get 429.'),
    ('limits', 'quota_file', path, 'off', False,
     'Where these are counted, for all processes that share the file: a path, or off. quota needs it.'),
    ('limits', 'memory', octets_or_auto, 'auto', True,
     'Octets that all connections together may hold: large heads, and data that slow peers have not taken yet. At '
     'the limit a large head gets 503, and data goes in small pieces. auto: a quarter of what the control group or the '
     'host has.'),
    ('limits', 'head_size', octets, '64k', True, 'Octets of a head, and of a trailer section.'),
    ('limits', 'fields', count, '1000', True, 'Field lines in a head, and in a trailer section.'),
    ('upstream', 'keep', count, '256', True,
     'Idle connections to origins kept for the next request, in all; fewer while clients need the file descriptors.'),
    ('upstream', 'keep_time', seconds, '30', True, 'How long each of them is kept.'),
    ('upstream', 'dns_keep', seconds, '60', True,
     'How long the addresses of a name are good for. If all of them fail, the name is looked up again.'),
    ('upstream', 'dns_keep_failed', seconds, '5', True, 'How long a name that failed is not asked for again.'),
    ('log', 'access', log_path, '-', True,
     'One line for each exchange: a path, - for standard output, syslog, or off. Also syslog:local3 for a facility, '
     'syslog:/path/of/a/socket, syslog://HOST:514.'),
    ('log', 'format', choice('auto', 'console', 'squid', 'common', 'json'), 'auto', True,
     'Of these lines. auto: console for standard output, squid for a file.'),
    ('log', 'query', choice('auto', 'on', 'off'), 'auto', True,
     'Whether URLs are logged with their query strings, in which secrets like to travel. auto: only on the console.'),
    ('log', 'errors', log_path, '-', True,
     'What the process has to say, and why exchanges failed: a path, - for standard error, syslog as above, or off.'),
    ('admin', 'listen', admin_listeners, 'off', False,
     'Where to ask for it; several are separated by blanks: unix:/run/geproxy/{pid}.sock, which only its owner and '
     'root can use (several processes need one each, so {pid} stands for the process id), 127.0.0.1:9001, or off.'),
    ('admin', 'clients', networks, 'loopback', True,
     'Who may ask at a port: addresses, networks. There is no password, and whoever may ask sees every URL.'),
)]
