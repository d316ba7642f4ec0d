/** The terminals of a supervisor's people: who was last seen when, who is behind, who is lost. */

import { count } from './scale';
import { fill, make } from './dom';
import { ago, askPerson, moment, ROLES, top, type Page } from './frame';
import { sentence } from './messages';
import type { Session } from './session';

interface Device {
  id: string;
  userId: string;
  username: string;
  displayName: string;
  name: string;
  platform: string;
  clientVersion: string;
  outdated: boolean;
  enrolledAt: string | null;
  lastSeenAt: string;
  clockOffsetMs: number | null;
  offlineBytes: number | null;
  unsent: number | null;
  reportedAt: string | null;
  lag: number | null;
  revokedAt: string | null;
  revokedFor: string | null;
  wipedAt: string | null;
  unsentUnknownSince: string | null;
}

const DEVICES = `{ devices { id userId username displayName name platform clientVersion outdated enrolledAt lastSeenAt clockOffsetMs
  offlineBytes unsent reportedAt lag revokedAt revokedFor wipedAt unsentUnknownSince } }`;
const REVOKE = 'mutation Revoke($id: ID!, $reason: String!) { revokeDevice(id: $id, reason: $reason) }';
const USERS = 'query Users($search: String!) { users(search: $search, first: 20) { nodes { id username displayName role active devices } hasNextPage } }';
const CODE = 'mutation Code($user: ID!) { issueDeviceCode(userId: $user) { code expiresAt } }';
const SILENT_MS = 3 * 86_400_000; // a field day and a weekend
const CLOCK_OFF_MS = 300_000; // from where the merge clips it (design: 5 min)
const COLUMNS = ['人员', '终端', '最近联系', '落后', '未发送', '离线包', '版本', '状态', '操作'];

interface Person {
  id: string;
  username: string;
  displayName: string;
  role: string;
  active: boolean;
  devices: number;
}

export class Devices implements Page {
  readonly element: HTMLElement;
  private readonly body = make('tbody');
  private readonly notice = make('p', { class: 'notice', role: 'alert', hidden: true });
  private readonly summary = make('p', { class: 'summary', 'aria-live': 'polite' });
  private readonly search = make('input', { type: 'search', placeholder: '姓名、用户名或终端', 'aria-label': '查找终端', input: () => this.show() });
  private readonly troubled = make('input', { type: 'checkbox', change: () => this.show() });
  private devices: Device[] = [];

  constructor(private readonly session: Session, leave: () => void) {
    this.element = make('div', { class: 'desk' }, top(session, 'devices', leave),
      make('section', { class: 'bar', 'aria-label': '终端概况' }, make('h2', { class: 'title' }, '终端'), this.summary, this.notice, this.search,
        make('label', { class: 'switch' }, this.troubled, '只看需要处理的'),
        make('button', { type: 'button', class: 'quiet', click: () => void this.newDevice() }, '新终端'),
        make('button', { type: 'button', class: 'quiet', 'aria-label': '刷新', title: '重新读取数据', click: () => void this.start() }, '↻')),
      make('main', { class: 'sheet' }, make('table', { class: 'list devices' },
        make('thead', {}, make('tr', {}, ...COLUMNS.map((label) => make('th', { scope: 'col' }, label)))), this.body)));
  }

  async start(): Promise<void> {
    document.title = '终端 · 职健';
    await this.attempt(async () => {
      this.devices = (await this.session.query<{ devices: Device[] }>(DEVICES, {})).devices;
      this.devices.sort((one, other) => Number(trouble(other) !== null) - Number(trouble(one) !== null) || other.lastSeenAt.localeCompare(one.lastSeenAt));
      this.show();
    });
  }

  close(): void {}

  private show(): void {
    const wanted = this.search.value.trim().toLowerCase();
    const found = this.devices.filter((device) => (!this.troubled.checked || trouble(device)) &&
      [device.displayName, device.username, device.name, device.id].some((text) => text.toLowerCase().includes(wanted)));
    const open = this.devices.filter((device) => !device.revokedAt);
    this.summary.textContent = `${open.length} 台在用，${this.devices.filter(trouble).length} 台需要处理`;
    fill(this.body, ...found.map((device) => this.row(device)));
    if (!found.length) fill(this.body, make('tr', { class: 'none' }, make('td', { colspan: String(COLUMNS.length) }, '没有符合条件的终端')));
  }

