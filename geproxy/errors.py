"""Every way an exchange can fail: one class each. Data, no logic.

A class carries the status for the client, the reason token for ``Proxy-Status`` and the log (RFC 9209, 2.3, where
it has one that fits), and a hint: what the person who reads it can do. The message, given when it is raised, says
the particulars. The first line of a docstring is the sentence that the manual prints.
"""
from __future__ import absolute_import, division, print_function


class ProxyError(Exception):
    """The root: something an exchange may end with."""
    status = 500                    # of the response, when none has been started
    token = 'proxy_internal_error'  # why, as one word
    hint = ''                       # what to do about it, as a sentence
    rule = ''                       # the rule that decided, as file:line
    retry_after = None              # seconds, whole: when it may be tried again, if that is known
    kind = ''                       # of the protocol in which the client is told, if that is another: see WrongProtocol


# --- the client's side ------------------------------------------------------------------------------------------

class ClientLost(ProxyError):
    """The client closed its connection, or it broke, before it had its whole answer."""
    status, token = 400, 'client_lost'


class BadRequest(ProxyError):
    """The request is not valid HTTP/1.x (RFC 9112), or it could be read in two ways."""
    status, token = 400, 'http_request_error'
    hint = 'Look at what the client sends. Nothing doubtful is passed on.'


class WrongProtocol(BadRequest):
    """What arrived is another protocol: TLS, SOCKS, HTTP/2."""
    token = 'wrong_protocol'

    def __init__(self, message, kind):
        """`kind`: 'tls', 'socks4', 'socks5' or 'http2'."""
        ProxyError.__init__(self, message)
        self.kind = kind


class BadProxyHeader(BadRequest):
    """A peer in [proxy] proxy_protocol did not begin with a PROXY header, as it must."""
    token = 'proxy_header_error'
    hint = 'The load balancer and [proxy] proxy_protocol must agree on who sends a PROXY header.'


class SpoofedClient(BadRequest):
    """A PROXY header came from a peer that is not in [proxy] proxy_protocol."""
    token = 'proxy_header_refused'
    hint = 'If that is a load balancer of yours, add its address to [proxy] proxy_protocol.'


class HeadTimeout(ProxyError):
    """The client began a request head and did not finish it in time."""
    status, token = 408, 'client_head_timeout'


class UploadTimeout(ProxyError):
    """The client stopped in the middle of its request body."""
    status, token = 408, 'client_body_timeout'


class DownloadTimeout(ProxyError):
    """The client stopped reading its response."""
    status, token = 408, 'client_write_timeout'


class IdleTimeout(ProxyError):
    """A kept-alive client sent no further request; its connection was closed."""
    status, token = 408, 'client_idle_timeout'


class TargetTooLong(ProxyError):
    """The request line alone is longer than [limits] head_size."""
    status, token = 414, 'http_request_error'
    hint = 'Raise [limits] head_size if such a target is wanted.'


class HeadTooLarge(ProxyError):
    """The request head is larger than [limits] head_size, or has more than [limits] fields lines."""
    status, token = 431, 'http_request_error'
    hint = 'Raise [limits] head_size or fields if such a request is wanted.'


class ExpectationFailed(ProxyError):
    """The request has an Expect field that is not 100-continue."""
    status, token = 417, 'http_request_error'


class NotImplementedHere(ProxyError):
    """The request asks for a scheme or a transfer coding that this proxy does not speak."""
    status, token = 501, 'http_request_error'


class VersionNotSupported(ProxyError):
    """The request's HTTP version is not 1.x."""
    status, token = 505, 'http_request_error'


# --- policy -----------------------------------------------------------------------------------------------------

class Denied(ProxyError):
    """The policy of this proxy does not allow it."""
    status, token = 403, 'http_request_denied'
    hint = 'The operator of this proxy decides that, in the section [access] of the ini file.'

    def __init__(self, message, rule=''):
        """`rule`: where the rule that decided stands, as file:line; '' if it was none."""
        ProxyError.__init__(self, message)
        self.rule = rule


class AddressDenied(Denied):
    """All addresses of the name are forbidden."""
    token = 'destination_ip_prohibited'
    hint = 'The operator of this proxy can allow an address with [access] allow_addresses.'


class Ourselves(AddressDenied):
    """The address is the proxy's own."""
    hint = 'The request asks the proxy for itself. Did you mean another host?'


class LoginRequired(ProxyError):
    """The client must log in, and has not done so."""
    status, token = 407, 'login_required'
    hint = 'Give the proxy a name and a password, as in http://NAME:PASSWORD@gateway:9000/.'


class LoginFailed(ProxyError):
    """There is no such user, or the password is wrong."""
    status, token = 407, 'login_failed'
    hint = 'Check name and password. The operator of this proxy keeps them in the file of [auth] users.'


class LoginTimeout(ProxyError):
    """Name and password could not be verified in time."""
    status, token = 503, 'login_timeout'
    retry_after = 1
    hint = 'Try again; too many log-ins at once, or hashes that cost too much, keep the proxy\'s host busy.'


class LoopDetected(ProxyError):
    """The request has been through this very proxy before."""
    status, token = 508, 'proxy_loop_detected'
    hint = 'Some proxy or name sends requests in a circle.'


