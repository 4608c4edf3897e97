// Ask through a proxy with nothing but Node's own http and tls modules, as the many agents on npm do.
// Usage: node core_client.js PROXY_PORT METHOD URL CA_FILE [BODY_FILE]; prints the response's body.
'use strict';
const fs = require('fs');
const http = require('http');
const https = require('https');
const tls = require('tls');

const [proxyPort, method, target, caFile, bodyFile] = process.argv.slice(2);
const proxy = { host: '127.0.0.1', port: Number(proxyPort) };

function fail(error) {
  console.error(error);
  process.exit(1);
}

function finish(request) {
  request.on('error', fail);
  request.on('response', (response) => {
    if (response.statusCode >= 300) fail(new Error('status ' + response.statusCode));
    response.on('error', fail);
    response.pipe(process.stdout);
  });
  if (bodyFile) fs.createReadStream(bodyFile).pipe(request);      // no length is known: chunked
  else request.end();
}

function inTheOpen(url) {
  finish(http.request({ ...proxy, method, path: target, headers: { Host: url.host } }));
}

function throughATunnel(url) {
  const connect = http.request({ ...proxy, method: 'CONNECT', path: url.host, headers: { Host: url.host } });
  connect.on('error', fail);
  connect.on('connect', (response, socket) => {
    if (response.statusCode !== 200) fail(new Error('CONNECT: ' + response.statusCode));
    const secured = tls.connect({ socket, servername: url.hostname, ca: fs.readFileSync(caFile) });
    secured.on('error', fail);
    finish(https.request(url, { method, createConnection: () => secured }));     // no agent: it would connect anew
  });
  connect.end();
}

const url = new URL(target);
if (url.protocol === 'https:') throughATunnel(url);
else inTheOpen(url);
