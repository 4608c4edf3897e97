"""Takes the routes of a request in turn, directly or through parents, until one can be used ([upstream] routes).

A name goes to a parent as it is, because many hosts with parents cannot look it up. If the verdict about the request
depends on the address, the name is looked up here first, and each address is judged. Where that fails, the request is
refused: nothing is allowed because its address is not known. Used only if there are routes: see fetch.connect.
"""
from __future__ import absolute_import, division, print_function

import base64
import functools

from geproxy import errors
from geproxy.compat import monotonic, to_native, to_octets
from geproxy.exchange.visits import FORMS
from geproxy.http1 import grammar, parent_answers
from geproxy.net.address import known_address
from geproxy.policy import rules
from geproxy.policy.routes import RESOLVING, is_forwarding, show, show_parent
from geproxy.policy.ruleset import Decision

ADDRESSES = 4       # addresses of a name that one parent is asked for in turn, if it cannot reach the first
# Why a hop of a route could not be reached: the next route may be tried.
UNREACHED = (errors.ConnectRefused, errors.ConnectTimeout, errors.Unroutable, errors.DnsError, errors.DnsTimeout)
# What the origin is blamed for. By a connection to a parent for all hosts, these come from the parent.
_ITS_FAULT = (errors.UpstreamLost, errors.UploadStalled, errors.ResponseTimeout, errors.BodyTimeout, errors.BadResponse,
              errors.ResponseHeadTooLarge, errors.BadCoding, errors.ResponseIncomplete)


def connect(exchange, target, reuse, tried=()):
    """Return a pool.Connection that leads to the origin, by the first route that can be used. May wait.

    `exchange`: the Exchange; `target`: its routes.Target; `reuse`: True if a kept connection may be used; `tried`:
    routes that have failed for this exchange already, as a tuple of (Route, why). Each route has the whole [timeouts]
    connect. If there is only the direct way, raises what Pool.connect does. Else also raises ParentFailed,
    ParentRefused, ParentLoginFailed, AddressUnknown, LoopDetected.
    """
    proxy, parents = exchange.proxy, exchange.proxy.upstream.parents
    choice = proxy.routes.choose(exchange.request.host, target.port, target.scheme == b'https')
    over = [route for route, _why in tried]
    for route in parents.order(choice.routes):
        if route in over:
            continue
        began = monotonic()
        try:
            if route.parents:
                return _through_parents(exchange, target, route, choice, reuse)
            return _directly(exchange, target, route, reuse)
        except UNREACHED as error:
            ours = isinstance(error, errors.SourceMissing)      # nothing was sent, so the parent is not to blame
            if len(choice.routes) == 1 and (ours or not route.parents):
                raise
            why = str(error)
            if ours and route.parents:
                parents.untried(route.parents[0])
            elif route.parents:
                parents.failed(route.parents[0], why)
        except errors.ParentFailed as error:
            why = str(error)
            parents.failed(route.parents[0], why, began)
        tried += ((route, why),)
    raise _no_way(target, choice, tried)


def _no_way(target, choice, tried):
    """Return the error when all routes have failed. `tried`: as for `connect`."""
    over = dict(tried)
    host = to_native(target.host)
    return errors.ParentFailed('no way to %s:%d: %s' % ('[%s]' % host if ':' in host else host, target.port, '; '.join(
        '%s: %s' % (show(route), over.get(route, 'left out, because it failed before')) for route in choice.routes)))


def _directly(exchange, target, route, reuse):
    connection = _dial(exchange, (target, route), exchange.judge, reuse)
    if exchange.decision.allowed is None:
        _apply(exchange, connection, lambda: exchange.judge(connection.address, connection.port))
    return connection


