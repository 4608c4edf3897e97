"""Every failure has its class; every class has what the client, the log and the manual show."""
from __future__ import absolute_import, division, print_function

import ast
import io
import re

import pytest

from geproxy import errors

CLASSES = sorted((value for value in vars(errors).values() if isinstance(value, type)), key=lambda each: each.__name__)


@pytest.mark.parametrize('name, status, token', [
    ('AddressDenied', 403, 'destination_ip_prohibited'),
    ('BadCoding', 502, 'http_response_transfer_coding'),
    ('BadRequest', 400, 'http_request_error'),
    ('BadResponse', 502, 'http_protocol_error'),
    ('BodyTimeout', 504, 'connection_read_timeout'),
    ('ClientLost', 400, 'client_lost'),
    ('ClientFull', 429, 'client_connections_exceeded'),
    ('ConnectRefused', 502, 'connection_refused'),
    ('ConnectTimeout', 504, 'connection_timeout'),
    ('Denied', 403, 'http_request_denied'),
    ('DnsError', 502, 'dns_error'),
    ('DnsTimeout', 504, 'dns_timeout'),
    ('DownloadTimeout', 408, 'client_write_timeout'),
    ('Drained', 503, 'drained'),
    ('ExpectationFailed', 417, 'http_request_error'),
    ('Full', 503, 'connection_limit_reached'),
    ('HeadTimeout', 408, 'client_head_timeout'),
    ('HeadTooLarge', 431, 'http_request_error'),
    ('HostUnreachable', 502, 'destination_ip_unroutable'),
    ('IdleTimeout', 408, 'client_idle_timeout'),
    ('InternalError', 500, 'proxy_internal_error'),
    ('LoginFailed', 407, 'login_failed'),
    ('LoginRequired', 407, 'login_required'),
    ('LoginTimeout', 503, 'login_timeout'),
    ('LoginsThrottled', 429, 'login_throttled'),
    ('LoopDetected', 508, 'proxy_loop_detected'),
    ('NotImplementedHere', 501, 'http_request_error'),
    ('Ourselves', 403, 'destination_ip_prohibited'),
    ('QuotaExceeded', 429, 'quota_exceeded'),
    ('ResponseHeadTooLarge', 502, 'http_response_header_section_size'),
    ('ResponseIncomplete', 502, 'http_response_incomplete'),
    ('ResponseTimeout', 504, 'http_response_timeout'),
    ('SourceMissing', 502, 'source_address_missing'),
    ('TargetTooLong', 414, 'http_request_error'),
    ('TooManyRequests', 429, 'request_rate_exceeded'),
    ('TunnelIdle', 504, 'tunnel_idle'),
    ('Unroutable', 502, 'destination_ip_unroutable'),
    ('UpgradeFailed', 502, 'http_upgrade_failed'),
    ('UploadStalled', 504, 'connection_write_timeout'),
    ('UploadTimeout', 408, 'client_body_timeout'),
    ('UpstreamLost', 502, 'connection_terminated'),
    ('VersionNotSupported', 505, 'http_request_error'),
    ('WrongProtocol', 400, 'wrong_protocol'),
])
def test_a_failure_has_the_status_and_the_token_that_clients_and_logs_know(name, status, token):
    assert (getattr(errors, name).status, getattr(errors, name).token) == (status, token)


@pytest.mark.parametrize('each', CLASSES, ids=lambda each: each.__name__)
def test_a_class_says_what_happened_and_what_to_do(each):
    assert issubclass(each, errors.ProxyError)
    assert re.match(r'[A-Z][ -~]+[.:]?', each.__doc__)
    assert each is errors.ProxyError or each.__doc__.split('\n')[0][-1:] == '.'
    assert re.match(r'[a-z][a-z0-9_]*\Z', each.token)
    assert 400 <= each.status < 600
    assert re.match(r'([A-Z][ -~]*[.?])?\Z', each.hint)


def test_a_message_is_what_it_was_raised_with():
    assert str(errors.Denied('port 25 is not open')) == 'port 25 is not open'
    assert str(errors.WrongProtocol('that is TLS', 'tls')) == 'that is TLS'
    assert errors.WrongProtocol('that is TLS', 'tls').kind == 'tls'
    assert errors.QuotaExceeded('enough', 60).retry_after == 60
    assert errors.QuotaExceeded('enough').retry_after is errors.BadRequest('what').retry_after is None
    assert errors.Full('all taken').retry_after == 1
    assert str(errors.LoginsThrottled('wait', 8)) == 'wait'
    assert errors.LoginsThrottled('wait', 8).retry_after == 8


def test_there_is_no_logic_in_it():
    with io.open(errors.__file__.replace('.pyc', '.py'), encoding='utf-8') as opened:
        tree = ast.parse(opened.read().encode('utf-8'))
    with_code = [each.name for each in tree.body if isinstance(each, ast.ClassDef)
                 and any(not isinstance(line, (ast.Expr, ast.Assign)) for line in each.body)]
    assert with_code == ['WrongProtocol', 'Denied', 'TooManyRequests', 'ParentRefused']        # which say more than a message
    assert not [each for each in tree.body if isinstance(each, ast.FunctionDef)]
