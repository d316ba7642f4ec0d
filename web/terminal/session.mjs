// A signed-in device: enrolment, log-in, tokens renewed before they end, a proof of the device's key on each request, patience
// when the server asks for it, and the switch that makes the network disappear. Runs in Node and in a browser.
import { makeKey, openKey } from './keys.mjs';

const REFRESH_BEFORE_MS = 30_000;
const REQUEST_TIMEOUT_MS = 30_000;
const LONGEST_PATIENCE_MS = 600_000;
const MOST_ATTEMPTS = 5;
const SESSION = 'accessToken refreshToken expiresAt user { id username role areas { code name } }';
const LOGIN = `mutation ($username: String!, $password: String!, $device: DeviceInput!) {
    login(username: $username, password: $password, device: $device) { ${SESSION} } }`;
const REFRESH = `mutation ($refreshToken: String!) { refresh(refreshToken: $refreshToken) { ${SESSION} } }`;
const ENROL = 'mutation ($code: String!, $device: DeviceInput!) { enrolDevice(code: $code, device: $device) }';
const BUSY = new Set([429, 503]);
const TOKEN_ENDED = new Set(['TOKEN_EXPIRED', 'TOKEN_INVALID']);
const SIGNED_OUT = new Set(['SESSION_ENDED', 'REFRESH_INVALID', 'REFRESH_REUSED']);
const FORBIDDEN = 4403; // how the server closes a socket whose token or proof it does not take

export class Offline extends Error {}

/** The server said no; `code` is its first. */
export class Refused extends Error {
    constructor(errors) {
        super(errors.map((error) => `${error.extensions?.code ?? ''} ${error.message}`).join('; '));
        this.code = errors[0].extensions?.code ?? '';
    }
}

export class Session {
    /** `clock()` is the device's own time in ms; `heard` has `revoked()` and `signedOut(code)`. */
    constructor(url, device, vault, { clock = Date.now, heard = {} } = {}) {
        Object.assign(this, { url, device, vault, clock, heard });
        this.online = true;
        this.ended = false; // wiped: nothing goes out any more
        this.running = new AbortController();
        this.offset = 0; // server's clock minus ours, from its last answer
        this.notBefore = 0; // on performance.now()
        this.refreshing = null;
        this.opened = null; // the key
    }

    get grant() {
        return this.vault.get('grant');
    }

    get serverNow() {
        return this.clock() + this.offset;
    }

    /** Makes the device's key, if it has none, and registers it with a one-time code. May be repeated when the answer got lost. */
    async enrol(code) {
        if (!this.vault.get('key')) await this.vault.put({ key: await makeKey(this.vault.keepsObjects) });
        const again = this.vault.get('enrolling') === code;
        await this.vault.put({ enrolling: code });
        try {
            await this.#anonymous(ENROL, { code, device: this.device });
        } catch (error) {
            const spent = again && error.code === 'ENROLMENT_CODE_INVALID'; // by ourselves, before the answer got lost
            if (error.code) await this.vault.put({ enrolling: null });
            if (!spent) throw error;
        }
        await this.vault.put({ enrolling: null, grant: null });
    }

    async login(username, password) {
        const data = await this.#anonymous(LOGIN, { username, password, device: this.device });
        await this.vault.put({ grant: data.login });
        return data.login.user;
    }

    /** Takes up the session that the vault remembers, without asking the server; its user, or null. */
    resume() {
        return this.grant?.user ?? null;
    }

    /** An access token that is good for a while. */
    async token() {
        if (!this.grant) throw new Error('nobody is signed in');
        if (Date.parse(this.grant.expiresAt) - this.serverNow < REFRESH_BEFORE_MS) await this.refresh();
        return this.grant.accessToken;
    }

    /** For graphql-ws, which gives up for ever when this throws: then with the old token. */
    async connectionParams() {
        const token = await this.token().catch(() => this.grant?.accessToken ?? '');
        const dpop = await this.#proof('GET', token).catch(() => undefined);
        return { authorization: `Bearer ${token}`, ...(dpop && { dpop }) };
    }

    /** The socket was closed by the server. */
    socketClosed({ code, reason }) {
        if (code !== FORBIDDEN) return;
        if (reason === 'DEVICE_REVOKED') this.heard.revoked?.();
        else if (reason !== 'DEVICE_PROOF_STALE') this.expire();
    }

    expire() {
        if (this.grant) this.grant.expiresAt = new Date(0).toISOString();
    }

    /** One refresh at a time: the refresh token is good for one use. */
    refresh() {
        this.refreshing ??= this.#refresh().finally(() => (this.refreshing = null));
        return this.refreshing;
    }

