"""A table of small clients: their command lines, and what their users see when a request is refused."""
from __future__ import absolute_import, division, print_function

import collections

from .conftest import REFUSAL

# In arguments, a test replaces {url}, {ca}, {file} (to upload), {out} (for the body, if a client does not print it) and
# {folder}. Programs in PHP and Perl read the authority of the proxy from PROXY and the log-in from LOGIN.

PHP_CURL = '''
$c = curl_init($argv[1]);
curl_setopt_array($c, [CURLOPT_CAINFO => $argv[2], CURLOPT_RETURNTRANSFER => true]);
if (isset($argv[3]))
    curl_setopt_array($c, [CURLOPT_UPLOAD => true, CURLOPT_INFILE => fopen($argv[3], "r"),
                           CURLOPT_INFILESIZE => filesize($argv[3])]);
$r = curl_exec($c);
echo $r === false ? curl_error($c) : $r;
'''

PHP_STREAMS = '''
$http = ["proxy" => "tcp://" . getenv("PROXY"), "request_fulluri" => true, "header" => "Content-Type: a/b\\r\\n"];
if (getenv("LOGIN"))
    $http["header"] .= "Proxy-Authorization: Basic " . base64_encode(getenv("LOGIN")) . "\\r\\n";
if (isset($argv[3]))
    $http += ["method" => "PUT", "content" => file_get_contents($argv[3])];
$context = stream_context_create(["http" => $http, "ssl" => ["cafile" => $argv[2]]]);
echo file_get_contents($argv[1], false, $context);
'''

LWP = '''
use LWP::UserAgent;
binmode STDOUT;
my ($url, $ca, $file) = @ARGV;
my $agent = LWP::UserAgent->new(env_proxy => 1, ssl_opts => {SSL_ca_file => $ca});
my $request = HTTP::Request->new($file ? "PUT" : "GET", $url);
if ($file) { open my $body, "<:raw", $file; local $/; $request->content(scalar <$body>); }
my $response = $agent->request($request);
print $response->is_success ? $response->content : $response->status_line;
'''

LFTP = 'set ssl:ca-file "{ca}"; set net:max-retries 1; set net:timeout 20; '

Client = collections.namedtuple('Client', [
    'name', 'probe',    # of a test; a command that succeeds if this host has it
    'get',              # arguments
    'login',            # more arguments, in front, to log in at the proxy; None: by the environment
    'raw',              # true if octets above 127 are sent in the target unchanged
    'upload',           # (method, arguments); None: it cannot upload a file (busybox sends a GET, lynx reads the terminal)
    'refused', 'refused_tunnel', 'unknown',     # what its user sees for a denied host, by http and by https,
])                                              # and for a host that does not resolve

UNKNOWN = b'does not resolve'

CLIENTS = [Client(*row) for row in [
    ('curl', ['curl', '--version'], ['curl', '-q', '-sS', '--cacert', '{ca}', '{url}'], None, True,
     ('PUT', ['curl', '-q', '-sS', '-T', '{file}', '{url}']), REFUSAL, b'response 403', UNKNOWN),
    ('wget', ['wget', '--version'],
     ['wget', '--no-config', '--no-hsts', '-nv', '-t1', '--ca-certificate', '{ca}', '-O', '-', '{url}'], None, False,
     ('PUT', ['wget', '--no-config', '-nv', '-t1', '--method', 'PUT', '--body-file', '{file}', '-O', '-', '{url}']),
     REFUSAL, REFUSAL, UNKNOWN),
    ('busybox wget', ['busybox', 'wget', '--help'], ['busybox', 'wget', '-O', '-', '{url}'], None, True,
     None, REFUSAL, b'CONNECT only', UNKNOWN),
    ('lftp', ['lftp', '--version'], ['lftp', '-c', LFTP + 'cat "{url}"'], None, True,
     ('PUT', ['lftp', '-c', LFTP + 'put {file} -o "{url}"']), REFUSAL, REFUSAL, b'max-retries exceeded'),
    ('aria2', ['aria2c', '--version'],
     ['aria2c', '--no-conf', '-m1', '--ca-certificate', '{ca}', '-d', '{folder}', '-o', '{out}', '{url}'], None, False,
     None, b'status=403', b'Proxy connection failed', b'status=502'),
    ('lynx', ['lynx', '--version'], ['lynx', '-nopause', '-source', '{url}'], ['-pauth={login}'], False,
     None, REFUSAL, REFUSAL, UNKNOWN),
    ('w3m', ['w3m', '-version'], ['w3m', '-o', 'ssl_ca_file={ca}', '-dump_source', '{url}'],
     ['-o', 'passwd_file={folder}/passwd'], False,
     ('POST', ['w3m', '-post', '{file}', '-dump_source', '{url}']), REFUSAL, b"Can't load", UNKNOWN),
    ('php curl', ['php', '-r', 'exit((int) !extension_loaded("curl"));'], ['php', '-r', PHP_CURL, '--', '{url}', '{ca}'],
     None, True, ('PUT', ['php', '-r', PHP_CURL, '--', '{url}', '{ca}', '{file}']),
     REFUSAL, b'response 403', UNKNOWN),
    ('php streams', ['php', '-r', 'exit((int) !extension_loaded("openssl"));'],
     ['php', '-r', PHP_STREAMS, '--', '{url}', '{ca}'], None, True,
     ('PUT', ['php', '-r', PHP_STREAMS, '--', '{url}', '{ca}', '{file}']),
     REFUSAL, b'Cannot connect to HTTPS server through proxy', UNKNOWN),
    ('LWP', ['perl', '-MLWP::Protocol::https', '-e', '1'], ['perl', '-e', LWP, '{url}', '{ca}'], None, False,
     ('PUT', ['perl', '-e', LWP, '{url}', '{ca}', '{file}']), REFUSAL, REFUSAL, UNKNOWN),
]]
