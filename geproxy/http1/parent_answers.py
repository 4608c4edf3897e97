"""What a parent proxy's own answer means, in words for people. Pure: reads no connection.

What a parent says about itself is not what the origin says. So it never goes to the client as it is.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy import errors
from geproxy.compat import to_native
from geproxy.http1 import grammar

RAW_SIZE = 16 * 1024        # octets of a body that are looked at: an error page may begin with 8 KiB of styles
TEXT_SIZE = 2 * 1024        # characters of its text that are kept
REASON_SIZE = 60            # characters of a reason phrase, and of the schemes of a challenge
SCHEMES = 8                 # of a challenge that are shown
# These make sense only with fields that do not go on: WWW-Authenticate, Upgrade.
_NOT_KEPT = (401, 407, 426)
# No `<` inside: then the time is linear even for many of them that never end.
_tags = re.compile(br'<[^<>]*>')
_unprintable = re.compile(br'[\0-\x20\x7f]+')
_is_scheme = re.compile(br"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z").match
_ENTITIES = ((b'&nbsp;', b' '), (b'&lt;', b'<'), (b'&gt;', b'>'), (b'&quot;', b'"'), (b'&#39;', b"'"), (b'&amp;', b'&'))
_HIDDEN = (b'style', b'script', b'title')

# What to do about TLS to a parent, by what OpenSSL says in its different versions; the first row that is found counts.
_TLS_ADVICE = (
    (('has expired', 'certificate expired'), 'the operator of the parent must renew its certificate'),
    (('hostname mismatch', 'ip address mismatch', "doesn't match"),
     'write the parent in [upstream] routes with a name that its certificate has'),
    (('self signed', 'self-signed', 'unable to get', 'unknown authority', 'verify failed'),
     'if its authority is not a public one, set ca = FILE for it in the file of [upstream] parents'),
    (('certificate required', 'handshake failure', 'bad certificate', 'unknown ca', 'certificate unknown'),
     'if it wants a client certificate, set certificate and key for it in the file of [upstream] parents'),
    (('wrong version number', 'unknown protocol', 'http request', 'record layer failure', 'packet length too long'),
     'if it does not speak TLS, write http:// instead of https://'),
)


def describe(name, response, about):
    """Return a sentence such as `parent a.corp:3128 answered 403 Forbidden to CONNECT x:443`.

    `name`: of the parent, native text without secrets; `response`: its message.Response; `about`: what it was asked
    for, native text.
    """
    reason = grammar.printable(response.reason, REASON_SIZE).strip()
    return 'parent %s answered %d%s to %s' % (name, response.status, reason and ' ' + reason, about)


def refusal(name, response, about, content=b''):
    """Return the ParentRefused for an answer that is no 2xx to CONNECT.

    `name`, `response`, `about`: as for `describe`; `content`: the beginning of its body, octets.
    """
    status = response.status if 400 <= response.status < 600 and response.status not in _NOT_KEPT else 502
    return errors.ParentRefused(describe(name, response, about), status, readable(content, response))


def login_failure(name, response, about, logged_in):
    """Return the ParentLoginFailed for a 407, or for a 401 of the parent itself. Its message says what to do.

    `name`, `response`, `about`: as for `describe`; `logged_in`: True if user and password were sent.
    """
    schemes = challenges(response)
    if schemes and 'basic' not in [scheme.lower() for scheme in schemes]:
        why = ('it takes %s, and this proxy can do only Basic. Use cntlm or px, which log in that way, as the parent'
               % ', '.join(schemes)[:REASON_SIZE])
    elif logged_in:
        why = 'it does not accept the user and password that the file of [upstream] parents has for it'
    else:
        why = 'it wants a log-in. Set user and password for it in the file of [upstream] parents'
    return errors.ParentLoginFailed('%s: %s' % (describe(name, response, about), why))


def challenges(response):
    """Return the schemes that a 407 or 401 offers, as native texts in their order (RFC 9110, 11.7.1).

    `response`: a message.Response. A comma stands between challenges and between parameters. A parameter has `=`
    behind its name, a scheme has not.
    """
    found = []
    name = b'proxy-authenticate' if response.status == 407 else b'www-authenticate'
    for member in b','.join(response.values(name)).split(b','):
        words = member.split(None, 1)
        if words and _is_scheme(words[0]) and words[-1][:1] != b'=' and to_native(words[0]) not in found[:SCHEMES]:
            found.append(to_native(words[0]))
    return found[:SCHEMES]


def readable(content, response):
    """Return the text in the beginning of a body as one line of native text, TEXT_SIZE characters at most.

    `content`: octets; `response`: the message.Response that it belongs to. Return '' if it is no text.
    """
    if response.values(b'content-encoding') or not response.content_type.strip().lower().startswith(b'text/'):
        return ''
    if response.content_type.strip().lower() == b'text/html':
        content = _without_tags(content)
    text = to_native(_unprintable.sub(b' ', content[:RAW_SIZE]).strip())
    return text if len(text) <= TEXT_SIZE else text[:TEXT_SIZE - 3] + '...'


def _without_tags(content):
    for name in _HIDDEN:
        content = _without_element(content, name)
    content = _tags.sub(b' ', content)
    cut = content.rfind(b'<')
    content = content[:cut] if cut >= 0 and b'>' not in content[cut:] else content      # a tag that was cut off
    for entity, meant in _ENTITIES:
        content = content.replace(entity, meant)
    return content


def _without_element(content, name):
    """Return an HTML text without the elements of this name. If one does not end, the text ends where it begins."""
    lower, kept, at = content.lower(), [], 0
    while True:
        start = lower.find(b'<' + name, at)
        if start < 0:
            return b''.join(kept + [content[at:]])
        kept.append(content[at:start])
        end = lower.find(b'</' + name, start)
        if end < 0:
            return b''.join(kept)
        at = end


def with_advice(text):
    """Return `text`, why TLS to a parent has failed, and what to do about that if it is known; native texts."""
    lower = text.lower()
    for signs, advice in _TLS_ADVICE:
        if any(sign in lower for sign in signs):
            return '%s: %s' % (text, advice)
    return text
