// Ask through a proxy with fetch: that of an undici, through its ProxyAgent; or Node's own, by NODE_USE_ENV_PROXY=1.
// Usage: node fetch_client.js UNDICI|own PROXY_URL METHOD URL CA_FILE [BODY_FILE]; prints the response's body.
'use strict';
const fs = require('fs');

const [undici, proxy, method, target, caFile, bodyFile] = process.argv.slice(2);

async function ask(fetch, options) {
  const response = await fetch(target, { method, body: bodyFile && fs.readFileSync(bodyFile), ...options });
  if (!response.ok) throw new Error('status ' + response.status);
  process.stdout.write(Buffer.from(await response.arrayBuffer()));
}

async function askWithUndici({ ProxyAgent, fetch }) {
  const dispatcher = new ProxyAgent({ uri: proxy, requestTls: { ca: fs.readFileSync(caFile) } });
  await ask(fetch, { dispatcher });
  await dispatcher.close();
}

const asked = undici === 'own' ? ask(fetch) : askWithUndici(require(undici));   // NODE_EXTRA_CA_CERTS: whom our own trusts
asked.catch((error) => {
  console.error(error);
  process.exit(1);
});
