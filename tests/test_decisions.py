# -*- coding: utf-8 -*-
"""Decisions of whole configurations: files as operators write them, and the decisions about requests."""
from __future__ import absolute_import, division, print_function

import os
import time

import pytest
from processes import folder, write

from geproxy import errors
from geproxy.compat import to_octets
from geproxy.http1 import reading
from geproxy.net.address import parse_ip, unmap
from geproxy.policy import access
from geproxy.policy.rules import Question
from geproxy.settings import loading

OWN = (parse_ip('10.0.0.1'), 9000)      # this proxy listens there

# The files of each policy; the first one is loaded. The comment of a rule is its name in CASES.
POLICIES = {
    'defaults': [('defaults.ini', '[access]')],
    'egress': [('egress.ini', '''
[access]
clients = 10.1.0.0/16 loopback
private = deny
loopback = deny
rules =
  deny any CONNECT .paste.test                          # leaks
  allow any .debian.test,security.example.test          # debian
  allow any https://api.pay.test                        # payment
  allow any https://*.s3.test:443                       # storage
  allow 10.1.7.0/24 GET,HEAD http://.mirror.test:8080   # mirror
  allow any 93.184.216.0/24:443                         # partner
''')],
    'corporate': [('corporate.ini', '''
[access]
rules =
  deny group:leavers any                                        # leavers
  allow group:it,user:root any                                  # it
  deny any .social.test mon-fri 09:00-12:00                     # morning
  deny any .social.test mon-fri 13:00-17:00                     # afternoon
  allow user:* .social.test                                     # social
  allow group:finance https://.bank.test mon-fri 07:00-19:00    # bank
  deny any .bank.test                                           # no-bank
  allow group:nightly CONNECT .backup.test mon-fri 22:00-06:00  # backup
  allow user:anna,user:jörg POST,PUT .upload.test               # uploads
  deny any POST,PUT,PATCH,DELETE any                            # read-only
  allow 10.2.0.0/16 http://.intra.test                          # intra
  allow user:* .test,any:443 sat,sun                            # weekend
  allow user:* .test                                            # people
[auth]
users = users
groups = groups
'''), ('users', ''), ('groups', '')],
    'blocklist': [('blocklist.ini', '''
[access]
rules =
  allow any fine.ads.test               # exception
  deny any @ads.txt                     # ads
  deny any .click.test,*.track.test     # trackers
  deny any .bücher.test                 # books
  deny any only.test.                   # only
  allow any any                         # rest
'''), ('ads.txt', '''
# as hosts files have it, and plain
0.0.0.0 banner.test     # a comment
127.0.0.1   Pixel.Test dot.test
.ads.test
*.cdn.test
''')],
    'networks': [('networks.ini', '''
[access]
rules =
  deny any 10.9.0.0/16                          # lab
  allow any 10.0.0.0/8,fd00:1::/32              # inside
  deny any private                              # outside
  deny any 2a00:bad::/32,8.8.4.0/24             # bad
  allow 10.5.0.0/16 9.9.9.9:53                  # dns
  deny any any:53                               # no-dns
  allow any .test                               # names
''')],
    'ports': [('ports.ini', '''
[access]
connect_ports = 443 8000-8009
http_ports = 80
rules =
  allow any git.test:22,9418            # git
  allow any .svc.test:any               # svc
  deny any any:6660-6669                # irc
  allow any [2a00::1]:8443              # six
  allow any any                         # rest
''')],
    'methods': [('methods.ini', '''
[access]
rules =
  deny any TRACE any                    # trace
  allow any GET,HEAD,OPTIONS .read.test # read
  allow any CONNECT .tls.test           # tls
  deny any http://.tls.test             # plain
  allow any https://any:443             # secure
  allow any http://legacy.test          # legacy
''')],
    'until': [('until.ini', '''
[access]
rules =
  allow any vendor.test until 2026-11-24                # vendor
  deny any frozen.test until 2026-11-24                 # frozen
  allow any .sale.test until 2026-11-27 fri 00:00-24:00 # sale
  allow any GET any until 2026-12-31                    # year
''')],
    'report': [('report.ini', '''
[access]
policy = report
clients = private
deny_addresses = 7.7.7.0/24
rules =
  deny any 8.8.8.0/24                   # dns
  allow any .known.test                 # known
  allow any old.test until 2026-01-01   # old
''')],
    'included': [('included.ini', '''
[access]
include = rules.d/*.ini last.ini
rules =
  allow any .a.test                     # own
  deny any any                          # default
'''), ('rules.d/20-second.ini', '[access]\nrules =\n  deny any x.a.test      # shadowed\n  allow any y.a.test    # y\n'),
                 ('rules.d/10-first.ini', '[access]\nrules = allow any x.a.test     # first\n'),
                 ('rules.d/30-empty.ini', '[access]\n'),
                 ('rules.d/README', 'not a rule\n'),
                 ('last.ini', '[access]\nrules =\n  deny any y.a.test      # shadowed\n  deny any .z.a.test    # last\n')],
}

