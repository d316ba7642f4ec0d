// The unmodified graphql-ws client: subscribes to wake and prints what happens, one JSON line each. TOKENS is asked anew per connection.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(fileURLToPath(new URL('../../web/package.json', import.meta.url)));
const { createClient } = require('graphql-ws');
const { WebSocket } = require('ws');

const [url, ...tokens] = process.argv.slice(2);
const say = (what, more) => console.log(JSON.stringify({ what, ...more }));
let connection = 0;
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  retryAttempts: Infinity,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)),
  connectionParams: () => ({ authorization: `Bearer ${tokens[Math.min(connection++, tokens.length - 1)]}` }),
  on: { connected: () => say('connected'), closed: (event) => say('closed', { code: event.code }) },
});
client.subscribe(
  { query: 'subscription { wake }' },
  { next: (value) => say('next', { value }), error: (error) => say('error', { error: String(error) }), complete: () => say('complete') },
);
