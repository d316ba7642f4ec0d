// npm's tus-js-client, unmodified, sends the file given to the endpoint given; prints how it ended.
import { createRequire } from 'node:module';
import { createReadStream } from 'node:fs';
import { fileURLToPath } from 'node:url';

const require = createRequire(fileURLToPath(new URL('../../web/package.json', import.meta.url)));
const { Upload } = require('tus-js-client');
const [endpoint, token, file, size, sha256] = process.argv.slice(2);

const upload = new Upload(createReadStream(file), {
  endpoint,
  uploadSize: Number(size),
  chunkSize: 1_000_000,
  retryDelays: [0, 50, 200, 1000, 3000, 3000],
  headers: { Authorization: `Bearer ${token}` },
  metadata: { sha256, media_type: 'video/mp4' },
  onError: (error) => { console.log(JSON.stringify({ error: String(error) })); process.exit(1); },
  onSuccess: () => { console.log(JSON.stringify({ url: upload.url })); process.exit(0); },
});
upload.start();
