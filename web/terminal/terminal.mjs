// The process: one JSON object a line on stdin, `{request, command, ...arguments}`, one on stdout, `{request, result}` or `{request, error}`,
// and `{event, ...}` in between. Ends with its parent. See README.md.
import { createInterface } from 'node:readline';
import { Device } from './device.mjs';
import { openStorage } from './storage.mjs';

const DEFAULT_TIMEOUT_MS = 60_000;
const PLATFORM = `node ${process.version}`;
let device = null;

const COMMANDS = {
    start: async ({ folder, ...options }) => void (device = new Device({ platform: PLATFORM, ...options }, openStorage(folder), write)),
    enrol: ({ code }) => device.session.enrol(code),
    resume: async () => device.session.resume(),
    login: ({ username, password }) => device.login(username, password),
    open: ({ collections }) => device.open(collections),
    refresh: async () => void (await device.session.refresh()),
    ask: ({ query, variables }) => device.session.ask(query, variables),
    sync: () => device.sync(),
    online: async () => device.setOnline(true),
    offline: async () => device.setOnline(false),
    edit: (options) => device.edit(options),
    insert: (options) => device.insert(options),
    remove: (options) => device.remove(options),
    get: (options) => device.get(options),
    find: (options) => device.find(options),
    count: () => device.count(),
    digest: () => device.digest(),
    report: () => device.report(),
    reserve: ({ series, area, count }) => device.numbers.reserve(series, area, count),
    number: ({ series, area, purpose }) => device.numbers.take(series, area, purpose),
    settle: ({ reason }) => device.settleNumbers(reason),
    conflicts: () => device.find({ collection: 'syncConflict' }),
    quit: () => quit(),
};

function write(line) {
    process.stdout.write(JSON.stringify(line) + '\n');
}

async function answer(line) {
    let request = null;
    try {
        const { command, timeout, ...options } = JSON.parse(line);
        request = options.request;
        if (!Object.hasOwn(COMMANDS, command)) throw new Error(`unknown command ${command}`);
        if (!device && command !== 'start' && command !== 'quit') throw new Error('start comes first');
        if (device?.wiping && command !== 'quit') throw new Error('DEVICE_WIPED the terminal was wiped');
        const result = await within(timeout ?? DEFAULT_TIMEOUT_MS, command, COMMANDS[command](options));
        write({ request, result: result ?? null });
    } catch (error) {
        write({ request, error: error.message ?? String(error) });
    }
}

function within(milliseconds, command, work) {
    let timer;
    const expired = new Promise((_, reject) => {
        const sentence = () => `${command} took longer than ${milliseconds} ms; last error: ${device?.lastError ?? 'none'}`;
        timer = setTimeout(() => reject(new Error(sentence())), milliseconds);
    });
    return Promise.race([Promise.resolve(work), expired]).finally(() => clearTimeout(timer));
}

async function quit() {
    setTimeout(() => process.exit(0), 2_000).unref();
    await device?.close();
    setImmediate(() => process.exit(0));
}

process.on('unhandledRejection', (error) => write({ event: 'error', message: String(error?.stack ?? error) }));
process.on('SIGINT', () => {}); // Ctrl-C is the parent's to handle; it closes our stdin
createInterface({ input: process.stdin }).on('line', answer).on('close', quit);
