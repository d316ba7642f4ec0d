/** One GraphQL request over HTTP. A refusal becomes a `Problem` with the server's stable code. */

interface Answer<Data> {
  data?: Data | null;
  errors?: { message: string; extensions?: { code?: string } }[];
}

export class Problem extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export interface Reply<Data> {
  data: Data;
  /** The server's clock in ms, to judge expiry on a machine whose clock is wrong. */
  serverNow: number;
}

export async function ask<Data>(query: string, variables: object, token?: string): Promise<Reply<Data>> {
  const response = await send(JSON.stringify({ query, variables }), token);
  const answer = await read<Data>(response);
  const [problem] = answer.errors ?? [];
  if (problem) throw new Problem(problem.extensions?.code ?? 'UNKNOWN', problem.message);
  if (!answer.data) throw new Problem(`HTTP_${response.status}`, response.statusText);
  return { data: answer.data, serverNow: Date.parse(response.headers.get('date') ?? '') || Date.now() };
}

async function send(body: string, token?: string): Promise<Response> {
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    accept: 'application/graphql-response+json, application/json;q=0.9',
  };
  if (token) headers['authorization'] = `Bearer ${token}`;
  try {
    return await fetch('/graphql', { method: 'POST', headers, body });
  } catch {
    throw new Problem('OFFLINE', 'the server cannot be reached');
  }
}

async function read<Data>(response: Response): Promise<Answer<Data>> {
  try {
    return (await response.json()) as Answer<Data>;
  } catch {
    throw new Problem(`HTTP_${response.status}`, 'the answer is not JSON');
  }
}
