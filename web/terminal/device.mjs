// One terminal: a database with a collection for each record that travels, replicated by RxDB's own GraphQL plugin, on a device with
// a key, numbers and an end. Runs in Node and in a browser; `store` (storage.mjs) is what differs.
import { createRxDatabase, getAssumedMasterState } from 'rxdb/plugins/core';
import { replicateGraphQL } from 'rxdb/plugins/replication-graphql';
import { Numbers } from './numbers.mjs';
import { Session } from './session.mjs';
import { askShapes } from './shapes.mjs';
import { Unsent } from './unsent.mjs';

const VERSION = 'zhijian-terminal 0.2.0';
const LONGEST_MESSAGE = 600;
const PULL_BATCH = 500;
const PUSH_BATCH = 50;
const REVISIONS = 1_000_000; // sync/lineage.py
const MOST_OVERTAKEN = 20; // times that a page is asked for again
const RESYNC_EVERY_MS = 120_000;
const CLOSING_MS = 2_000; // of the database, before its files go in any case
const FAREWELLS = 20;
const SERVER_OWNED = ['revision', 'createdAt', 'updatedAt'];
const REPORT = `mutation ($version: String, $bytes: Float, $unsent: Int) {
    reportDevice(clientVersion: $version, offlineBytes: $bytes, unsent: $unsent) { wipe outdated oldestClientVersion enrolled } }`;