    /** GraphQL with this session's token. Throws Refused with the server's messages. */
    async ask(query, variables = {}) {
        return data(await this.#authorised(JSON.stringify({ query, variables })));
    }

    /** What RxDB's replication uses as `fetch`; of the answer it reads `json()` alone. */
    async fetch(request) {
        const { status, headers, body } = await this.#authorised(await request.text());
        return { status, headers, ok: status < 400, json: async () => body };
    }

    /** Takes key and token into memory, stops everything else, and returns what tells the server that the wipe is done. */
    async farewell() {
        const token = this.grant?.accessToken;
        await this.#key();
        this.ended = true;
        this.running.abort(new Error('the terminal was wiped'));
        return async () => {
            const answer = await this.#send(JSON.stringify({ query: 'mutation { confirmWipe }' }), token, true);
            return data(answer).confirmWipe;
        };
    }

    async #refresh() {
        const { grant } = this;
        if (!grant) throw new Error('nobody is signed in');
        const answer = await this.#anonymous(REFRESH, { refreshToken: grant.refreshToken });
        if (this.grant?.refreshToken === grant.refreshToken) await this.vault.put({ grant: answer.refresh }); // before anybody uses it
    }

    async #anonymous(query, variables) {
        return data(await this.#patiently(JSON.stringify({ query, variables }), null));
    }

    async #authorised(body) {
        const token = await this.token();
        const answer = await this.#patiently(body, token);
        if (!TOKEN_ENDED.has(codeOf(answer))) return answer;
        if (this.grant?.accessToken === token) this.expire();
        return this.#patiently(body, await this.token());
    }

    /** Sends until the server has time for it; waits as long as Retry-After says, together with everybody else on this device. */
    async #patiently(body, token) {
        for (let attempt = 1; ; attempt += 1) {
            await this.#turn();
            const answer = await this.#send(body, token);
            if (codeOf(answer) === 'DEVICE_PROOF_STALE' && attempt === 1) continue; // its Date header has set our clock right
            if (!this.#mustWait(answer) || attempt >= MOST_ATTEMPTS) return answer;
        }
    }

    #mustWait({ status, headers }) {
        if (!BUSY.has(status)) return false;
        const asked = retryAfter(headers.get('retry-after'), this.serverNow);
        const until = performance.now() + Math.min(asked * (1 + Math.random() / 4), LONGEST_PATIENCE_MS); // not all at once
        this.notBefore = Math.max(this.notBefore, until);
        return true;
    }

    async #turn() {
        while (this.online && !this.ended && performance.now() < this.notBefore) {
            await new Promise((resolve) => setTimeout(resolve, Math.min(this.notBefore - performance.now() + 1, 1_000)));
        }
    }

    async #send(body, token, last = false) {
        if (!this.online) throw new Offline('the terminal is offline');
        if (this.ended && !last) throw new Error('the terminal was wiped');
        const headers = { 'content-type': 'application/json', accept: 'application/json', 'x-device-clock': String(Math.round(this.clock())) };
        if (token) headers.authorization = `Bearer ${token}`;
        const dpop = await this.#proof('POST', token);
        if (dpop) headers.dpop = dpop;
        const signal = AbortSignal.any([AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...(last ? [] : [this.running.signal])]);
        const response = await fetch(this.url, { method: 'POST', headers, body, signal });
        const answer = { status: response.status, headers: response.headers, body: await json(response) };
        this.#listen(answer);
        return answer;
    }

    #listen({ headers, body }) {
        const date = Date.parse(headers.get('date') ?? '');
        if (date) this.offset = date + 500 - this.clock(); // the header counts whole seconds
        const code = codeOf({ body });
        if (code === 'DEVICE_REVOKED') this.heard.revoked?.();
        if (SIGNED_OUT.has(code)) this.heard.signedOut?.(code);
    }

    async #proof(method, token) {
        const key = await this.#key();
        return key && key.proof({ method, url: this.url, token, at: this.serverNow });
    }

    async #key() {
        const stored = this.vault.get('key');
        if (stored && this.opened?.stored !== stored) this.opened = { stored, key: await openKey(stored) };
        return this.opened?.key;
    }
}

function codeOf({ body }) {
    return body?.errors?.[0]?.extensions?.code;
}

function data({ status, body }) {
    if (body?.errors) throw new Refused(body.errors);
    if (!body?.data) throw new Error(`the server answered ${status} without data`);
    return body.data;
}

async function json(response) {
    const text = await response.text();
    try {
        return JSON.parse(text);
    } catch {
        return { errors: [{ message: `the server answered ${response.status} without JSON`, extensions: { code: `HTTP_${response.status}` } }] };
    }
}

/** Milliseconds of a Retry-After header, which counts seconds or names a time; a second where it says nothing. */
function retryAfter(header, now) {
    const seconds = Number(header);
    if (header && Number.isFinite(seconds)) return Math.max(0, seconds * 1_000);
    return Math.max(1_000, Date.parse(header ?? '') - now || 0);
}
