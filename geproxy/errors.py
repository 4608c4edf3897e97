"""Every way in which an exchange can fail: one class each. Data, no logic.

A class has the status for the client; the reason as one word, for ``Proxy-Status`` and the log (from RFC 9209, 2.3, if
one fits); and a hint: what the reader, a user or the operator, can do. The message, given when the error is raised,
says what happened in this case. The first line of each docstring is a row of the manual's table of failures.
"""
from __future__ import absolute_import, division, print_function


class ProxyError(Exception):
    """The base of all failures."""
    status = 500                    # of the response, if none has begun
    token = 'proxy_internal_error'  # the reason as one word
    hint = ''                       # what to do, as one or more sentences
    rule = ''                       # the rule that decided, as file:line
    retry_after = None              # whole seconds after which the client may try again, if that is known
    kind = ''                       # the protocol that the client speaks, if that is not HTTP/1.x: see WrongProtocol
    text = ''                       # what a parent said about its refusal: see ParentRefused


# --- the client's side ------------------------------------------------------------------------------------------

class ClientLost(ProxyError):
    """The client closed or lost its connection before it had its whole response."""
    status, token = 400, 'client_lost'
    hint = 'Nothing to do if the user gave up. Else compare the time-outs of the client with those of this proxy.'


class BadRequest(ProxyError):
    """The request is not valid HTTP/1.x (RFC 9112), or two programs could read it differently."""
    status, token = 400, 'http_request_error'
    hint = 'Correct what the client sends. This proxy never passes on a request that is not clear.'


class WrongProtocol(BadRequest):
    """The client speaks another protocol than this port: TLS, SOCKS, HTTP/2, or HTTP without TLS to a port for TLS."""
    token = 'wrong_protocol'
    hint = ('Set up the client with an HTTP proxy: http://HOST:PORT, for https addresses, too. If the port takes only '
            'TLS: https://HOST:PORT.')

    def __init__(self, message, kind):
        """`message`: native text; `kind`: 'tls', 'socks4', 'socks5' or 'http2'."""
        ProxyError.__init__(self, message)
        self.kind = kind


class BadProxyHeader(BadRequest):
    """A connection from an address in [proxy] proxy_protocol did not begin with a valid PROXY header."""
    token = 'proxy_header_error'
    hint = 'Let the load balancer send PROXY headers, or remove its address from [proxy] proxy_protocol.'


class SpoofedClient(BadRequest):
    """A PROXY header came from an address that is not in [proxy] proxy_protocol."""
    token = 'proxy_header_refused'
    hint = 'If this is your load balancer, add its address to [proxy] proxy_protocol.'


class HandshakeFailed(BadRequest):
    """The client began TLS with this proxy, and the handshake failed."""
    token = 'tls_handshake_failed'
    hint = 'The message says what was wrong. curl -v --proxy https://HOST:PORT URL shows the view of a client.'


class HandshakeTimeout(ProxyError):
    """The client did not complete its TLS handshake within [timeouts] handshake."""
    status, token = 408, 'tls_handshake_timeout'
    hint = 'Look at the client, and at the network between it and this proxy.'


class HeadTimeout(ProxyError):
    """The client did not send its whole request head within [timeouts] head."""
    status, token = 408, 'client_head_timeout'
    hint = 'Look at the client, and at the network between it and this proxy.'


class UploadTimeout(ProxyError):
    """The client stopped sending in the middle of its request body, for longer than [timeouts] body."""
    status, token = 408, 'client_body_timeout'
    hint = 'Look at the client, and at the network between it and this proxy.'


class DownloadTimeout(ProxyError):
    """The client stopped reading its response, for longer than [timeouts] body."""
    status, token = 408, 'client_write_timeout'
    hint = 'Look at the client: it is paused or hangs, or its network is down.'


class IdleTimeout(ProxyError):
    """The client sent no request in time, and its connection was closed."""
    status, token = 408, 'client_idle_timeout'


class TargetTooLong(ProxyError):
    """The request line alone is longer than [limits] head_size."""
    status, token = 414, 'http_request_error'
    hint = 'Use a shorter URL. The operator of this proxy can raise [limits] head_size.'


class HeadTooLarge(ProxyError):
    """The request head is larger than [limits] head_size, or has more field lines than [limits] fields."""
    status, token = 431, 'http_request_error'
    hint = 'Send less, fewer cookies for instance. The operator of this proxy can raise [limits] head_size or fields.'


class ExpectationFailed(ProxyError):
    """The request has an Expect field with a value other than 100-continue."""
    status, token = 417, 'http_request_error'
    hint = 'HTTP knows no other value. Correct what the client sends.'


class NotImplementedHere(ProxyError):
    """The request has a scheme or a transfer coding that this proxy does not support."""
    status, token = 501, 'http_request_error'
    hint = 'This proxy supports http://, and CONNECT for https://. Let the client use one of these.'


class VersionNotSupported(ProxyError):
    """The HTTP version of the request is not 1.x."""
    status, token = 505, 'http_request_error'
    hint = 'Let the client use HTTP/1.1 with this proxy.'


# --- policy -----------------------------------------------------------------------------------------------------

