"""The options of the ini file: the table that declares each of them once. Reads nothing.

From it come validation with path and line, conf/proxy.ini, the table of options in the manual, and what a reload may
change.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.settings.option_types import (
    admin_listeners, choice, count, count_or_auto, file_path, ipv6_prefix, listeners, log_path, many_octets, networks,
    octets, octets_or_auto, or_off, path, per_second, ports, protocols, pseudonym, realm, seconds, switch, text_line)
from geproxy.settings.rule_files import rule_list

Option = collections.namedtuple('Option', 'section name kind default live sentence')

# Kinds that are given the whole ini.Entry, for its lines; where there is none, the default as text.
WHOLE = (rule_list,)

SECTIONS = collections.OrderedDict((
    ('proxy', 'The proxy itself, and where it listens.'),
    ('access', 'Who may go where. Closed by default: strangers get 403.'),
    ('auth', 'Log-ins. Nobody has to log in unless users is set.'),
    ('timeouts', 'How long to wait. A number means seconds; 500ms, 2m and 1h work, too.'),
    ('limits', 'How much one client, and all of them, may take.'),
    ('upstream', 'Connections to origins.'),
    ('log', 'What is logged, and where.'),
    ('admin', 'Health, metrics, geproxy ps, kill, tail, top. Cannot be reached through the proxy.'),
))

SCHEMA = [Option(*row) for row in (
    ('proxy', 'listen', listeners, '*:9000', False,
     'Addresses to listen on, separated by blanks. *:9000 or 9000: that port on all addresses, IPv4 and IPv6. '
     '127.0.0.1:9000 or [::1]:9000: that address only. fd:0: a socket that supervisord hands over. systemd: all '
     'sockets of a .socket unit.'),
    ('proxy', 'name', pseudonym, 'auto', True,
     'The name of this proxy in Via and Proxy-Status. Loops are found by this name, so give each proxy its own. '
     "auto: a name made from the host's name and the listener."),
    ('proxy', 'via', switch('on', 'off'), 'on', True,
     'Add a Via field to requests and responses, as RFC 9110 demands. Without it, a loop through another proxy '
     'is not found.'),
    ('proxy', 'forwarded', choice('off', 'add', 'strip'), 'off', True,
     "What origins learn about the client. off: Forwarded and X-Forwarded-For pass unchanged. add: the client's "
     'address is added to both. strip: both are removed, and so are X-Forwarded-Host, -Proto, -By and X-Real-IP; '
     'names with _ instead of - count as well, because programs behind CGI and WSGI read them.'),
    ('proxy', 'proxy_protocol', networks, '', True,
     'Addresses and networks of load balancers. They must send a PROXY header (version 1 or 2) at the beginning '
     'of each connection, which says who the client is. A PROXY header from any other address is refused.'),
    ('proxy', 'user', text_line, '', False,
     'The user to switch to after the ports are open, when started as root. This user opens the log files and '
     'reads the ini file again at a reload. Empty: do not switch.'),
    ('proxy', 'group', text_line, '', False,
     'The group to switch to together with user. Empty: the group of that user.'),
    ('access', 'clients', networks, 'loopback private', True,
     'Clients that may use this proxy: addresses, networks such as 10.1.0.0/16, or loopback, private, any. All '
     'others get 403.'),
    ('access', 'connect_ports', ports, '80 443 563 8443', True,
     'Ports that CONNECT may reach, or any. Port 80 is in the default because fetch of Node and ws:// open '
     'tunnels to it.'),
    ('access', 'http_ports', ports, '80 443 1024-65535', True,
     'Ports that requests for http:// may reach, or any.'),
    ('access', 'upgrades', protocols, 'websocket', True,
     'Protocols that a client may switch to by Upgrade, or any. Other protocols are not offered to the origin. '
     'After an upgrade the data passes unseen, as in a tunnel. h2c is never offered.'),
    ('access', 'rules', rule_list, '', True,
     'Who may go where, one rule per line: allow or deny, WHO, WHERE. The first rule that matches decides. If '
     'there are rules and none matches, the request is denied. The manual has a chapter about rules.'),
    ('access', 'include', text_line, '', True,
     'Files with more [access] rules, such as rules.d/*.ini, relative to this file. Their rules come before the '
     'rules of this file, in the order of the file names.'),
    ('access', 'policy', choice('enforce', 'report'), 'enforce', True,
     'enforce: refuse what the rules and ports forbid. report: let it through, and log that it would have been '
     'refused. Strangers and special addresses are refused in both cases.'),
    ('access', 'private', switch('allow', 'deny'), 'allow', True,
     'Allow or deny private addresses as destinations (RFC 1918, RFC 6598, fc00::/7).'),
    ('access', 'loopback', choice('auto', 'deny'), 'auto', True,
     'auto: only a client on this host may reach loopback addresses and the other addresses of this host, as it '
     'could without the proxy. deny: no client may.'),
    ('access', 'allow_addresses', networks, '', True,
     'Addresses that may be reached although they are special: addresses of this host, loopback, link-local, '
     'cloud metadata, multicast, reserved. The names of these kinds work as values, too. link-local, private and '
     'reserved do not include the cloud metadata inside them: write metadata, any or the address for that.'),
    ('access', 'deny_addresses', networks, '', True,
     'Addresses that are always refused, even if another option allows them.'),
    ('auth', 'users', file_path, '', True,
     'An htpasswd file. If it is set, all clients must log in (Basic), except those in exempt. Hashes: {SHA}, '
     '$apr1$, $1$, $5$, $6$, and bcrypt if the library bcrypt is installed. A relative path is relative to this '
     'file. The file is read again when it changes.'),
    ('auth', 'groups', file_path, '', True,
     'A file with lines such as `group: user user`, for group:NAME in rules.'),
    ('auth', 'realm', realm, 'geproxy', True,
     'The text that browsers show when they ask for the log-in.'),
    ('auth', 'exempt', networks, '', True,
     'Clients that do not have to log in. If such a client sends a log-in, it must be right.'),
    ('timeouts', 'head', seconds, '20', True,
     'Time to receive a whole request head. Also the time that a new connection may stay silent.'),
    ('timeouts', 'idle', seconds, '75', True,
     'Time that a client may keep a connection open between two requests.'),
    ('timeouts', 'login', seconds, '20', True,
     'Time to verify a name and a password.'),
    ('timeouts', 'dns', seconds, '10', True,
     'Time to look up the addresses of a name.'),
    ('timeouts', 'connect', seconds, '10', True,
     'Time to connect to an origin, for all its addresses together.'),
    ('timeouts', 'response', seconds, '120', True,
     'Time from the end of the request until the whole head of the response has arrived.'),
    ('timeouts', 'body', seconds, '300', True,
     'Longest pause inside a request or response body.'),
    ('timeouts', 'tunnel', seconds, '1h', True,
     'Longest time that a tunnel may be silent in both directions.'),
    ('timeouts', 'linger', seconds, '30', True,
     'Time for a peer that has ended its own direction: a client that still waits for its answer, a half-closed '
     'tunnel. Also the time to read the rest of a refused request; at most 16 MiB of it are read.'),
    ('timeouts', 'drain', seconds, '8', True,
     'Time for exchanges to end after SIGTERM. Keep it below stopwaitsecs of supervisord, which is 10 by '
     'default.'),
    ('limits', 'connections', count_or_auto, 'auto', True,
     'Largest number of client connections. More get 503. auto: as many as the file descriptors of the process '
     'allow, two for each connection.'),
    ('limits', 'per_client', or_off(count), 'off', True,
     'Largest number of connections of one client. More get 429. off: no limit.'),
    ('limits', 'ipv6_prefix', ipv6_prefix, '64', True,
     'IPv6 clients whose addresses have the same first bits, this many, count as one client in limits and failed '
     'log-ins, because one host can use all addresses of its network. 56 or 48: if your clients have several '
     'networks. 128: each address counts alone; a client with a network can then evade the limits.'),
    ('limits', 'requests', or_off(per_second), 'off', True,
     'Requests per second of one user, or of one client that has not logged in. More get 429. off: no limit.'),
    ('limits', 'burst', count, '20', True,
     'Requests that may come at once after a pause, in addition to requests.'),
    ('limits', 'rate', or_off(octets), 'off', True,
     'Octets per second and direction of one user or client, for all its connections together. off: no limit. '
     'Rules have a rate of their own.'),
    ('limits', 'quota', or_off(many_octets), 'off', True,
     'Octets per day of one user or client, in both directions together. After that it gets 429 until midnight '
     'of this host. off: no limit.'),
    ('limits', 'quota_file', path, 'off', False,
     'The file that counts the quota, shared by all processes: a path, or off. quota needs it.'),
    ('limits', 'memory', octets_or_auto, 'auto', True,
     'Octets that all connections together may hold: large heads, and data that slow peers have not taken yet. '
     'At the limit a large head gets 503, and data passes in small pieces. auto: a quarter of the memory of the '
     'control group or the host.'),
    ('limits', 'head_size', octets, '64k', True,
     'Largest size of a head, and of a trailer section, in octets.'),
    ('limits', 'fields', count, '1000', True,
     'Largest number of field lines in a head, and in a trailer section.'),
    ('upstream', 'keep', count, '256', True,
     'Largest number of idle connections to origins that are kept for the next request. Fewer are kept while '
     'clients need the file descriptors.'),
    ('upstream', 'keep_time', seconds, '30', True,
     'Time that an idle connection to an origin is kept.'),
    ('upstream', 'dns_keep', seconds, '60', True,
     'Time that the addresses of a name are remembered. If all of them fail, the name is looked up again at '
     'once.'),
    ('upstream', 'dns_keep_failed', seconds, '5', True,
     'Time that a failed look-up is remembered.'),
    ('log', 'access', log_path, '-', True,
     'Where to write one line for each exchange: a path, - for standard output, syslog, or off. Also '
     'syslog:local3 (with a facility), syslog:/path/of/a/socket and syslog://HOST:514.'),
    ('log', 'format', choice('auto', 'console', 'squid', 'common', 'json'), 'auto', True,
     'Format of these lines. auto: console for standard output, squid for a file.'),
    ('log', 'query', choice('auto', 'on', 'off'), 'auto', True,
     'Log URLs with their query strings, which often contain secrets. auto: only on the console.'),
    ('log', 'errors', log_path, '-', True,
     'Where to write messages of the process, and why exchanges failed: a path, - for standard error, syslog as '
     'above, or off.'),
    ('admin', 'listen', admin_listeners, 'off', False,
     'Addresses of the admin listener, separated by blanks: unix:/run/geproxy/{pid}.sock, 127.0.0.1:9001, or '
     'off. Only the owner and root can use such a socket. {pid} is the process id, as several processes need a '
     'socket each.'),
    ('admin', 'clients', networks, 'loopback', True,
     'Clients that may use the admin port: addresses, networks. There is no password. These clients see every '
     'URL.'),
)]