# client[/user[/groups]]  METHOD target  addresses of its name, - if nobody may ask  moment, . for a Tuesday noon  verdict
# A verdict is `allow`, `deny`, `over` (the rule has ended) or `report` with the rule, or a reason without what is in
# its brackets. `depends`: the answer takes an address.
CASES = {
    'defaults': '''
10.0.0.5            GET http://a.test/                          8.8.8.8             .   allow
10.0.0.5            GET http://a.test/                          10.0.0.9            .   allow
10.0.0.5            GET http://a.test/                          169.254.169.254     .   169.254.169.254 is a metadata address
10.0.0.5            GET http://a.test/                          127.0.0.1           .   127.0.0.1 is a loopback address
127.0.0.1           GET http://a.test/                          127.0.0.1           .   allow
10.0.0.5            GET http://a.test/                          127.0.0.1,8.8.8.8   .   allow
10.0.0.5            CONNECT a.test:22                           -                   .   port 22 is not among [access] connect_ports
8.8.8.8             GET http://a.test/                          -                   .   client 8.8.8.8 is not among [access] clients
127.0.0.1           GET http://10.0.0.1:9000/                   -                   .   10.0.0.1 port 9000 is this proxy itself
''',
    'egress': '''
10.1.0.5            GET http://deb.debian.test/debian/          151.101.2.132       .   allow debian
10.1.0.5            GET http://debian.test/                     151.101.2.132       .   allow debian
10.1.0.5            GET http://DEB.Debian.TEST/                 151.101.2.132       .   allow debian
10.1.0.5            GET http://deb.debian.test./                151.101.2.132       .   allow debian
10.1.0.5            CONNECT deb.debian.test:443                 151.101.2.132       .   allow debian
10.1.0.5            GET http://xdebian.test/                    -                   .   no rule allows it
10.1.0.5            CONNECT xdebian.test:443                    -                   .   depends
10.1.0.5            GET http://xdebian.test/                    151.101.2.132       .   no rule allows it
10.1.0.5            GET http://debian.test.evil.test/           151.101.2.132       .   no rule allows it
10.1.0.5            GET http://security.example.test/           151.101.2.132       .   allow debian
10.1.0.5            GET http://www.security.example.test/       151.101.2.132       .   no rule allows it
10.1.0.5            GET http://deb.debian.test/                 169.254.169.254     .   169.254.169.254 is a metadata address
10.1.0.5            GET http://deb.debian.test/                 10.1.0.9            .   10.1.0.9 is a private address
10.1.0.5            GET http://deb.debian.test/                 ::ffff:10.1.0.9     .   10.1.0.9 is a private address
10.1.0.5            GET http://deb.debian.test/                 10.1.0.9,8.8.8.8    .   allow debian
127.0.0.1           GET http://deb.debian.test/                 127.0.0.1           .   127.0.0.1 is a loopback address
10.1.0.5            GET http://deb.debian.test:25/              -                   .   port 25 is not among [access] http_ports
10.1.0.5            CONNECT deb.debian.test:22                  -                   .   port 22 is not among [access] connect_ports
10.1.0.5            CONNECT api.pay.test:443                    52.1.1.1            .   allow payment
10.1.0.5            GET http://api.pay.test/                    52.1.1.1            .   no rule allows it
10.1.0.5            CONNECT www.api.pay.test:443                52.1.1.1            .   no rule allows it
10.1.0.5            CONNECT bucket.s3.test:443                  52.1.1.1            .   allow storage
10.1.0.5            CONNECT a.bucket.s3.test:443                52.1.1.1            .   allow storage
10.1.0.5            CONNECT s3.test:443                         52.1.1.1            .   no rule allows it
10.1.0.5            CONNECT bucket.s3.test:8443                 -                   .   no rule allows it
10.1.0.5            CONNECT www.paste.test:443                  -                   .   deny leaks
10.1.0.5            GET http://paste.test/                      52.1.1.1            .   no rule allows it
10.1.7.9            GET http://de.mirror.test:8080/             52.1.1.1            .   allow mirror
10.1.7.9            HEAD http://mirror.test:8080/               52.1.1.1            .   allow mirror
10.1.7.9            PUT http://de.mirror.test:8080/             -                   .   no rule allows it
10.1.8.9            GET http://de.mirror.test:8080/             -                   .   no rule allows it
10.1.7.9            GET http://de.mirror.test/                  -                   .   no rule allows it
10.1.0.5            CONNECT 93.184.216.34:443                   -                   .   allow partner
10.1.0.5            CONNECT www.partner.test:443                93.184.216.34       .   allow partner
10.1.0.5            CONNECT 93.184.216.34:8443                  -                   .   no rule allows it
10.1.0.5            CONNECT 93.184.217.34:443                   -                   .   no rule allows it
10.1.0.5            CONNECT www.partner.test:443                52.1.1.1,93.184.216.34 .    allow partner
10.2.0.5            GET http://deb.debian.test/                 -                   .   client 10.2.0.5 is not among [access] clients
''',
    'corporate': '''
10.2.0.5/eve/leavers                GET http://www.test/            -       .           deny leavers
10.2.0.5/eve/it,leavers             GET http://www.test/            -       .           deny leavers
10.2.0.5/ann/it                     PUT http://www.test/            8.8.8.8 .           allow it
10.2.0.5/ann/it                     GET http://www.social.test/     8.8.8.8 .           allow it
10.2.0.5/root                       DELETE http://www.test/         8.8.8.8 .           allow it
10.2.0.5/Root                       DELETE http://www.test/         -       .           deny read-only
10.2.0.5                            GET http://www.social.test/     -       tue10:00    deny morning
10.2.0.5/bob                        GET http://www.social.test/     -       tue08:59    allow social
10.2.0.5/bob                        GET http://www.social.test/     -       tue09:00    deny morning
10.2.0.5/bob                        GET http://www.social.test/     -       tue11:59    deny morning
10.2.0.5/bob                        GET http://www.social.test/     -       tue12:00    allow social
10.2.0.5/bob                        GET http://www.social.test/     -       tue13:00    deny afternoon
10.2.0.5/bob                        GET http://www.social.test/     -       tue17:00    allow social
10.2.0.5/bob                        GET http://www.social.test/     -       sat10:00    allow social
10.2.0.5/bob                        POST http://www.social.test/    -       sat10:00    allow social
10.2.0.5                            GET http://www.social.test/     -       tue12:30    no rule allows it
10.2.0.5/bob/finance                CONNECT www.bank.test:443       -       tue07:00    allow bank
10.2.0.5/bob/staff,finance          CONNECT www.bank.test:443       -       fri18:59    allow bank
10.2.0.5/bob/finance                CONNECT www.bank.test:443       -       fri19:00    deny no-bank
10.2.0.5/bob/finance                CONNECT www.bank.test:443       -       sat12:00    deny no-bank
10.2.0.5/bob/finance                GET http://www.bank.test/       -       .           deny no-bank
10.2.0.5/bob/staff                  CONNECT www.bank.test:443       -       .           deny no-bank
10.2.0.5/finance                    CONNECT www.bank.test:443       -       .           deny no-bank
10.2.0.5/cron/nightly               CONNECT s.backup.test:443       -       mon22:00    allow backup
10.2.0.5/cron/nightly               CONNECT s.backup.test:443       -       tue05:59    allow backup
10.2.0.5/cron/nightly               CONNECT s.backup.test:443       -       tue06:00    allow people
10.2.0.5/cron/nightly               CONNECT s.backup.test:443       -       fri23:00    allow backup
10.2.0.5/cron/nightly               CONNECT s.backup.test:443       -       sat05:00    allow backup
10.2.0.5/cron/nightly               CONNECT s.backup.test:443       -       sat23:00    allow weekend
10.2.0.5/cron/nightly               CONNECT s.backup.test:443       -       mon05:00    allow people
10.2.0.5/anna                       PUT http://f.upload.test/       -       .           allow uploads
10.2.0.5/jörg                       POST http://f.upload.test/      -       .           allow uploads
10.2.0.5/bob                        POST http://f.upload.test/      -       .           deny read-only
10.2.0.5                            POST http://f.upload.test/      -       .           deny read-only
10.2.0.5/anna                       DELETE http://f.upload.test/    -       .           deny read-only
10.2.0.5/anna                       PATCH http://www.test/          -       .           deny read-only
10.2.0.5/anna                       patch http://www.test/          -       .           deny read-only
10.2.0.5                            GET http://wiki.intra.test/     -       .           allow intra
10.3.0.5                            GET http://wiki.intra.test/     -       .           no rule allows it
10.2.0.5                            CONNECT wiki.intra.test:443     -       .           no rule allows it
10.2.0.5/bob                        CONNECT wiki.intra.test:443     -       .           allow people
10.2.0.5/bob                        GET http://wiki.intra.test/     -       .           allow intra
10.2.0.5/bob                        CONNECT www.example:443         -       sun12:00    allow weekend
10.2.0.5/bob                        CONNECT www.example:443         -       mon12:00    no rule allows it
10.2.0.5/bob                        GET http://www.example/         -       sun12:00    no rule allows it
10.2.0.5/*                          GET http://www.example/         -       .           no rule allows it
127.0.0.1                           GET http://www.test/            -       .           no rule allows it
''',
    'blocklist': '''
10.0.0.5            GET http://banner.test/                     -                   .   deny ads
10.0.0.5            GET http://www.banner.test/                 -                   .   allow rest
10.0.0.5            GET http://BANNER.test/                     -                   .   deny ads
10.0.0.5            CONNECT banner.test:443                     -                   .   deny ads
10.0.0.5            CONNECT banner.test.:443                    -                   .   deny ads
10.0.0.5            GET http://pixel.test/                      -                   .   deny ads
10.0.0.5            GET http://dot.test/                        -                   .   deny ads
10.0.0.5            GET http://ads.test/                        -                   .   deny ads
10.0.0.5            GET http://a.b.ads.test/                    -                   .   deny ads
10.0.0.5            GET http://fine.ads.test/                   8.8.8.8             .   allow exception
10.0.0.5            GET http://x.fine.ads.test/                 -                   .   deny ads
10.0.0.5            GET http://bads.test/                       8.8.8.8             .   allow rest
10.0.0.5            GET http://cdn.test/                        8.8.8.8             .   allow rest
10.0.0.5            GET http://img.cdn.test/                    -                   .   deny ads
10.0.0.5            GET http://click.test/                      -                   .   deny trackers
10.0.0.5            GET http://ad.click.test/                   -                   .   deny trackers
10.0.0.5            GET http://track.test/                      8.8.8.8             .   allow rest
10.0.0.5            GET http://a.track.test/                    -                   .   deny trackers
10.0.0.5            GET http://xn--bcher-kva.test/              -                   .   deny books
10.0.0.5            GET http://www.XN--BCHER-KVA.test/          -                   .   deny books
10.0.0.5            GET http://bcher.test/                      8.8.8.8             .   allow rest
10.0.0.5            GET http://only.test/                       -                   .   deny only
10.0.0.5            GET http://test/                            8.8.8.8             .   allow rest
10.0.0.5            GET http://8.8.8.8/                         -                   .   allow rest
10.0.0.5            GET http://[2a00::1]/                       -                   .   allow rest
10.0.0.5            GET http://banner.test.evil/                8.8.8.8             .   allow rest
10.0.0.5            CONNECT evil.test:25                        -                   .   port 25 is not among [access] connect_ports
''',
    'networks': '''
10.0.0.5            GET http://a.test/                          -                   .   depends
10.0.0.5            GET http://a.test/                          10.9.0.1            .   deny lab
10.0.0.5            GET http://a.test/                          10.8.0.1            .   allow inside
10.0.0.5            GET http://a.example/                       10.8.0.1            .   allow inside
10.0.0.5            GET http://a.example/                       8.8.8.8             .   no rule allows it
10.0.0.5            GET http://a.test/                          192.168.1.1         .   deny outside
10.0.0.5            GET http://a.test/                          100.64.0.1          .   deny outside
10.0.0.5            GET http://a.test/                          8.8.8.8             .   allow names
10.0.0.5            GET http://a.test/                          8.8.4.4             .   deny bad
10.0.0.5            GET http://a.test/                          8.8.4.4,8.8.8.8     .   allow names
10.0.0.5            GET http://a.test/                          8.8.4.4,10.9.0.1    .   deny lab
10.0.0.5            GET http://a.test/                          2a00:bad::1         .   deny bad
10.0.0.5            GET http://a.test/                          2a00:bae::1         .   allow names
10.0.0.5            GET http://a.test/                          fd00:1::5           .   allow inside
10.0.0.5            GET http://a.test/                          fd00:2::5           .   deny outside
10.0.0.5            GET http://a.test/                          ::ffff:8.8.4.4      .   deny bad
10.0.0.5            GET http://a.test/                          64:ff9b::8.8.4.4    .   deny bad
10.0.0.5            GET http://a.test/                          64:ff9b::8.8.8.8    .   allow names
10.0.0.5            GET http://a.test/                          2002:808:404::1     .   deny bad
10.0.0.5            GET http://a.test/                          64:ff9b::10.9.0.1   .   deny lab
10.0.0.5            GET http://a.test/                          64:ff9b::10.8.0.1   .   allow inside
10.0.0.5            GET http://10.8.0.1/                        -                   .   allow inside
10.0.0.5            GET http://10.9.0.1/                        -                   .   deny lab
10.0.0.5            GET http://[::ffff:10.9.0.1]/               -                   .   deny lab
10.0.0.5            GET http://[::FFFF:a09:1]/                  -                   .   deny lab
10.0.0.5            GET http://[fd00:0001:0::5]/                -                   .   allow inside
10.0.0.5            GET http://10.9.0.1./                       -                   .   deny lab
10.0.0.5            GET http://8.8.4.4/                         -                   .   deny bad
10.0.0.5            GET http://8.8.8.8/                         -                   .   no rule allows it
10.0.0.5            GET http://0x8080404/                       8.8.4.4             .   deny bad
10.5.0.5            GET http://a.test:53/                       9.9.9.9             .   allow dns
10.5.0.5            GET http://a.test:53/                       9.9.9.8             .   deny no-dns
10.6.0.5            GET http://a.test:53/                       9.9.9.9             .   deny no-dns
10.6.0.5            GET http://9.9.9.9/                         -                   .   no rule allows it
10.0.0.5            GET http://a.test/                          127.0.0.1           .   127.0.0.1 is a loopback address
127.0.0.1           GET http://a.test/                          127.0.0.1           .   allow names
''',
    'ports': '''
10.0.0.5            CONNECT git.test:22                         8.8.8.8             .   allow git
10.0.0.5            CONNECT git.test:9418                       8.8.8.8             .   allow git
10.0.0.5            GET http://git.test:22/                     8.8.8.8             .   allow git
10.0.0.5            CONNECT git.test:23                         -                   .   port 23 is not among [access] connect_ports
10.0.0.5            CONNECT git.test:443                        8.8.8.8             .   allow rest
10.0.0.5            CONNECT www.git.test:22                     -                   .   port 22 is not among [access] connect_ports
10.0.0.5            CONNECT a.svc.test:1                        8.8.8.8             .   allow svc
10.0.0.5            CONNECT a.svc.test:65535                    8.8.8.8             .   allow svc
10.0.0.5            CONNECT a.svc.test:6667                     8.8.8.8             .   allow svc
10.0.0.5            CONNECT irc.test:6667                       -                   .   deny irc
10.0.0.5            CONNECT irc.test:6659                       -                   .   port 6659 is not among [access] connect_ports
10.0.0.5            GET http://irc.test:6669/                   -                   .   deny irc
10.0.0.5            CONNECT [2a00::1]:8443                      -                   .   allow six
10.0.0.5            CONNECT six.test:8443                       2a00::1             .   allow six
10.0.0.5            CONNECT six.test:8443                       2a00::2             .   port 8443 is not among [access] connect_ports
10.0.0.5            CONNECT a.test:8000                         8.8.8.8             .   allow rest
10.0.0.5            CONNECT a.test:8009                         8.8.8.8             .   allow rest
10.0.0.5            CONNECT a.test:8010                         -                   .   port 8010 is not among [access] connect_ports
10.0.0.5            CONNECT a.test:80                           -                   .   port 80 is not among [access] connect_ports
10.0.0.5            GET http://a.test/                          8.8.8.8             .   allow rest
10.0.0.5            GET http://a.test:/                         8.8.8.8             .   allow rest
10.0.0.5            GET http://a.test:00080/                    8.8.8.8             .   allow rest
10.0.0.5            GET http://a.test:443/                      -                   .   port 443 is not among [access] http_ports
''',
    'methods': '''
10.0.0.5            TRACE http://a.read.test/                   -                   .   deny trace
10.0.0.5            trace http://legacy.test/                   -                   .   deny trace
10.0.0.5            GET http://a.read.test/                     8.8.8.8             .   allow read
10.0.0.5            OPTIONS http://a.read.test                  8.8.8.8             .   allow read
10.0.0.5            POST http://a.read.test/                    -                   .   no rule allows it
10.0.0.5            get http://a.read.test/                     -                   .   no rule allows it
10.0.0.5            CONNECT a.read.test:443                     8.8.8.8             .   allow secure
10.0.0.5            CONNECT a.read.test:80                      -                   .   no rule allows it
10.0.0.5            CONNECT a.tls.test:8443                     8.8.8.8             .   allow tls
10.0.0.5            CONNECT a.tls.test:22                       -                   .   port 22 is not among [access] connect_ports
10.0.0.5            GET http://a.tls.test/                      -                   .   deny plain
10.0.0.5            GET http://a.tls.test:443/                  -                   .   deny plain
10.0.0.5            GET http://legacy.test/                     8.8.8.8             .   allow legacy
10.0.0.5            FROB http://legacy.test/                    8.8.8.8             .   allow legacy
10.0.0.5            CONNECT legacy.test:80                      -                   .   no rule allows it
10.0.0.5            GET http://a.test:443/                      -                   .   no rule allows it
''',
    'until': '''
10.0.0.5            GET http://vendor.test/                     8.8.8.8 2026-11-24T23:59    allow vendor
10.0.0.5            GET http://vendor.test/                     -       2026-11-25T00:00    over vendor
10.0.0.5            GET http://vendor.test/                     -       2027-11-25T00:00    over vendor
10.0.0.5            GET http://frozen.test/                     -       2026-11-24T23:59    deny frozen
10.0.0.5            GET http://frozen.test/                     8.8.8.8 2026-11-25T00:00    allow year
10.0.0.5            POST http://frozen.test/                    -       2026-11-25T00:00    no rule allows it
10.0.0.5            POST http://a.sale.test/                    8.8.8.8 2026-11-27T00:00    allow sale
10.0.0.5            POST http://a.sale.test/                    8.8.8.8 2026-11-27T23:59    allow sale
10.0.0.5            POST http://a.sale.test/                    -       2026-11-28T00:00    no rule allows it
10.0.0.5            POST http://a.sale.test/                    -       2026-12-04T12:00    over sale
10.0.0.5            GET http://a.sale.test/                     -       2026-12-04T12:00    over sale
10.0.0.5            GET http://a.test/                          8.8.8.8 2026-12-31T23:59    allow year
10.0.0.5            GET http://a.test/                          -       2027-01-01T00:00    over year
10.0.0.5            PUT http://a.test/                          -       .                   no rule allows it
''',
    'report': '''
10.0.0.5            GET http://a.known.test/                    9.9.9.9             .   allow known
10.0.0.5            GET http://a.known.test/                    8.8.8.8             .   report deny dns
10.0.0.5            GET http://8.8.8.8/                         -                   .   report deny dns
10.0.0.5            GET http://a.test/                          9.9.9.9             .   report no rule allows it
10.0.0.5            GET http://old.test/                        9.9.9.9             .   report over old
10.0.0.5            CONNECT a.known.test:25                     9.9.9.9             .   report port 25 is not among [access] connect_ports
10.0.0.5            GET http://a.test/                          169.254.169.254     .   169.254.169.254 is a metadata address
10.0.0.5            GET http://a.test/                          7.7.7.7             .   7.7.7.7 is in [access] deny_addresses
10.0.0.5            GET http://a.test/                          10.0.0.1,7.7.7.7    .   report no rule allows it
127.0.0.1           GET http://a.known.test/                    -                   .   client 127.0.0.1 is not among [access] clients
''',
    'included': '''
10.0.0.5            GET http://x.a.test/                        8.8.8.8             .   allow first
10.0.0.5            GET http://y.a.test/                        8.8.8.8             .   allow y
10.0.0.5            GET http://z.a.test/                        -                   .   deny last
10.0.0.5            GET http://x.z.a.test/                      -                   .   deny last
10.0.0.5            GET http://a.a.test/                        8.8.8.8             .   allow own
10.0.0.5            GET http://b.test/                          -                   .   deny default
''',
}
ALL = [(name, line) for name in sorted(CASES) for line in CASES[name].strip().split('\n')]