class Denied(ProxyError):
    """The rules of this proxy do not allow the request."""
    status, token = 403, 'http_request_denied'
    hint = 'The operator of this proxy can allow it, in the section [access] of the ini file.'

    def __init__(self, message, rule=''):
        """`message`: native text; `rule`: file:line of the rule that decided, '' if it was none."""
        ProxyError.__init__(self, message)
        self.rule = rule


class ClientDenied(Denied):
    """The address of the client is not in [access] clients."""
    hint = 'The operator of this proxy can add the client to [access] clients.'


class AddressDenied(Denied):
    """All addresses of the host are forbidden."""
    token = 'destination_ip_prohibited'
    hint = 'The operator of this proxy can allow addresses in [access] allow_addresses.'


class Ourselves(AddressDenied):
    """The request would go to this proxy itself."""
    hint = 'Ask for another host or port than those of this proxy.'


class LoginRequired(ProxyError):
    """The client must log in, and has sent no name and password."""
    status, token = 407, 'login_required'
    hint = 'Set up the client with a name and a password for this proxy: http://NAME:PASSWORD@HOST:PORT/.'


class CertificateRequired(Denied):
    """The client must log in by a certificate, and has sent none that names a user."""
    token = 'certificate_required'
    hint = ('Set up the client with https:// for this proxy, and with a certificate that names its user: curl --proxy '
            'https://HOST:PORT --proxy-cert FILE --proxy-key FILE.')


class LoginFailed(ProxyError):
    """There is no such user, or the password is wrong."""
    status, token = 407, 'login_failed'
    hint = 'Check the name and the password. The operator of this proxy can change them in the file of [auth] users.'


class LoginTimeout(ProxyError):
    """The name and the password could not be checked within [timeouts] login."""
    status, token = 503, 'login_timeout'
    retry_after = 1
    hint = 'Try again soon. If it happens often, the operator of this proxy should use password hashes that cost less.'


class LoopDetected(ProxyError):
    """The request has been through this proxy before."""
    status, token = 508, 'proxy_loop_detected'
    hint = 'A proxy or a host name leads back to this proxy. If two proxies have the same [proxy] name, change one.'


class Full(ProxyError):
    """This proxy has as many connections as [limits] connections allows, or no file descriptors left."""
    status, token = 503, 'connection_limit_reached'
    retry_after = 1
    hint = 'Try again soon. The operator of this proxy can raise [limits] connections and ulimit -n.'


class MemoryFull(ProxyError):
    """All connections of this proxy together hold as much memory as [limits] memory allows."""
    status, token = 503, 'memory_limit_reached'
    retry_after = 1
    hint = 'Try again soon, or with a smaller request head. The operator of this proxy can raise [limits] memory.'


class TooManyRequests(ProxyError):
    """The client or user sends more requests per second than [limits] requests allows."""
    status, token = 429, 'request_rate_exceeded'
    hint = 'Send requests more slowly. The operator of this proxy can raise [limits] requests or burst.'

    def __init__(self, message, retry_after=None):
        """`message`: native text; `retry_after`: whole seconds, or None."""
        ProxyError.__init__(self, message)
        self.retry_after = retry_after


class LoginsThrottled(TooManyRequests):
    """Too many log-ins from this address have failed, with this name or with many names."""
    token = 'login_throttled'
    hint = 'Wait, check the name and the password, then try again.'


class ClientFull(TooManyRequests):
    """The client has as many connections as [limits] per_client allows."""
    # Not 503, which says that the proxy is full: other clients are served, and monitoring must see the difference.
    token = 'client_connections_exceeded'
    hint = 'Close some connections first. The operator of this proxy can raise [limits] per_client.'


class QuotaExceeded(TooManyRequests):
    """The client or user has used up its [limits] quota of octets for today."""
    token = 'quota_exceeded'
    hint = 'The count starts again at midnight. The operator of this proxy can raise [limits] quota.'


# --- the way to the origin --------------------------------------------------------------------------------------

class DnsError(ProxyError):
    """The host name has no address."""
    status, token = 502, 'dns_error'
    hint = 'Check the spelling of the name. Then ask for it on the host of this proxy: getent ahosts NAME.'


class DnsTimeout(ProxyError):
    """The name servers did not answer within [timeouts] dns."""
    status, token = 504, 'dns_timeout'
    hint = 'Check the name servers in /etc/resolv.conf on the host of this proxy.'


class DnsFull(ProxyError):
    """Too many look-ups wait for the name servers."""
    status, token = 503, 'dns_queue_full'
    retry_after = 1
    hint = 'Check the name servers in /etc/resolv.conf on the host of this proxy: they answer slowly or not at all.'


class ConnectRefused(ProxyError):
    """The origin refuses connections on that port."""
    status, token = 502, 'connection_refused'
    hint = 'Check the port. The server program there does not run, or a firewall rejects the connection.'


class ConnectTimeout(ProxyError):
    """The origin did not accept a connection within [timeouts] connect."""
    status, token = 504, 'connection_timeout'
    hint = 'Check that the host is up, and that no firewall drops what this proxy sends to it.'