def _through_parents(exchange, target, route, choice, reuse):
    """Return a Connection that leads through the parents of a route. Arguments: as for `connect`; `choice`: a Choice.
    """
    request, parents = exchange.request, exchange.proxy.upstream.parents
    parent = route.parents[-1]
    plain = is_forwarding(parent) and request.method != b'CONNECT' and not (
        b'upgrade' in request.index and request.wants_upgrade(exchange.proxy.upgrades))
    resolve = choice.resolve or parent.scheme == RESOLVING
    try:
        verdicts = _judge(exchange, target, resolve, not resolve or plain, choice, route)
    except BaseException:
        parents.untried(route.parents[0])
        raise
    judge = exchange.proxy.access.check_parent
    if plain:
        connection = _dial(exchange, (parent, route), judge, reuse, target)
        decision = verdicts[0][1]
    else:
        connection, decision = _ask_for_one(exchange, (target, route), verdicts, judge, reuse)
        if not connection.kept:
            parents.worked(route.parents[0])
    if exchange.decision.allowed is None:
        _apply(exchange, connection, lambda: decision)
    return connection


def _ask_for_one(exchange, key, verdicts, judge, reuse):
    """Return (a Connection, the Decision about its address). A parent that cannot reach one address is asked for the
    next. `verdicts`: as `_judge` returns them."""
    for address, decision in verdicts:
        try:
            return _dial(exchange, key if address is None else key + (to_octets(address),), judge, reuse), decision
        except errors.ParentRefused as error:
            exchange.proxy.upstream.parents.worked(key[1].parents[0])
            if error.status < 500 or address == verdicts[-1][0]:
                raise
        except errors.ParentLoginFailed:
            exchange.proxy.upstream.parents.worked(key[1].parents[0])
            raise


def _dial(exchange, key, judge, reuse, host=None):
    """Return a Connection for a key of the pool, and note it in the record. `host`: as for Pool.connect."""
    proxy, request, record = exchange.proxy, exchange.request, exchange.record
    record.route = proxy.routes.names[key[1]]       # not before: a request that policy refuses takes no route
    via = b''
    if key[1].parents and host is None:
        # With those that it had: else a circle of several proxies would not be found.
        via = b', '.join(filter(None, request.values(b'via') + (proxy.vias[request.version],)))
    connection = proxy.upstream.connect(
        key, judge, (proxy.waits.dns, proxy.waits.connect), reuse, exchange.conversation, host, via)
    record.address, record.kept = connection.address, connection.kept
    if not connection.kept:
        record.took = connection.took
    connection.stream.pace = exchange.treatment.up_pace     # set even if None: it may be that of another client
    return connection


def _apply(exchange, connection, decide):
    """Apply the Decision that `decide()` returns, and give the connection back if that fails."""
    try:
        exchange.apply(decide())
    except Exception:
        exchange.proxy.upstream.release(connection, exchange.conversation)
        raise
    connection.stream.pace = exchange.treatment.up_pace


# --- the verdict about a host that a parent is asked for

def _judge(exchange, target, resolve, by_name, choice, route):
    """Return what a parent may be asked for, as a list of (address as native text, or None for the name, Decision).

    `resolve`: True if the name is looked up in any case; `by_name`: True if the parent gets the name, and may choose
    any of its addresses: then all must be allowed. Raises Denied, AddressUnknown, DnsFull.
    """
    known = known_address(target.host)
    if known is not None:
        return [(None, exchange.judge(known, target.port))]
    access, by_rule = exchange.proxy.settings.access, exchange.decision.allowed is None
    # A browser that asks this proxy for its own page: only the address tells (see visits).
    visit = exchange.request.form in FORMS and exchange.proxy.access.may_be_ours(
        exchange.request.host, target.port, exchange.conversation.local[1])
    if not (resolve or by_rule or visit or access.deny_addresses or not access.private):
        return [(None, exchange.decision)]
    try:
        addresses = _look_up(exchange, target.host)
    except (errors.DnsError, errors.DnsTimeout) as error:
        why = '%s; its address must be known because of %s' % (error, _reason(exchange, choice, route))
        if access.policy == 'report' and not (resolve or visit or access.deny_addresses or not access.private):
            return [(None, Decision(False, None, None, why))]
    else:
        return _verdicts(exchange, target, addresses, by_name)
    raise errors.AddressUnknown(why)