export class Device {
    /** `tell(event)` hears of progress and errors; `platform` is what the device says it is. */
    constructor({ url, deviceId, deviceName, platform = '', retryTime = 5_000, clockSkew = 0 }, store, tell) {
        Object.assign(this, { store, state: store.state, deviceId, retryTime, clockSkew, tell });
        const facts = { id: deviceId, name: deviceName ?? deviceId, platform, clientVersion: VERSION };
        const heard = { revoked: () => void this.wipe(), signedOut: (code) => tell({ event: 'signedOut', code }) };
        this.session = new Session(url, facts, store.vault, { clock: () => this.#now(), heard });
        this.numbers = new Numbers(store.vault, this.session);
        this.unsent = new Unsent(store.state);
        this.socketUrl = url.replace(/^http/, 'ws');
        this.replications = {};
        this.pushes = {}; // of each collection: how many are answered, how many were when its page was asked for, whether RxDB has them all
        this.lastError = null;
        this.wiping = null;
        if (store.mustWipe) void this.wipe(); // a wipe that was cut short
    }

    async login(username, password) {
        return this.session.login(username, password);
    }

    async open(collections) {
        const remembered = this.state.getItem('shapes');
        this.shapes = remembered ? JSON.parse(remembered) : await askShapes(this.session, collections);
        this.state.setItem('shapes', JSON.stringify(this.shapes));
        this.database = await createRxDatabase({ name: 'terminal', storage: this.store.storage, multiInstance: false });
        const schemas = Object.entries(this.shapes).map(([name, shape]) => [name, { schema: localSchema(shape.fields) }]);
        await this.database.addCollections(Object.fromEntries(schemas));
        [this.listener] = Object.keys(this.shapes); // one wake for all records, so one subscription
        for (const name of Object.keys(this.shapes)) this.replications[name] = this.#replicate(name);
        this.timer = setInterval(() => this.#lookAfter(), RESYNC_EVERY_MS);
        void this.report().catch(() => {}); // it comes again by itself
        return Object.fromEntries(Object.entries(this.shapes).map(([name, shape]) => [name, shape.fields]));
    }

    /** Pulls and pushes until nothing is left in either direction. */
    async sync() {
        this.#resync();
        await Promise.all(Object.values(this.replications).map((replication) => replication.awaitInSync()));
        return this.count();
    }

    setOnline(online) {
        this.session.online = online;
        if (online) this.#resync();
    }

    /** `set` assigns fields, `add` joins values to sets, `append` adds items to lists, `increase` adds to numbers. */
    async edit({ collection, id, set = {}, add = {}, append = {}, increase = {} }) {
        this.#checkFields(collection, [set, add, append, increase].flatMap(Object.keys));
        const document = await this.#find(collection, id);
        const stamp = this.#stamp();
        const change = (current) => {
            Object.assign(current, set, { stamp });
            for (const [field, values] of Object.entries(add)) current[field] = [...new Set([...(current[field] ?? []), ...values])].sort();
            for (const [field, items] of Object.entries(append)) current[field] = [...(current[field] ?? []), ...items];
            for (const [field, amount] of Object.entries(increase)) current[field] = (current[field] ?? 0) + amount;
            return current;
        };
        return plain(await this.unsent.during(collection, id, () => document.incrementalModify(change)));
    }

    /** `number` {field, series, area} puts the next document number of this device's blocks into a field. */
    async insert({ collection, document, number }) {
        const fields = this.shapes[collection].fields.filter((field) => field !== 'deleted' && !SERVER_OWNED.includes(field));
        this.#checkFields(collection, [...Object.keys(document), ...(number ? [number.field] : [])]);
        const blank = Object.fromEntries(fields.map((field) => [field, null]));
        const made = { ...blank, id: uuid7(this.#now()), ...document };
        if (number) made[number.field] = await this.numbers.take(number.series, number.area, `${collection}/${made.id}`);
        made.stamp = this.#stamp();
        return plain(await this.unsent.during(collection, made.id, () => this.database[collection].insert(made)));
    }

    async remove({ collection, id }) {
        const document = await this.#find(collection, id);
        const stamp = this.#stamp();
        const removed = (current) => ({ ...current, stamp, _deleted: true });
        await this.unsent.during(collection, id, () => document.incrementalModify(removed));
        return { id };
    }

    async get({ collection, id }) {
        const document = await this.database[collection].findOne(id).exec();
        return document ? plain(document) : null;
    }

    async find({ collection, selector = {} }) {
        return (await this.database[collection].find({ selector }).exec()).map(plain);
    }

    async count() {
        const counted = Object.keys(this.replications).map(async (name) => [name, await this.database[name].count().exec()]);
        return Object.fromEntries(await Promise.all(counted));
    }

    /** collection -> hash of all its documents in order of id, to see cheaply whether anything still moves. */
    async digest() {
        const hashed = Object.keys(this.replications).map(async (name) => {
            const documents = await this.find({ collection: name });
            const lines = documents.map((document) => JSON.stringify(document)).sort();
            return [name, hex(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(lines.join('\n'))))];
        });
        return Object.fromEntries(await Promise.all(hashed));
    }

    /** Tells the server how this device does, one report after the other so that none overtakes a newer one; its answer. */
    report() {
        const next = () => this.#report();
        this.reporting = (this.reporting ?? Promise.resolve()).then(next, next);
        return this.reporting;
    }

    async #report() {
        const said = { version: VERSION, bytes: this.store.state.bytes, unsent: await this.unsent.count(this.replications) };
        const { reportDevice } = await this.session.ask(REPORT, said);
        if (reportDevice.outdated) this.tell({ event: 'outdated', oldest: reportDevice.oldestClientVersion });
        if (reportDevice.wipe) void this.wipe();
        return { ...reportDevice, ...said };
    }

    /** Returns or voids what is left of the blocks; a number counts as used when its document is here, or nobody said what it was for. */
    async settleNumbers(reason) {
        return this.numbers.settle(reason, async (purpose) => {
            const [collection, id] = purpose.split('/');
            if (purpose && !this.database?.[collection]) throw new Error(`open ${collection} first`);
            return !purpose || Boolean(await this.database[collection].findOne(id).exec());
        });
    }

    /** Deletes documents, keys and tokens, then tells the server so. What was begun goes on after a restart. */
    wipe() {
        this.wiping ??= this.#wipe();
        return this.wiping;
    }

    async close() {
        clearInterval(this.timer);
        await this.database?.close();
    }

    async #wipe() {
        clearInterval(this.timer);
        try {
            this.store.beginWipe();
        } catch (error) {
            this.tell({ event: 'error', message: error.message }); // a full disk must not save the rest
        }
        const farewell = await this.session.farewell();
        await Promise.race([this.#dropDatabase(), pause(CLOSING_MS)]);
        await this.store.destroy();
        this.replications = {};
        this.tell({ event: 'wiped' });
        await this.#confirm(farewell);
    }

    async #dropDatabase() {
        await Promise.all(Object.values(this.replications).map((replication) => replication.cancel()));
        await this.database?.remove();
    }

    /** From memory alone: who ends this process before the server has heard it leaves it unheard. */
    async #confirm(farewell) {
        for (let attempt = 1; attempt <= FAREWELLS; attempt += 1) {
            try {
                return this.tell({ event: 'wipeConfirmed', confirmed: await farewell() });
            } catch (error) {
                if (error.code) return this.tell({ event: 'error', message: error.message });
                await pause(this.retryTime * attempt);
            }
        }
    }

    #lookAfter() {
        this.#resync();
        void this.report().catch(() => {});
    }

    #replicate(name) {
        const { type, push, writable } = this.shapes[name];
        this.pushes[name] = { answered: 0, asked: 0, untaken: false };
        const replication = replicateGraphQL({
            collection: this.database[name],
            replicationIdentifier: `${name}-of-${this.deviceId}`,
            url: { http: this.session.url, ws: this.socketUrl },
            fetch: (request) => this.session.fetch(request),
            deletedField: 'deleted',
            waitForLeadership: false,
            retryTime: this.retryTime,
            pull: {
                batchSize: PULL_BATCH,
                queryBuilder: (checkpoint, limit) => this.#page(name, checkpoint, limit),
                streamQueryBuilder: name === this.listener ? () => ({ query: 'subscription { wake }', variables: {} }) : undefined,
                responseModifier: (data, origin, checkpoint) => this.#received(name, data, origin, checkpoint),
                wsOptions: this.#socketOptions(),
            },
            push: writable && {
                batchSize: PUSH_BATCH,
                queryBuilder: (rows) => ({ query: push, variables: { rows: rows.map(wireRow) } }),
                responseModifier: (rows) => this.#pushed(name, rows),
            },
        });
        replication.error$.subscribe((error) => this.#failed(name, type, error));
        return replication;
    }

    #socketOptions() {
        return {
            retryAttempts: Infinity,
            retryWait: () => new Promise((resolve) => setTimeout(resolve, this.retryTime * (0.5 + Math.random()))),
            connectionParams: () => this.session.connectionParams(),
            on: { connected: () => this.#resync(), closed: (event) => this.session.socketClosed(event) },
        };
    }

    async #received(name, data, origin, checkpoint) {
        if (origin === 'stream') this.#resync();
        if (origin === 'stream') return data;
        const page = await this.#afterPushes(name, data, checkpoint);
        await this.#reportLost(name, page.documents);
        this.tell({ event: 'pulled', collection: name, documents: page.documents.length });
        return page;
    }

