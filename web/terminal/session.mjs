// A signed-in device: log-in, access token refreshed before it ends, and the switch that makes the network disappear.
const REFRESH_BEFORE_MS = 30_000;
const REQUEST_TIMEOUT_MS = 30_000;
const SESSION = 'accessToken refreshToken expiresAt user { id username role areas { code name } }';

export class Offline extends Error {}

export class Session {
    /** `clock()` is the device's own time in ms; the server measures its offset at each contact. */
    constructor(url, device, clock = Date.now) {
        this.url = url;
        this.clock = clock;
        this.device = device;
        this.online = true;
        this.grant = null;
        this.refreshing = null;
    }

    async login(username, password) {
        const query = `mutation ($username: String!, $password: String!, $device: DeviceInput!) {
            login(username: $username, password: $password, device: $device) { ${SESSION} } }`;
        const data = await this.#anonymous(query, { username, password, device: this.device });
        this.grant = data.login;
        return this.grant.user;
    }

    async authorization() {
        if (Date.parse(this.grant.expiresAt) - Date.now() < REFRESH_BEFORE_MS) await this.refresh();
        return `Bearer ${this.grant.accessToken}`;
    }

    /** As `authorization`, but the old one where no new one can be had: graphql-ws gives up for ever when this throws. */
    lastAuthorization() {
        return this.authorization().catch(() => `Bearer ${this.grant.accessToken}`);
    }

    expire() {
        this.grant.expiresAt = new Date(0).toISOString();
    }

    /** One refresh at a time: the refresh token is good for one use. */
    refresh() {
        this.refreshing ??= this.#refresh().finally(() => (this.refreshing = null));
        return this.refreshing;
    }

    /** GraphQL with this session's token; throws with the server's messages. */
    async ask(query, variables = {}) {
        return this.#data(await this.fetch(this.#request({ query, variables })));
    }

    /** What RxDB's replication uses as `fetch`. */
    async fetch(request) {
        if (!this.online) throw new Offline('the terminal is offline');
        const signed = new Request(request, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
        signed.headers.set('authorization', await this.authorization());
        signed.headers.set('x-device-clock', String(Math.round(this.clock())));
        const response = await fetch(signed);
        if (response.status === 401) this.expire();
        return response;
    }

    async #refresh() {
        const query = `mutation ($refreshToken: String!) { refresh(refreshToken: $refreshToken) { ${SESSION} } }`;
        const data = await this.#anonymous(query, { refreshToken: this.grant.refreshToken });
        this.grant = data.refresh;
    }

    async #anonymous(query, variables) {
        if (!this.online) throw new Offline('the terminal is offline');
        return this.#data(await fetch(this.#request({ query, variables }), { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) }));
    }

    #request(body) {
        const headers = { 'content-type': 'application/json', accept: 'application/json' };
        return new Request(this.url, { method: 'POST', headers, body: JSON.stringify(body) });
    }

    async #data(response) {
        const body = await response.json();
        if (body.errors) throw new Error(body.errors.map((error) => `${error.extensions?.code ?? ''} ${error.message}`).join('; '));
        return body.data;
    }
}
