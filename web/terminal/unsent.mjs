// Which documents this device has written and the server has not taken yet: counted for the report, exact across restarts.
import { getAssumedMasterState } from 'rxdb/plugins/core';

const PREFIX = 'unsent ';

export class Unsent {
    /** `state` as in storage.mjs. */
    constructor(state) {
        this.state = state;
        this.writing = new Set();
    }

    /** Notes a document before `write` changes it, so that a crash between the two counts one too many, not one too few. */
    async during(collection, id, write) {
        const key = `${PREFIX}${collection} ${id}`;
        this.writing.add(key);
        this.state.setItem(key, '1');
        try {
            return await write();
        } finally {
            this.writing.delete(key);
        }
    }

    /** `replications` by collection; forgets what has been sent. */
    async count(replications) {
        const noted = grouped(this.state.keys(PREFIX));
        const left = [...noted].map(([name, keys]) => this.#left(replications[name], keys));
        return (await Promise.all(left)).reduce((sum, count) => sum + count, 0);
    }

    async #left(replication, keys) {
        const inner = replication?.internalReplicationState;
        if (!inner) return keys.length;
        const ids = keys.map((key) => key.split(' ')[2]);
        const held = new Map((await inner.input.forkInstance.findDocumentsById(ids, true)).map((document) => [document.id, document]));
        const known = await getAssumedMasterState(inner, ids);
        const sent = keys.filter((key, at) => !this.writing.has(key) && isSent(held.get(ids[at]), known[ids[at]]?.docData));
        for (const key of sent) this.state.removeItem(key);
        return keys.length - sent.length;
    }
}

/** The server has it when what it is known to hold has our stamp; each local write has its own. */
function isSent(held, master) {
    return !held || (master !== undefined && held.stamp === master.stamp && held._deleted === master._deleted);
}

function grouped(keys) {
    const found = new Map();
    for (const key of keys) {
        const name = key.split(' ')[1];
        found.set(name, [...(found.get(name) ?? []), key]);
    }
    return found;
}
