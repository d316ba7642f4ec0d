// What must outlive a crash and be gone after a wipe: the device's key, its tokens, its blocks of numbers. A vault has `get(name)`,
// `put(values)`, which returns when they are stored, `destroy()`, and `keepsObjects`: whether it can hold a key that can't be exported.
const DATABASE = 'zhijian-device';
const STORE = 'values';

export class MemoryVault {
    keepsObjects = true;
    values = {};

    get(name) {
        return this.values[name] ?? null;
    }

    async put(values) {
        Object.assign(this.values, values);
    }

    async destroy() {
        this.values = {};
    }
}

/** For a browser: IndexedDB, where the key stays inside WebCrypto. `open` reads it; `name` is one per person. */
export class BrowserVault extends MemoryVault {
    static async open(name) {
        const vault = new BrowserVault();
        vault.name = `${DATABASE}-${name}`;
        vault.database = await opened(vault.name);
        const store = vault.database.transaction(STORE).objectStore(STORE);
        const [keys, values] = await Promise.all([done(store.getAllKeys()), done(store.getAll())]);
        vault.values = Object.fromEntries(keys.map((key, at) => [key, values[at]]));
        return vault;
    }

    async put(values) {
        await super.put(values);
        const transaction = this.database.transaction(STORE, 'readwrite', { durability: 'strict' });
        for (const [name, value] of Object.entries(values)) transaction.objectStore(STORE).put(value, name);
        await new Promise((resolve, reject) => Object.assign(transaction, { oncomplete: resolve, onabort: () => reject(transaction.error) }));
    }

    async destroy() {
        await super.destroy();
        this.database.close();
        await done(indexedDB.deleteDatabase(this.name));
    }
}

async function opened(name) {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    return done(request);
}

function done(request) {
    return new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
}
