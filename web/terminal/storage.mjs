// Where a terminal keeps its documents: in memory, or in one append-only file per database that survives a restart.
// The free RxDB has no file storage that runs in Node 20, but its localstorage one takes any object with that interface.
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getRxStorageLocalstorage } from 'rxdb/plugins/storage-localstorage';
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory';

const COMPACT_AFTER_LINES = 20_000;
const TRANSIENT = 'RxDB-ls-changes-'; // events between browser tabs

class FileBackedMap {
    constructor(folder) {
        mkdirSync(folder, { recursive: true });
        this.path = join(folder, 'terminal.jsonl');
        this.values = new Map();
        this.lines = 0;
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

    get length() {
        return this.values.size;
    }

    key(index) {
        return [...this.values.keys()][index] ?? null;
    }

    #append(entry) {
        if (entry[0].startsWith(TRANSIENT)) return;
        appendFileSync(this.path, JSON.stringify(entry) + '\n');
        this.lines += 1;
        if (this.lines > COMPACT_AFTER_LINES) this.#compact();
    }

    #read() {
        if (!existsSync(this.path)) return;
        for (const line of readFileSync(this.path, 'utf8').split('\n')) this.#apply(line);
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
        writeFileSync(`${this.path}.new`, kept.map((entry) => JSON.stringify(entry) + '\n').join(''));
        renameSync(`${this.path}.new`, this.path);
        this.lines = kept.length % COMPACT_AFTER_LINES;
    }
}

class MemoryMap extends Map {
    getItem(key) {
        return this.get(key) ?? null;
    }

    setItem(key, value) {
        this.set(key, value);
    }
}

/** The RxDB storage and a small key-value store for the device's own state; `folder` empty means memory. */
export function openStorage(folder) {
    if (!folder) return { storage: getRxStorageMemory(), state: new MemoryMap() };
    const file = new FileBackedMap(folder);
    return { storage: getRxStorageLocalstorage({ localStorage: file }), state: file };
}