  private row(device: Device): HTMLElement {
    const problem = trouble(device);
    const cell = (kind: string, ...children: (Node | string | null)[]) => make('td', { class: kind }, ...children);
    const small = (text: string) => make('small', {}, text);
    return make('tr', { 'data-id': device.id, class: device.revokedAt ? 'locked' : '' },
      make('th', { scope: 'row' }, device.displayName || device.username, small(device.username)),
      cell('', device.name || device.id, small(device.platform || device.id)),
      cell('', make('span', { title: moment(device.lastSeenAt) }, ago(device.lastSeenAt)), clock(device)),
      cell('number', device.lag === null ? '—' : count(device.lag)),
      cell('number', unsent(device)),
      cell('number', device.offlineBytes === null ? '—' : megabytes(device.offlineBytes)),
      cell('', device.clientVersion.replace('zhijian-terminal ', '') || '—', device.outdated ? make('span', { class: 'state no' }, '过旧') : null),
      cell('', make('span', { class: `state ${problem ? 'no' : device.enrolledAt && !device.revokedAt ? 'yes' : 'none'}` }, problem ?? (device.revokedAt ? '已停用' : device.enrolledAt ? '有密钥' : '无密钥')),
        device.revokedAt ? small(`${moment(device.revokedAt)} ${device.revokedFor ?? ''}`) : null),
      cell('deeds', device.revokedAt ? null : make('button', { type: 'button', class: 'link', click: () => void this.revoke(device) }, '停用'),
        make('button', { type: 'button', class: 'link', click: () => void this.code(device.userId, device.displayName || device.username) }, '注册码')));
  }

  private async revoke(device: Device): Promise<void> {
    const reason = make('textarea', { rows: '3', required: true, placeholder: '例如：外勤途中丢失', 'aria-label': '停用原因' });
    const held = device.unsent === null ? '它从未报告过未发送的数目' : `它上次报告有 ${count(device.unsent)} 份未发送`;
    const since = make('p', {}, `最近联系：${ago(device.lastSeenAt)}。${held}；停用后未到服务器的内容视为未知，终端下次联网即被拒绝并清除自身。`);
    const given = await askPerson(`停用 ${device.displayName || device.username} 的 ${device.name || device.id}`, [since, reason], '停用并要求清除',
      () => reason.value.trim() || null, 'danger');
    if (given) await this.attempt(async () => {
      await this.session.query(REVOKE, { id: device.id, reason: given });
      await this.start();
    });
  }

  /** For a person who may have no terminal yet. */
  private async newDevice(): Promise<void> {
    const choices = make('div', { class: 'people', role: 'radiogroup', 'aria-label': '人员' });
    let people: Person[] = [];
    const chosen = () => people.find((person) => person.id === choices.querySelector<HTMLInputElement>('input:checked')?.value) ?? null;
    const search = make('input', { type: 'search', placeholder: '姓名或用户名', 'aria-label': '查找人员', input: () => void find() });
    const find = async () => {
      const wanted = search.value.trim();
      const { users } = await this.session.query<{ users: { nodes: Person[]; hasNextPage: boolean } }>(USERS, { search: wanted });
      if (wanted !== search.value.trim()) return; // an answer that was overtaken
      people = users.nodes.filter((person) => person.active);
      fill(choices, ...people.map(choice), users.hasNextPage ? make('p', {}, '还有更多，请输入姓名或用户名') : null,
        people.length ? null : make('p', {}, '没有这样的人员'));
    };
    await this.attempt(async () => {
      await find();
      const person = await askPerson('给谁的新终端', [search, choices], '发注册码', chosen);
      if (person) await this.code(person.id, person.displayName || person.username);
    });
  }

  private async code(userId: string, name: string): Promise<void> {
    await this.attempt(async () => {
      const { issueDeviceCode: made } = await this.session.query<{ issueDeviceCode: { code: string; expiresAt: string } }>(CODE, { user: userId });
      const code = make('output', { class: 'code' }, made.code);
      const hint = make('p', {}, `在${name}的新终端上输入，只能用一次，${moment(made.expiresAt)} 前有效。`);
      await askPerson('终端注册码', [code, hint], '好', () => true, 'news');
    });
  }

  private async attempt(deed: () => Promise<void>): Promise<void> {
    try {
      this.notice.hidden = true;
      await deed();
    } catch (reason) {
      this.notice.hidden = false;
      this.notice.textContent = sentence(reason);
    }
  }
}

function choice(person: Person): HTMLElement {
  const kept = person.devices ? `已有 ${person.devices} 台终端` : '还没有终端';
  return make('label', {}, make('input', { type: 'radio', name: 'person', value: person.id }), person.displayName || person.username,
    make('small', {}, ` ${person.username} · ${ROLES[person.role] ?? person.role} · ${kept}`));
}

/** Why somebody should look at a device; null when nobody has to. */
function trouble(device: Device): string | null {
  if (device.revokedAt) return device.wipedAt ? null : '待清除';
  if (device.outdated) return '版本过旧';
  const silent = Date.now() - Date.parse(device.lastSeenAt) > SILENT_MS;
  if (silent && (device.unsent ?? 0) > 0) return '失联且有未发送';
  return null;
}

function unsent(device: Device): HTMLElement {
  const known = device.unsent === null ? '—' : count(device.unsent);
  if (device.unsentUnknownSince) return make('span', { title: `${moment(device.unsentUnknownSince)} 之后写的内容未知` }, `${known} + 未知`);
  return make('span', { title: device.reportedAt ? `${moment(device.reportedAt)} 报告` : '从未报告' }, known);
}

function clock(device: Device): HTMLElement | null {
  const off = device.clockOffsetMs ?? 0;
  if (Math.abs(off) < CLOCK_OFF_MS) return null;
  return make('small', { class: 'off' }, `时钟${off > 0 ? '慢' : '快'} ${Math.round(Math.abs(off) / 60_000)} 分钟`);
}

function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
