// What a record looks like on the wire, asked of the server, so that the terminal holds no copy of the declarations.
const LEAVES = new Set(['SCALAR', 'ENUM']);
const TYPE = 'kind name ofType { kind name ofType { kind name ofType { kind name } } }';

/** collection name -> { type, fields, pull, push, writable }: the GraphQL documents that RxDB needs; not writable is pull-only. */
export async function askShapes(session, collections) {
    const names = collections.map((collection) => collection[0].toUpperCase() + collection.slice(1));
    const parts = names.map((name) => `${name}: __type(name: "${name}") { fields { name args { name } type { ${TYPE} } } }`);
    const types = await session.ask(`query { ${parts.join('\n')} Mutation: __type(name: "Mutation") { fields { name } } }`);
    const mutations = new Set(types.Mutation.fields.map((field) => field.name));
    return Object.fromEntries(names.map((name, index) => [collections[index], shape(name, types[name], mutations)]));
}

function shape(type, described, mutations) {
    if (!described) throw new Error(`the server has no type ${type}`);
    const fields = described.fields.filter(isPlain).map((field) => field.name);
    if (!fields.includes('id') || !fields.includes('deleted')) throw new Error(`${type} lacks id or deleted`);
    return { type, fields, ...documents(type, fields.join(' ')), writable: mutations.has(`push${type}`) };
}

function isPlain(field) {
    return LEAVES.has(innermost(field.type).kind) && !field.args.length && !field.name.startsWith('__');
}

function innermost(type) {
    return type.ofType ? innermost(type.ofType) : type;
}

function documents(type, selection) {
    return {
        pull: `query Pull${type}($checkpoint: CheckpointInput, $limit: Int!) {
            pull${type}(checkpoint: $checkpoint, limit: $limit) { documents { ${selection} } checkpoint { token } } }`,
        push: `mutation Push${type}($rows: [${type}PushRow!]!) { push${type}(rows: $rows) { ${selection} } }`,
    };
}
