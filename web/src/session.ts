/** Who is signed in. The access token lives in memory only; the refresh token in this tab's sessionStorage. */

import { ask, Problem } from './graphql';
import { SIGNED_OUT } from './messages';

export interface User {
  id: string;
  username: string;
  displayName: string;
  role: string;
  areas: { code: string; name: string }[];
}

interface Granted {
  accessToken: string;
  refreshToken: string;
  expiresAt: string;
  user: User;
}

const FIELDS = 'accessToken refreshToken expiresAt user { id username displayName role areas { code name } }';
const LOGIN = `mutation Login($username: String!, $password: String!, $device: DeviceInput!) {
  session: login(username: $username, password: $password, device: $device) { ${FIELDS} } }`;
const REFRESH = `mutation Refresh($token: String!) { session: refresh(refreshToken: $token) { ${FIELDS} } }`;
const KEPT = 'zhijian.refresh';
const EARLY = 60_000; // ms before expiry at which a token is renewed
const DEVICE_FAULTS = new Set(['DEVICE_TAKEN', 'DEVICE_INVALID']);

export class Session {
  user: User | null = null;
  private access = '';
  private endsAt = 0; // on this machine's clock
  private renewing: Promise<void> | null = null;
  private timer = 0;

  /** `ended` is called when the server no longer takes this session. */
  constructor(private readonly ended: (reason: Problem) => void) {}

  async signIn(username: string, password: string): Promise<void> {
    try {
      await this.open(LOGIN, { username, password, device: device(username) });
    } catch (reason) {
      if (reason instanceof Problem && DEVICE_FAULTS.has(reason.code)) localStorage.removeItem(deviceKey(username));
      throw reason;
    }
  }

  static kept(): boolean {
    return sessionStorage.getItem(KEPT) !== null;
  }

  /** Takes up the session of this tab after a reload; false if there is none. */
  async resume(): Promise<boolean> {
    if (!Session.kept()) return false;
    await this.renew();
    return true;
  }

  async signOut(): Promise<void> {
    const token = this.access;
    this.forget();
    await ask('mutation Logout { logout }', {}, token).catch(() => undefined);
  }

  async query<Data>(document: string, variables: object): Promise<Data> {
    try {
      return (await ask<Data>(document, variables, await this.token())).data;
    } catch (reason) {
      if (!(reason instanceof Problem) || reason.code !== 'TOKEN_EXPIRED') throw this.noticed(reason);
    }
    await this.renew();
    return (await ask<Data>(document, variables, this.access)).data;
  }

  /** A token that is good for at least a minute. */
  async token(): Promise<string> {
    if (Date.now() > this.endsAt - EARLY) await this.renew();
    return this.access;
  }

  private renew(): Promise<void> {
    this.renewing ??= this.open(REFRESH, { token: sessionStorage.getItem(KEPT) ?? '' })
      .catch((reason: unknown) => {
        throw this.noticed(reason);
      })
      .finally(() => {
        this.renewing = null;
      });
    return this.renewing;
  }

  private async open(document: string, variables: object): Promise<void> {
    const { data, serverNow } = await ask<{ session: Granted }>(document, variables);
    this.user = data.session.user;
    this.access = data.session.accessToken;
    this.endsAt = Date.now() + Date.parse(data.session.expiresAt) - serverNow;
    sessionStorage.setItem(KEPT, data.session.refreshToken);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.renew().catch(() => undefined), Math.max(this.endsAt - EARLY - Date.now(), 1_000));
  }

  private noticed(reason: unknown): unknown {
    if (reason instanceof Problem && SIGNED_OUT.has(reason.code)) {
      this.forget();
      this.ended(reason);
    }
    return reason;
  }

  private forget(): void {
    clearTimeout(this.timer);
    sessionStorage.removeItem(KEPT);
    this.user = null;
    this.access = '';
    this.endsAt = 0;
  }
}

/** A device id belongs to one person on one browser. */
function deviceKey(username: string): string {
  return `zhijian.device.${username.trim().toLowerCase()}`;
}

function device(username: string): object {
  const key = deviceKey(username);
  const id = localStorage.getItem(key) ?? identifier();
  localStorage.setItem(key, id);
  return { id, name: '监督工作台', platform: 'web', clientVersion: '0.1.0' };
}

/** `crypto.randomUUID` is missing on plain http outside this machine. */
function identifier(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `web-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
