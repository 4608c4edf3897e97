"""The pages of the port that clients use. Nothing of the admin listener is among them."""
from __future__ import absolute_import, division, print_function

from geproxy import __version__
from geproxy.compat import to_native
from geproxy.http1 import responses
from geproxy.pages import table

FIRST_STEPS = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>geproxy</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:17px/1.5 system-ui,sans-serif;max-width:42em;margin:3em auto;padding:0 1em;color:#222}
pre{background:#f2f2ee;padding:.8em 1em;border-radius:6px;overflow:auto}h1{font-size:1.5em}
@media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#ddd}pre{background:#2a2a2a}}</style></head><body>
<h1>This is a proxy, not a web site</h1>
<p>geproxy %(version)s listens here. Your browser asked it for a page of its own. Tell your programs to send their
requests <em>through</em> it instead:</p>
<pre>export http_proxy=%(scheme)s://%(host)s/
export https_proxy=%(scheme)s://%(host)s/</pre>
<p>%(why)s https sites stay encrypted on the whole way. Then try:</p>
<pre>curl -v https://example.org/</pre>
<p>In a browser: %(browser)s</p>
</body></html>
"""
PLAIN = 'Both begin with <code>http://</code>: programs talk plain HTTP with the proxy.'
TLS = ('With <code>https://</code> in place of <code>http://</code>, programs that can do that talk with the proxy '
       'itself by TLS, too; use the name that its certificate has.')
ALONE = ('Both begin with <code>https://</code>: this port takes nothing but TLS. Use the name that the certificate of '
         'this proxy has, and let programs trust the CA that signed it.')
SETTINGS = 'open its proxy settings, and enter this host and port as "HTTP proxy", also for HTTPS.'
# Their settings have no field for a proxy that is reached by TLS.
PAC = 'let its proxy settings name a PAC file, which returns <code>"HTTPS %s"</code>.'
ONLY_TLS = 'only'       # see `answer`


def any_client(_visit):
    """Allow every visitor (`_visit`, a table.Visit), because strangers were refused before."""


def first_steps(visit):
    """Return the page that says how to use this proxy. `visit`: a table.Visit; its visitor is `tls` of `answer`."""
    host = to_native(visit.request.authority.text)
    alone = visit.visitor == ONLY_TLS
    text = FIRST_STEPS % {
        'version': __version__, 'host': host, 'scheme': _scheme(visit),
        'why': ALONE if alone else TLS if visit.visitor else PLAIN, 'browser': PAC % host if alone else SETTINGS}
    return table.Answer(200, 'text/html; charset=utf-8', text, b'')


def _scheme(visit):
    return 'https' if visit.visitor == ONLY_TLS else 'http'


def no_such_page(visit):
    """Return the answer for any other path. `visit`: a table.Visit."""
    return table.plain(404, 'geproxy: this is a proxy, and has no such page. Its first page: %s://%s/' % (
        _scheme(visit), to_native(visit.request.authority.text)))


PAGES = {
    b'/': table.Page(table.READ, any_client, first_steps),
    table.ELSE: table.Page(table.ANY, any_client, no_such_page),
}


def answer(request, close, tls=False):
    """Return (status, octets), the answer to a client that asks the proxy for one of these pages.

    `request`: a message.Request; `close`: True to say that the connection ends after the answer; `tls`: True
    if clients can reach this proxy by TLS, too, ONLY_TLS if they cannot reach this port in another way.
    """
    page = table.answer(PAGES, request, tls)
    more = b'Date: %s\r\n%s' % (responses.date(), b'Connection: close\r\n' if close else b'')
    return page.status, table.whole(page, request.method == b'HEAD', more)
