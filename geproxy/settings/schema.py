"""The options of the ini file: the table that declares each of them once. Reads no file.

From it come the checks with path and line, conf/proxy.ini, the table of options in the manual, and what a reload may
change.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy.settings.environment_routes import route_list
from geproxy.settings.option_types import (
    admin_listeners, any_text, boolean, choice, duration, input_path, input_paths, large_size, listeners,
    local_addresses, log_path, networks, or_off, output_path, per_second, ports, prefix_length, protocols, pseudonym,
    realm, size, size_or_auto, whole_number, whole_number_or_auto)
from geproxy.settings.rule_files import rule_list

# `read`: one of option_types, or of READ_ENTRIES; `default`: as text; `reloadable`: a reload may change it; `sentence`:
# for people.
Option = collections.namedtuple('Option', 'section name read default reloadable sentence')

# Types that are given the whole ini.Entry, because they need each of its lines; without an entry, the default as text.
READ_ENTRIES = (rule_list, route_list)

SECTIONS = collections.OrderedDict((
    ('proxy', 'The proxy itself, and where it listens.'),
    ('access', 'Who may go where. By default only clients on this host and in private networks may use the proxy.'),
    ('tls', 'TLS between clients and the proxy. The proxy speaks it on its ports if certificate is set.'),
    ('auth', 'Log-ins. Clients have to log in only if users is set, or certificates = required.'),
    ('timeouts', 'How long to wait. A number means seconds; 500ms, 2m and 1h work, too.'),
    ('limits', 'How much one client, and all clients together, may use.'),
    ('upstream', 'Connections to origins.'),
    ('log', 'What is logged, and where.'),
    ('admin', 'Health, metrics, and the commands ps, kill, tail and top. Cannot be reached through the proxy.'),
))

SCHEMA = [Option(*row) for row in (
    ('proxy', 'listen', listeners, '*:9000', False,
     'Addresses to listen on, separated by blanks. *:9000 or 9000: that port on all addresses, IPv4 and IPv6. '
     '127.0.0.1:9000 or [::1]:9000: that address only. fd:0: a socket that supervisord hands over. systemd: all '
     'sockets of a .socket unit. tls behind one of these: it takes nothing but TLS (*:9443 tls). Without that word, '
     'a listener takes both, if [tls] certificate is set.'),
    ('proxy', 'name', pseudonym, 'auto', True,
     'The name of this proxy in Via and Proxy-Status. Loops are found by this name, so give each proxy its own. '
     "auto: a name made from the host's name and the listener."),
    ('proxy', 'via', boolean('on', 'off'), 'on', True,
     'Add a Via field to requests and responses, as RFC 9110 requires. Without it, a loop through another proxy, '
     'such as a parent that leads back to this proxy, is not found. SOCKS has no such field: a circle in which one '
     'proxy asks the next by SOCKS is not found in any case. [limits] per_client bounds it.'),
    ('proxy', 'socks', boolean('on', 'off'), 'on', True,
     'Serve clients that speak SOCKS 4, 4a or 5 on the same ports. The only command is CONNECT: rules, users, limits '
     'and the log treat it like CONNECT of HTTP.'),
    ('proxy', 'forwarded', choice('off', 'add', 'strip'), 'off', True,
     "What origins learn about the client. off: Forwarded and X-Forwarded-For pass unchanged. add: the client's "
     'address is added to both. strip: both are removed, and so are X-Forwarded-Host, -Proto, -By and X-Real-IP; '
     'names with _ instead of - count as well, because programs behind CGI and WSGI read them.'),
    ('proxy', 'proxy_protocol', networks, '', True,
     'Addresses and networks of load balancers. They must send a PROXY header (version 1 or 2) at the beginning of '
     'each connection, which says who the client is. A PROXY header from any other address is refused '
     '(proxy_header_refused).'),
    ('proxy', 'user', any_text, '', False,
     'The user to switch to after the ports are open, when started as root. This user opens the log files and '
     'reads the ini file again at a reload. Empty: do not switch.'),
    ('proxy', 'group', any_text, '', False,
     'The group to switch to together with user. Empty: the group of that user.'),
    ('access', 'clients', networks, 'loopback private', True,
     'Clients that may use this proxy: addresses, networks such as 10.1.0.0/16, or loopback, private, any. All '
     'others get 403 (http_request_denied).'),
    ('access', 'connect_ports', ports, '80 443 563 8443', True,
     'Ports that CONNECT may reach, or any. Port 80 is in the default because fetch of Node and ws:// open '
     'tunnels to it.'),
    ('access', 'http_ports', ports, '80 443 1024-65535', True,
     'Ports that requests for http:// may reach, or any.'),
    ('access', 'upgrades', protocols, 'websocket', True,
     'Protocols that a client may switch to with an Upgrade field, or any. Other protocols are not offered to the '
     'origin. After the switch the data passes unseen, as in a tunnel. h2c is never offered.'),
    ('access', 'rules', rule_list, '', True,
     'Who may go where, one rule per line: allow or deny, WHO, WHERE. The first rule that matches decides. If '
     'there are rules and none matches, the request gets 403. The manual has a chapter about rules.'),
    ('access', 'include', any_text, '', True,
     'Files with more [access] rules, such as rules.d/*.ini, relative to this file. Their rules come before the '
     'rules of this file, in the order of the file names.'),
    ('access', 'policy', choice('enforce', 'report'), 'enforce', True,
     'enforce: requests that rules or ports forbid get 403. report: they pass, and the log says that they would '
     'have been refused. Clients that are not in clients, and special addresses, are refused in both cases.'),
    ('access', 'private', boolean('allow', 'deny'), 'allow', True,
     'Allow or deny private addresses as destinations (RFC 1918, RFC 6598, fc00::/7). deny: requests to them get '
     '403 (destination_ip_prohibited).'),
    ('access', 'loopback', choice('auto', 'deny'), 'auto', True,
     'auto: only a client on this host may reach loopback addresses and the other addresses of this host, as it '
     'could without the proxy. deny: no client may.'),
    ('access', 'allow_addresses', networks, '', True,
     'Addresses that may be reached although they are special: addresses of this host, loopback, link-local, '
     'cloud metadata, multicast, reserved. The names of these kinds work as values, too. link-local, private and '
     'reserved do not include the cloud metadata inside them: write metadata, any or the address for that.'),
    ('access', 'deny_addresses', networks, '', True,
     'Addresses that are always refused, even if another option allows them.'),
    ('tls', 'certificate', input_paths, '', True,
     'The PEM file with the certificate of the proxy, followed by the intermediate certificates. Several files, '
     'separated by blanks or lines: the client gets the certificate for the host name that it asks for, and the first '
     'one if none fits. Relative paths are relative to this file. The files are read again when they change. Empty: '
     'no TLS.'),
    ('tls', 'key', input_paths, '', True,
     'The PEM file with the private key of the certificate, without a passphrase; several in the order of the '
     'certificates. Empty: the keys are in the files of the certificates.'),
    ('tls', 'clients', input_path, '', True,
     'A PEM file with the certificates of authorities (CA) that sign the certificates of clients. Each certificate '
     'that they have signed is a log-in: see [auth] certificates. So use a CA that signs nothing else. A certificate '
     'of another CA, or one that has expired, ends the handshake. Empty: clients are not asked for certificates.'),
    ('auth', 'users', input_path, '', True,
     'An htpasswd file. If it is set, all clients must log in (Basic, or by SOCKS 5) or get 407, except those in '
     'exempt. Hashes: {SHA}, $apr1$, $1$, $5$, $6$, and bcrypt if the library bcrypt is installed. A relative path '
     'is relative to this file. The file is read again when it changes.'),
    ('auth', 'groups', input_path, '', True,
     'A file with lines such as `group: user user`. Rules use these groups as group:NAME. The file is read again '
     'when it changes.'),
    ('auth', 'certificates', choice('accepted', 'required'), 'accepted', True,
     'Log-ins by certificate, if [tls] clients is set. accepted: a client with a certificate needs no password; other '
     'clients are treated as if [tls] clients were empty. required: a client without a certificate gets 403 '
     '(certificate_required), even with a password, except those in exempt. The user is the common name of the '
     'certificate, or its e-mail address if the common name is missing or has blanks. That user need not be in users.'),
    ('auth', 'realm', realm, 'geproxy', True,
     'The text that browsers show when they ask for the log-in.'),
    ('auth', 'exempt', networks, '', True,
     'Clients that do not have to log in. If such a client sends a wrong log-in, it is refused.'),
    ('timeouts', 'head', duration, '20', True,
     'Longest time to receive a whole request head. After that the client gets 408 (client_head_timeout). Also the '
     'longest time that a new connection may stay silent; after that it is closed without an answer.'),
    ('timeouts', 'handshake', duration, '10', True,
     'Longest time for the TLS handshake of a client. After that its connection is closed (tls_handshake_timeout).'),
    ('timeouts', 'idle', duration, '75', True,
     'Longest pause between two requests on a client connection. After that it is closed without an answer.'),
    ('timeouts', 'login', duration, '20', True,
     'Longest time to verify a name and a password. After that the client gets 503 (login_timeout).'),
    ('timeouts', 'dns', duration, '10', True,
     'Longest time to look up the addresses of a name. After that the client gets 504 (dns_timeout).'),
    ('timeouts', 'connect', duration, '10', True,
     'Longest time to connect to an origin, for all its addresses together. After that the client gets 504 '
     '(connection_timeout). Also the longest time to connect to a parent and to get its answer to CONNECT or SOCKS; '
     'each route in a row of [upstream] routes has this time.'),
    ('timeouts', 'response', duration, '120', True,
     'Longest time from the end of the request until the whole head of the response has arrived. After that the '
     'client gets 504 (http_response_timeout).'),
    ('timeouts', 'body', duration, '300', True,
     'Longest pause inside a request or response body: the sender sends nothing, or the receiver takes nothing. '
     'After that the exchange ends. The log names who paused: client_body_timeout or client_write_timeout is the '
     'client, connection_read_timeout or connection_write_timeout the origin.'),
    ('timeouts', 'tunnel', duration, '1h', True,
     'Longest time that a tunnel may be silent in both directions. After that it is closed (tunnel_idle).'),
    ('timeouts', 'linger', duration, '30', True,
     'Longest time to wait for a peer that has closed its sending direction: a client that waits for its answer, '
     'or a half-closed tunnel. After that the connection is closed. Also the longest time to read the rest of a '
     'refused request; at most 16 MiB of it are read.'),
    ('timeouts', 'drain', duration, '8', True,
     'Longest time that running exchanges may take after SIGTERM. After that they are cut off (drained). Keep it '
     'below stopwaitsecs of supervisord, 10 by default: after that time supervisord kills the process.'),
    ('limits', 'connections', whole_number_or_auto, 'auto', True,
     'Largest number of client connections at a time. More get 503 (connection_limit_reached). auto: as many as '
     'the file descriptors of the process allow, two for each connection.'),
    ('limits', 'per_client', or_off(whole_number), 'off', True,
     'Largest number of connections of one client at a time. More get 429 (client_connections_exceeded). off: no '
     'limit.'),
    ('limits', 'ipv6_prefix', prefix_length, '64', True,
     'Length in bits of the IPv6 prefix that stands for one client, in limits and failed log-ins: addresses with '
     'the same prefix count together, because one host can use all addresses of its network. 56 or 48: if each of '
     'your clients has several networks. 128: each address counts alone; a client can then evade the limits by '
     'changing its address.'),
    ('limits', 'requests', or_off(per_second), 'off', True,
     'Requests per second of one user, or of one client that has not logged in. More get 429 '
     '(request_rate_exceeded). TLS handshakes of a client are counted apart, with the same limit. off: no limit.'),
    ('limits', 'burst', whole_number, '20', True,
     'Largest number of requests that may come at once, after a pause. Used only if requests is set.'),
    ('limits', 'rate', or_off(size), 'off', True,
     'Octets per second and direction of one user, or of one client that has not logged in, for all its '
     'connections together. More data waits. off: no limit. A rule can set another rate.'),
    ('limits', 'quota', or_off(large_size), 'off', True,
     'Octets per day of one user, or of one client that has not logged in, in both directions together. At the '
     'limit its transfers end, and its requests get 429 (quota_exceeded) until midnight in the time zone of this '
     'host. off: no limit.'),
    ('limits', 'quota_file', output_path, 'off', False,
     'The file in which all processes together count the quota: a path, or off. quota needs it: without the file a '
     'restart would reset the counts.'),
    ('limits', 'memory', size_or_auto, 'auto', True,
     'Octets that all connections together may hold: large heads, and data that slow peers have not taken yet. At '
     'the limit a large head gets 503 (memory_limit_reached), and data passes in small pieces. auto: a quarter of '
     'the memory of the control group or the host.'),
    ('limits', 'head_size', size, '64k', True,
     'Largest size of a head, and of a trailer section, in octets. A request with a larger head gets 431, or 414 '
     'if the request line alone is larger. A response with a larger head becomes 502 '
     '(http_response_header_section_size).'),
    ('limits', 'fields', whole_number, '1000', True,
     'Largest number of field lines in a head, and in a trailer section. A request with more gets 431. A response '
     'with more becomes 502 (http_response_header_section_size).'),
    ('upstream', 'routes', route_list, '', True,
     'Which requests go through a parent, another proxy, one row per line: destinations as in rules (also http://any '
     'and https://.name), then the routes to try in this order, separated by commas. A route is direct, '
     'http://HOST:PORT, https://HOST:PORT, socks5://, socks5h:// or socks4a://HOST[:1080]. The first row that '
     'matches counts; if none matches, the request goes directly. Networks match only addresses in URLs: names are '
     'not looked up, and the parent gets them as they are. resolve=here at the end of a row, and socks5://: names are '
     'looked up here, and SOCKS and CONNECT ask the parent for the address. A parent that cannot be reached is left '
     'out for 30 s. A row `environment` stands for the variables http_proxy, https_proxy, all_proxy and no_proxy.'),
    ('upstream', 'source', local_addresses, '', True,
     'The addresses of this host that connections leave from: one of IPv4, one of IPv6, or both. With one of them, '
     'origins and parents that have addresses of the other IP version only cannot be reached, and other names are '
     'reached by that IP version. :: and 0.0.0.0 mean that the system chooses. Empty: the system chooses. A row of '
     'routes can have another source.'),
    ('upstream', 'parents', input_path, '', True,
     'A file with log-ins and certificates for parents, which only its owner may read (chmod 600): a section such as '
     '[http://proxy-a.corp:3128] for each, with user, password, and for https:// with ca, certificate, key. A relative '
     'path is relative to this file. A reload reads the file again. The manual has a chapter about parents.'),
    ('upstream', 'keep', whole_number, '256', True,
     'Largest number of idle connections to origins that are kept for later requests. Fewer are kept while clients '
     'need the file descriptors. 0: none.'),
    ('upstream', 'keep_time', duration, '30', True,
     'Longest time that an idle connection to an origin is kept. After that it is closed.'),
    ('upstream', 'dns_keep', duration, '60', True,
     'Time that the addresses of a name are remembered. If none of them can be reached, the name is looked up '
     'again at once.'),
    ('upstream', 'dns_keep_failed', duration, '5', True,
     'Time that a failed look-up is remembered. Until then requests for that name get 502 (dns_error) at once.'),
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
     'Addresses of the admin listener, separated by blanks: unix:/run/geproxy/{pid}.sock, 127.0.0.1:9001, or off. '
     'Only its owner and root can use a unix socket. {pid} stands for the process id, because each of several '
     'processes needs a socket of its own.'),
    ('admin', 'clients', networks, 'loopback', True,
     'Clients that may use the admin port: addresses, networks. There is no password. These clients see every '
     'URL.'),
)]