class Full(ProxyError):
    """The proxy is at its limit of connections or file descriptors."""
    status, token = 503, 'connection_limit_reached'
    retry_after = 1
    hint = 'Try again soon. The operator of this proxy can raise [limits] connections and ulimit -n.'


class MemoryFull(ProxyError):
    """All connections together hold as much memory as [limits] memory allows."""
    status, token = 503, 'memory_limit_reached'
    retry_after = 1
    hint = 'Try again soon, or with a smaller head. The operator of this proxy can raise [limits] memory.'


class TooManyRequests(ProxyError):
    """The client or user sends more requests per second than [limits] requests."""
    status, token = 429, 'request_rate_exceeded'
    hint = 'Try again later. The operator of this proxy can raise [limits] requests or burst.'

    def __init__(self, message, retry_after=None):
        """`retry_after`: see ProxyError."""
        ProxyError.__init__(self, message)
        self.retry_after = retry_after


class LoginsThrottled(TooManyRequests):
    """Too many log-ins with that name, or with many names, have failed from that address, and more wait already."""
    token = 'login_throttled'
    hint = 'Check name and password, and wait before the next try.'


class ClientFull(TooManyRequests):
    """The client has [limits] per_client connections already."""
    # Not 503, which says that the proxy is full: others are served, and monitoring must be able to tell.
    token = 'client_connections_exceeded'
    hint = 'Close some of them first. The operator of this proxy can raise [limits] per_client.'


class QuotaExceeded(TooManyRequests):
    """The client or user has had its [limits] quota of octets for today."""
    token = 'quota_exceeded'
    hint = 'The count starts again at midnight. The operator of this proxy can raise [limits] quota.'


# --- the way to the origin --------------------------------------------------------------------------------------

class DnsError(ProxyError):
    """The host's name does not resolve."""
    status, token = 502, 'dns_error'
    hint = 'Check the spelling of the name, and what the name servers of the proxy\'s host know.'


class DnsTimeout(ProxyError):
    """The name servers did not answer in time."""
    status, token = 504, 'dns_timeout'
    hint = 'Look at the name servers of the proxy\'s host.'


class DnsFull(ProxyError):
    """Too many names wait to be looked up."""
    status, token = 503, 'dns_queue_full'
    retry_after = 1
    hint = 'Look at the name servers of the proxy\'s host: they answer slowly, or not at all.'


class ConnectRefused(ProxyError):
    """The origin's host refuses connections on that port."""
    status, token = 502, 'connection_refused'
    hint = 'Nothing listens there, or a firewall rejects it.'


class ConnectTimeout(ProxyError):
    """No connection to the origin came about in time."""
    status, token = 504, 'connection_timeout'
    hint = 'The host is down, or a firewall drops what is sent to it.'


class Unroutable(ProxyError):
    """This host has no route to any address of the origin."""
    status, token = 502, 'destination_ip_unroutable'
    hint = 'Look at the routes of the proxy\'s host.'


class UpstreamLost(ProxyError):
    """The origin closed or reset its connection before it had answered."""
    status, token = 502, 'connection_terminated'


class UploadStalled(ProxyError):
    """The origin stopped reading the request."""
    status, token = 504, 'connection_write_timeout'


class ResponseTimeout(ProxyError):
    """The origin did not begin its response in time."""
    status, token = 504, 'http_response_timeout'


class BodyTimeout(ProxyError):
    """The origin stopped in the middle of its response body."""
    status, token = 504, 'connection_read_timeout'


class BadResponse(ProxyError):
    """The response is not valid HTTP/1.x (RFC 9112), or it could be read in two ways."""
    status, token = 502, 'http_protocol_error'
    hint = 'Look at what the origin sends. Nothing doubtful is passed on.'


class ResponseHeadTooLarge(ProxyError):
    """The response head is larger than [limits] head_size, or has more than [limits] fields lines."""
    status, token = 502, 'http_response_header_section_size'


class BadCoding(ProxyError):
    """The chunked coding of a response is broken."""
    status, token = 502, 'http_response_transfer_coding'


class ResponseIncomplete(ProxyError):
    """The origin closed or reset its connection in the middle of its response."""
    status, token = 502, 'http_response_incomplete'


class UpgradeFailed(ProxyError):
    """The origin changed the protocol without being asked, or not as HTTP demands."""
    status, token = 502, 'http_upgrade_failed'


# --- tunnels, and the rest --------------------------------------------------------------------------------------

class TunnelIdle(ProxyError):
    """Nothing went through a tunnel for [timeouts] tunnel, or [timeouts] linger once half closed."""
    status, token = 504, 'tunnel_idle'


class Killed(ProxyError):
    """The operator of this proxy ended the connection (geproxy kill)."""
    status, token = 503, 'killed'


class Drained(ProxyError):
    """The proxy was told to stop, and the time to drain was over."""
    status, token = 503, 'drained'


class InternalError(ProxyError):
    """A bug in the proxy. The log has the traceback."""
    status, token = 500, 'proxy_internal_error'
    hint = 'Please report it, with the traceback from the log.'