    /** The page, or a newer one: one that a push has overtaken would bring back what was there before it. */
    async #afterPushes(name, page, checkpoint) {
        for (let again = 0; again < MOST_OVERTAKEN; again += 1) {
            await this.#pushesTakenIn(name);
            if (this.pushes[name].answered === this.pushes[name].asked) return page;
            const { query, variables } = this.#page(name, checkpoint, PULL_BATCH);
            [page] = Object.values(await this.session.ask(query, variables));
        }
        return page;
    }

    /** Waits until RxDB has taken in the answers to the pushes under way. If they fail, it sends them again after this page. */
    async #pushesTakenIn(name) {
        const replication = this.replications[name];
        const pushes = replication?.internalReplicationState?.streamQueue.up;
        if (!pushes) return;
        let failures;
        const failed = new Promise((resolve) => {
            const failure = (error) => error.parameters?.direction === 'push' && !this.pushes[name].untaken && resolve();
            failures = replication.error$.subscribe(failure);
        });
        await Promise.race([pushes.catch(() => {}), failed]);
        failures.unsubscribe();
    }

    #page(name, checkpoint, limit) {
        this.pushes[name].asked = this.pushes[name].answered;
        return { query: this.shapes[name].pull, variables: { checkpoint: checkpoint ?? null, limit } };
    }

    /** One batch of several that are sent at once: RxDB takes in the answers when it has all. */
    #pushed(name, rows) {
        const pushes = this.pushes[name];
        pushes.answered += 1;
        pushes.untaken = true;
        const taken = () => (pushes.untaken = false);
        this.replications[name]?.internalReplicationState?.streamQueue.up.then(taken, taken);
        return rows;
    }

    /** A master older than the one that this terminal has seen, or of a later history: the server was restored. What it had then goes to the inbox. */
    async #reportLost(name, pulled) {
        const { push, writable } = this.shapes[name];
        const replication = this.replications[name]?.internalReplicationState;
        if (!writable || !replication || !pulled.length) return;
        const held = await getAssumedMasterState(replication, pulled.map((document) => document.id));
        const known = new Map(pulled.map((document) => [document.id, document])).values();
        const lost = [...known].filter((document) => document.revision && isOfAnother(held[document.id]?.docData.revision, document.revision));
        for (let start = 0; start < lost.length; start += PUSH_BATCH) {
            const states = lost.slice(start, start + PUSH_BATCH).map(({ id }) => wireState(held[id].docData));
            await this.session.ask(push, { rows: states.map((state) => ({ assumedMasterState: state, newDocumentState: state })) });
        }
    }

    #failed(name, type, error) {
        const causes = error.parameters?.errors ?? [];
        this.lastError = `${type} ${error.parameters?.direction ?? ''}: ${causes.map(sentence).join('; ') || error.message}`.slice(0, LONGEST_MESSAGE);
        this.tell({ event: 'error', collection: name, direction: error.parameters?.direction, message: this.lastError });
    }

    async #find(collection, id) {
        const document = await this.database[collection].findOne(id).exec();
        if (!document) throw new Error(`${collection} ${id} is not on this terminal`);
        return document;
    }

    #checkFields(collection, names) {
        const unknown = names.filter((name) => !this.shapes[collection].fields.includes(name));
        if (unknown.length) throw new Error(`${collection} has no ${unknown.join(', ')}`);
    }

    #resync() {
        for (const replication of Object.values(this.replications)) replication.reSync();
    }

    #stamp() {
        const counter = Number(this.state.getItem('counter') ?? 0) + 1;
        this.state.setItem('counter', String(counter));
        return `${this.deviceId}:${counter}:${this.#now()}`;
    }

    #now() {
        return Date.now() + this.clockSkew;
    }
}

