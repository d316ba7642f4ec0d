// Where a terminal in Node keeps what it has: in memory, or in a folder that survives a restart. There the documents lie in one append-only
// file, key, tokens and numbers in another that its owner alone may read. The free RxDB has no file storage that runs in Node 20, but
// its localstorage one takes any object with that interface.
import * as files from 'node:fs';
import { join } from 'node:path';
import { getRxStorageLocalstorage } from 'rxdb/plugins/storage-localstorage';
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory';
import { MemoryVault } from './vault.mjs';

const COMPACT_AFTER_LINES = 20_000;
const TRANSIENT = 'RxDB-ls-changes-'; // events between browser tabs
const DOCUMENTS = 'terminal.jsonl';
const SECRETS = 'device.json';
const WIPING = 'wiping'; // while this file stands, the rest has to go
const OWNER_ONLY = 0o600;

class FileBackedMap {
    constructor(folder) {
        this.path = join(folder, DOCUMENTS);
        this.values = new Map();
        this.lines = 0;
        this.destroyed = false;
        this.#read();
        this.#compact();
    }

    getItem(key) {
        return this.values.get(key) ?? null;
    }

    setItem(key, value) {
        this.values.set(key, value);
        this.#append([key, value]);
    }

    removeItem(key) {
        this.values.delete(key);
        this.#append([key]);
    }

    keys(prefix) {
        return [...this.values.keys()].filter((key) => key.startsWith(prefix));
    }

    get length() {
        return this.values.size;
    }

    get bytes() {
        return files.statSync(this.path).size;
    }

    key(index) {
        return [...this.values.keys()][index] ?? null;
    }

    destroy() {
        this.destroyed = true;
        this.values.clear();
        for (const path of [this.path, `${this.path}.new`]) files.rmSync(path, { force: true });
    }

    #append(entry) {
        if (this.destroyed || entry[0].startsWith(TRANSIENT)) return;
        files.appendFileSync(this.path, JSON.stringify(entry) + '\n');
        this.lines += 1;
        if (this.lines > COMPACT_AFTER_LINES) this.#compact();
    }

    #read() {
        if (!files.existsSync(this.path)) return;
        for (const line of files.readFileSync(this.path, 'utf8').split('\n')) this.#apply(line);
    }

    #apply(line) {
        try {
            const [key, value] = JSON.parse(line);
            if (value === undefined) this.values.delete(key);
            else this.values.set(key, value);
        } catch {
            // the last line of a killed process may be torn: it was never acknowledged
        }
    }

    #compact() {
        const kept = [...this.values].filter(([key]) => !key.startsWith(TRANSIENT));
        files.writeFileSync(`${this.path}.new`, kept.map((entry) => JSON.stringify(entry) + '\n').join(''), { mode: OWNER_ONLY });
        files.renameSync(`${this.path}.new`, this.path);
        this.lines = kept.length % COMPACT_AFTER_LINES;
    }
}

class MemoryMap extends Map {
    bytes = null; // nobody counts them

    getItem(key) {
        return this.get(key) ?? null;
    }

    setItem(key, value) {
        this.set(key, value);
    }

    removeItem(key) {
        this.delete(key);
    }

    keys(prefix) {
        return [...super.keys()].filter((key) => key.startsWith(prefix));
    }

    destroy() {
        this.clear();
    }
}

/** Each `put` replaces the whole small file and returns when it is on the disk: an empty battery takes nothing back. */
class FileVault extends MemoryVault {
    keepsObjects = false;

    constructor(folder) {
        super();
        this.folder = folder;
        this.path = join(folder, SECRETS);
        if (files.existsSync(this.path)) this.values = JSON.parse(files.readFileSync(this.path, 'utf8'));
    }

    async put(values) {
        const next = { ...this.values, ...values };
        writeThrough(`${this.path}.new`, JSON.stringify(next));
        files.renameSync(`${this.path}.new`, this.path);
        flush(this.folder);
        this.values = next;
    }

    async destroy() {
        await super.destroy();
        for (const path of [this.path, `${this.path}.new`]) files.rmSync(path, { force: true });
    }
}

class MemoryStore {
    mustWipe = false;
    storage = getRxStorageMemory();
    state = new MemoryMap();
    vault = new MemoryVault();

    beginWipe() {}

    async destroy() {
        this.state.destroy();
        await this.vault.destroy();
    }
}

class FolderStore {
    constructor(folder) {
        files.mkdirSync(folder, { recursive: true, mode: 0o700 });
        this.folder = folder;
        this.state = new FileBackedMap(folder);
        this.vault = new FileVault(folder);
        this.storage = getRxStorageLocalstorage({ localStorage: this.state });
    }

    /** A wipe was begun and not ended. */
    get mustWipe() {
        return files.existsSync(join(this.folder, WIPING));
    }

    /** From here on a restart goes on with the wipe, whatever else it finds. */
    beginWipe() {
        writeThrough(join(this.folder, WIPING), '');
        flush(this.folder);
    }

    async destroy() {
        this.state.destroy();
        await this.vault.destroy();
        files.rmSync(join(this.folder, WIPING), { force: true });
        if (!files.readdirSync(this.folder).length) files.rmdirSync(this.folder);
    }
}

function writeThrough(path, text) {
    const file = files.openSync(path, 'w', OWNER_ONLY);
    files.writeSync(file, text);
    files.fsyncSync(file);
    files.closeSync(file);
}

function flush(folder) {
    const handle = files.openSync(folder, 'r');
    files.fsyncSync(handle);
    files.closeSync(handle);
}

/** `storage` for RxDB, `state` for the device's own small values, `vault`; `folder` empty means memory. */
export function openStorage(folder) {
    return folder ? new FolderStore(folder) : new MemoryStore();
}