DAYS = dict((day, '2026-11-%d' % (23 + number)) for number, day in enumerate('mon tue wed thu fri sat sun'.split()))


@pytest.fixture(scope='module')
def policies():
    """Return {name of a policy: (Access, {'file:line': the comment in that line})}."""
    with folder() as here:
        yield dict((name, load(os.path.join(here, name), files)) for name, files in POLICIES.items())


def load(here, files):
    """Write the files of a policy, and load the first one. Return (Access, comments) as `policies` has them."""
    os.makedirs(os.path.join(here, 'rules.d'))
    names = {}
    for path, text in files:
        write(os.path.join(here, path), text)
        for number, line in enumerate(text.split('\n'), 1):
            names['%s:%d' % (path, number)] = line.partition('# ')[2]
    settings = loading.load(os.path.join(here, files[0][0]))
    return access.Access(settings.access, lambda ip, port: (ip, port) == OWN, lambda ip: False), names


def question(who, method, target):
    """Return the Question of a request. `who`: ADDRESS/USER/GROUPS."""
    client, user, groups = (who + '//').split('/')[:3]
    request = reading.parse_request(to_octets('%s %s HTTP/1.1\r\nHost: x\r\n\r\n' % (method, target)))
    return Question(unmap(parse_ip(client)), to_octets(user) or None, frozenset(to_octets(groups).split(b',')) - {b''},
                    request.method, request.host, request.port)