class Unroutable(ProxyError):
    """The host of this proxy has no route to any address of the origin."""
    status, token = 502, 'destination_ip_unroutable'
    hint = 'Check the routes on the host of this proxy: ip route get ADDRESS.'


class HostUnreachable(Unroutable):
    """A router, or the host of this proxy, says that the host of the origin cannot be reached."""
    hint = 'Check that the host is up, and the routes on the host of this proxy: ip route get ADDRESS.'


class SourceMissing(Unroutable):
    """A connection cannot be made from the address in [upstream] source, or source= in a row of [upstream] routes."""
    token = 'source_address_missing'
    hint = ('The operator of this proxy can correct [upstream] source, or source= in a row of [upstream] routes, or '
            'give the address to this host.')


class UpstreamLost(ProxyError):
    """The origin closed or reset its connection before it sent a response."""
    status, token = 502, 'connection_terminated'
    hint = 'Try again. If it happens often, look at the log of the origin.'


class UploadStalled(ProxyError):
    """The origin stopped reading the request, for longer than [timeouts] body."""
    status, token = 504, 'connection_write_timeout'
    hint = 'Look at the origin: it hangs, is overloaded, or does not take so large a body.'


class ResponseTimeout(ProxyError):
    """The origin did not send its response head within [timeouts] response."""
    status, token = 504, 'http_response_timeout'
    hint = 'Look at the origin. If it needs so long, the operator of this proxy can raise [timeouts] response.'


class BodyTimeout(ProxyError):
    """The origin stopped sending in the middle of its response body, for longer than [timeouts] body."""
    status, token = 504, 'connection_read_timeout'
    hint = 'Look at the origin. If it pauses so long, the operator of this proxy can raise [timeouts] body.'


class BadResponse(ProxyError):
    """The response is not valid HTTP/1.x (RFC 9112), or two programs could read it differently."""
    status, token = 502, 'http_protocol_error'
    hint = 'The origin must send a correct response. This proxy never passes on one that is not clear.'


class ResponseHeadTooLarge(ProxyError):
    """The response head is larger than [limits] head_size, or has more field lines than [limits] fields."""
    status, token = 502, 'http_response_header_section_size'
    hint = 'The operator of this proxy can raise [limits] head_size or fields.'


class BadCoding(ProxyError):
    """The chunked coding of the response is not valid."""
    status, token = 502, 'http_response_transfer_coding'
    hint = 'The origin must send a correct response. Look at its log.'


class ResponseIncomplete(ProxyError):
    """The origin closed or reset its connection in the middle of its response."""
    status, token = 502, 'http_response_incomplete'
    hint = 'What has arrived is not the whole response. Try again. If it happens often, look at the log of the origin.'


class ParentFailed(ProxyError):
    """No parent proxy of the route could be used: none was reached, or none answered as a proxy does."""
    status, token = 502, 'parent_failed'
    hint = 'Look at the parent proxies. The operator of this proxy sees their states with geproxy status.'


class ParentRefused(ProxyError):
    """The parent proxy was asked for a tunnel and refused it."""
    status, token = 502, 'parent_refused'
    hint = ('Check the name and the port. If they are right, ask the operator of the parent proxy: this proxy has '
            'allowed the request.')

    def __init__(self, message, status=502, text=''):
        """`message`: native text; `status`: for the client, an int; `text`: what the parent said, native text."""
        ProxyError.__init__(self, message)
        self.status = status
        self.text = text


class ParentLoginFailed(ProxyError):
    """The parent proxy wants another log-in than this proxy has for it."""
    status, token = 502, 'parent_login_failed'
    hint = 'Show this to the operator of this proxy. The message says what the parent wants.'


class AddressUnknown(ProxyError):
    """A rule or option depends on the address of the host, and this proxy cannot look the host up."""
    status, token = 502, 'address_unknown'
    hint = ('Check the name, and the name servers of the host of this proxy. The message says why the address is '
            'needed.')


class UpgradeFailed(ProxyError):
    """The origin changed the protocol although the client did not ask for it, or not as HTTP demands."""
    status, token = 502, 'http_upgrade_failed'
    hint = 'The origin must send a correct response. Look at its log.'


# --- tunnels, and the rest --------------------------------------------------------------------------------------

class TunnelIdle(ProxyError):
    """Nothing went through the tunnel for [timeouts] tunnel, or, after one side ended, for [timeouts] linger."""
    status, token = 504, 'tunnel_idle'
    hint = 'Let the client send something from time to time. The operator of this proxy can raise [timeouts] tunnel.'


class Killed(ProxyError):
    """The operator of this proxy ended the connection with geproxy kill."""
    status, token = 503, 'killed'
    hint = 'Ask the operator of this proxy why.'


class Drained(ProxyError):
    """This proxy stopped, and the exchange was not over within [timeouts] drain."""
    status, token = 503, 'drained'
    hint = 'Try again when the proxy is up. The operator of this proxy can raise [timeouts] drain.'


class InternalError(ProxyError):
    """A bug in this proxy. The error log has the traceback."""
    status, token = 500, 'proxy_internal_error'
    hint = 'Try again. The operator of this proxy should report it, with the traceback from the error log.'