def _look_up(exchange, host):
    conversation = exchange.conversation
    conversation.reach('dns')
    try:
        return exchange.proxy.upstream.resolver.resolve(host, exchange.proxy.waits.dns, conversation.key)
    finally:
        conversation.reach('')


def _verdicts(exchange, target, addresses, by_name):
    """Judge each address. Return as `_judge` does."""
    found, denied = [], None
    try:
        for address in addresses:
            try:
                found.append((address, exchange.judge(address, target.port)))
            except errors.Denied as error:
                if by_name:
                    raise
                denied = error
        if not found:
            raise denied or errors.AddressUnknown("'%s' has no address" % to_native(target.host))
    finally:
        denied = None               # its traceback leads to this frame, and all would wait for the collector
    if not by_name:
        return found[:ADDRESSES]
    # With policy = report, what would be denied for one of the addresses is what the log should say.
    return [(None, next((decision for _address, decision in found if not decision.allowed), found[0][1]))]


def _reason(exchange, choice, route):
    """Return what the address is needed for, as native text."""
    access, policy = exchange.proxy.settings.access, exchange.proxy.access
    rule = policy.ruleset.pending(exchange.question, exchange.record.wall)
    if exchange.decision.allowed is None and rule is not None:
        return 'the rule %s' % rules.show(rule)
    if choice.resolve:
        return 'resolve=here (%s)' % choice.where
    if route.parents[-1].scheme == RESOLVING:
        return '%s (%s): write socks5h:// if the parent shall look it up' % (show(route), choice.where)
    return '[access] private = deny' if not access.private else '[access] deny_addresses'


# --- requests in absolute-form

def writer(request, parent):
    """Return a function like Request.write that writes `request`, a message.Request, for `parent`, a Parent.

    A TRACE gets no log-in: a parent that answers it itself sends all its fields to the client (RFC 9110, 9.3.8).
    """
    line = b''
    if parent.login is not None and request.method.upper() != b'TRACE':
        line = b'Proxy-Authorization: Basic %s\r\n' % base64.b64encode(b'%s:%s' % parent.login)
    return functools.partial(request.write_absolute, line)


def check_answer(exchange, answer, connection):
    """Note that a parent has answered a request in absolute-form.

    `exchange`: the Exchange; `answer`: its Answer; `connection`: the pool.Connection to the parent. Raises
    ParentLoginFailed for a 407: that one is about this proxy, not about its client.
    """
    exchange.proxy.upstream.parents.worked(connection.parent)
    if answer.response.status == 407:
        parent, request = connection.parent, exchange.request
        raise parent_answers.login_failure(
            show_parent(parent).partition('://')[2], answer.response,
            grammar.printable(request.method + b' ' + request.authority.text), parent.login is not None)


def go_elsewhere(exchange, connection, error, tried):
    """Find out whether a request in absolute-form may take another route. Note that its parent is doubtful.

    `exchange`: the Exchange; `connection`: the pool.Connection to the parent; `error`: the ProxyError with which it
    ended before an answer; `tried`: as for `connect`. Return the new value of `tried`, or () if there is no other route
    or the parent has sent anything.
    """
    stream = connection.stream
    if connection.kept or stream.buffer or stream.received or not isinstance(error, errors.UpstreamLost):
        return ()
    route, why = connection.key[1], _its_words(error)
    exchange.proxy.upstream.parents.failed(route.parents[0], why, exchange.record.began)
    tried += ((route, why),)
    choice = exchange.proxy.routes.choose(exchange.request.host, connection.host.port, False)
    return tried if len(tried) < len(choice.routes) else ()


def blamed(error, parent):
    """Return `error`, a ProxyError, in words about the parent if it is about the other end of a connection to it.

    `parent`: the routes.Parent.
    """
    if isinstance(error, _ITS_FAULT):
        error.args = ('parent %s: %s' % (show_parent(parent), _its_words(error)),)
        error.hint = error.hint.replace('the origin', 'the parent proxy or the origin').replace(
            'The origin', 'The parent proxy')
    return error


def _its_words(error):
    """Return the message of an error about an origin in words about a parent."""
    return parent_answers.with_advice(str(error).replace('the origin', 'it'))