def seconds(moment):
    """Return a moment of CASES as seconds since the epoch, in the time zone of this host."""
    moment = 'tue12:00' if moment == '.' else moment
    day, _, hour = moment.partition('T') if 'T' in moment else (DAYS[moment[:3]], '', moment[3:])
    return time.mktime(time.strptime(day + hour, '%Y-%m-%d%H:%M'))


def decide(policy, asked, addresses, now):
    """Return the Decision about a request, by the first of `addresses` that may be dialled, as for a client."""
    policy.check_client(asked.client)
    decision = policy.check_target(asked, now)
    refused = None
    for text in addresses:
        try:
            judged = policy.check_address(asked, text, now)
            assert decision.allowed is None or judged == decision       # no address changes a decision by the name
            return judged
        except errors.Denied as error:
            refused = error
    if refused is not None:
        raise refused
    return decision


def say(why, source, names):
    """Return why a request is refused, as CASES spell it."""
    for start, word in (('denied by ', 'deny '), ('no longer allowed by ', 'over ')):
        if source and why.startswith(start + source):
            return word + names[source]
    return why.partition(' (')[0].partition(', reached through ')[0]


@pytest.mark.parametrize('name, line', ALL)
def test_a_policy_decides(policies, name, line):
    who, method, target, addresses, moment, expected = line.split(None, 5)
    policy, names = policies[name]
    asked = question(who, method, target)
    literal = access.literal(asked.host)
    known = [literal] if literal else addresses.split(',') if addresses != '-' else []
    try:
        decision = decide(policy, asked, known, seconds(moment))
        verdict = 'depends' if decision.allowed is None else 'allow ' if decision.allowed else 'report '
        if decision.allowed is False:
            verdict += say(decision.why, decision.rule.source if decision.rule else '', names)
        elif decision.rule:
            verdict += names[decision.rule.source]
    except errors.Denied as error:
        verdict = say(str(error), error.rule, names)
    assert verdict.rstrip() == expected


def test_every_rule_of_every_policy_decides_something(policies):
    for name, (policy, names) in policies.items():
        decided = set(line.split()[-1] for line in CASES[name].strip().split('\n')) | {'shadowed'}
        assert [names[rule.source] for rule in policy.ruleset.rules if names[rule.source] not in decided] == []


def test_a_name_in_a_policy_is_the_comment_of_its_rule(policies):
    for policy, names in policies.values():
        for rule in policy.ruleset.rules:
            assert rule.comment == names[rule.source]
