// Document numbers for the field: blocks are reserved online, numbers handed out offline, each once, and the unused rest given back.
// What the vault has stored counts: a number is stored as handed out before anybody sees it, so a crash may lose it but never doubles it.
const BLOCK = 'id series area year first last prefix deviceId';
const RESERVE = `mutation ($series: String!, $area: ID!, $count: Int!) { reserveNumbers(series: $series, area: $area, count: $count) { ${BLOCK} } }`;
const LIST = `{ numberBlocks { ${BLOCK} settled } }`;
const SETTLE = `mutation ($id: ID!, $numbers: [Int!]!, $fate: NumberFate!, $reason: String!) {
    settleNumbers(blockId: $id, numbers: $numbers, fate: $fate, reason: $reason) }`;
const DIGITS = 6;

export class Numbers {
    constructor(vault, session) {
        Object.assign(this, { vault, session });
    }

    /** How many numbers are left for this year, in how many blocks. */
    left(series, area) {
        const usable = this.#usable(series, area);
        return { numbers: usable.reduce((sum, block) => sum + block.last - block.next + 1, 0), blocks: usable.length };
    }

    /** Reserves a block of `count` unless so many numbers are left. May be repeated when the answer got lost. */
    async reserve(series, area, count) {
        await this.#adopt();
        if (this.left(series, area).numbers < count) {
            await this.vault.put({ reserving: (await this.#listed()).map((block) => block.id) });
            await this.#keep([(await this.session.ask(RESERVE, { series, area, count })).reserveNumbers]);
        }
        return this.left(series, area);
    }

    /** The next number, for good; `purpose` says what for (`inspection/ID`). Works offline. */
    async take(series, area, purpose) {
        const [block] = this.#usable(series, area);
        if (!block) throw new Error(`NUMBERS_EXHAUSTED 没有可用的文号（${series} ${area}），请联网预留`);
        const number = block.next;
        block.next += 1;
        block.taken[number] = purpose ?? '';
        await this.vault.put({ blocks: this.#blocks() });
        return `${block.prefix}${String(number).padStart(DIGITS, '0')}`;
    }

    /** Gives back what was never handed out and voids what was, but has no document; `exists(purpose)` says whether it has one. */
    async settle(reason, exists) {
        await this.#adopt();
        const settled = { returned: 0, voided: 0 };
        for (const block of [...this.#blocks()]) {
            block.closing ??= await closing(block, exists);
            await this.vault.put({ blocks: this.#blocks() }); // nobody gets a number of it any more
            await this.#settle(block, reason);
            settled.returned += block.closing.returned.length;
            settled.voided += block.closing.voided.length;
            await this.vault.put({ blocks: this.#blocks().filter((kept) => kept !== block) });
        }
        return settled;
    }

    async #settle(block, reason) {
        const { returned, voided } = block.closing;
        const known = (await this.#listed()).find(({ id }) => id === block.id);
        if (!known || known.settled >= returned.length + voided.length) return; // the answer got lost
        await this.#tell(block, returned, 'RETURNED', reason);
        await this.#tell(block, voided, 'VOID', `${reason}；已取号而文书未形成`);
    }

    /** All at once; one by one where some are settled already, by a lost answer or by the supervisor. */
    async #tell(block, numbers, fate, reason) {
        if (!numbers.length) return;
        try {
            await this.session.ask(SETTLE, { id: block.id, numbers, fate, reason });
        } catch (error) {
            if (error.code !== 'NUMBER_SETTLED') throw error;
            if (numbers.length > 1) for (const number of numbers) await this.#tell(block, [number], fate, reason);
        }
    }

    /** Blocks of a reservation whose answer never came. Others that the server lists are not ours to use: we may have used them before. */
    async #adopt() {
        const before = this.vault.get('reserving');
        if (before) await this.#keep((await this.#listed()).filter((block) => !before.includes(block.id)));
    }

    async #keep(blocks) {
        const fresh = blocks.map(({ settled, deviceId, ...block }) => ({ ...block, next: block.first, taken: {} }));
        await this.vault.put({ blocks: [...this.#blocks(), ...fresh], reserving: null });
    }

    async #listed() {
        const { numberBlocks } = await this.session.ask(LIST);
        return numberBlocks.filter((block) => block.deviceId === this.session.device.id);
    }

    #usable(series, area) {
        const year = new Date(this.session.serverNow).getUTCFullYear();
        const fits = (block) => block.series === series && block.area === area && block.year === year && !block.closing;
        return this.#blocks().filter((block) => fits(block) && block.next <= block.last);
    }

    #blocks() {
        return this.vault.get('blocks') ?? [];
    }
}

async function closing({ next, last, taken }, exists) {
    const returned = Array.from({ length: last - next + 1 }, (_, index) => next + index);
    const used = await Promise.all(Object.entries(taken).map(async ([number, purpose]) => [Number(number), await exists(purpose)]));
    return { returned, voided: used.filter(([, found]) => !found).map(([number]) => number) };
}