/** Each history of the server has a range of revisions; what wasn't lost with the former one is no news to it. A tombstone has none. */
function isOfAnother(held, pulled) {
    return held > pulled || (held > 0 && Math.ceil(held / REVISIONS) < Math.ceil(pulled / REVISIONS));
}

function sentence(cause) {
    const code = cause.extensions?.code ?? cause.code ?? '';
    return `${code} ${cause.message ?? JSON.stringify(cause)} ${cause.cause?.message ?? ''}`.trim();
}

function wireRow({ assumedMasterState, newDocumentState }) {
    return { assumedMasterState: assumedMasterState ?? null, newDocumentState };
}

function wireState({ _deleted, ...document }) {
    return { ...Object.fromEntries(Object.entries(document).filter(([key]) => !key.startsWith('_'))), deleted: Boolean(_deleted) };
}

function localSchema(fields) {
    const anything = fields.filter((field) => field !== 'id' && field !== 'deleted').map((field) => [field, {}]);
    const properties = { id: { type: 'string', maxLength: 36 }, ...Object.fromEntries(anything) };
    return { version: 0, primaryKey: 'id', type: 'object', properties, required: ['id'] };
}

function plain(document) {
    return document.toJSON();
}

function pause(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** RFC 9562 version 7: milliseconds, then random bits. */
export function uuid7(milliseconds) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    new DataView(bytes.buffer).setBigUint64(0, (BigInt(milliseconds) << 16n) | BigInt(bytes[6] * 256 + bytes[7]));
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const text = hex(bytes.buffer);
    return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-');
}

function hex(buffer) {
    return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
