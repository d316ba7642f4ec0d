/** The conflict inbox: what lost or was refused, and a person's decision on it. */

import { count } from './scale';
import { fill, make } from './dom';
import { askPerson, moment, top, type Page } from './frame';
import { sentence } from './messages';
import type { Session } from './session';

interface Conflict {
  id: string;
  recordLabel: string;
  documentLabel: string | null;
  fieldLabel: string | null;
  policy: string | null;
  outcome: string;
  outcomeLabel: string;
  code: string | null;
  message: string | null;
  base: unknown;
  mine: unknown;
  theirs: unknown;
  authorName: string | null;
  deviceName: string | null;
  occurredAt: string;
  resolutionLabel: string | null;
  resolvedBy: string | null;
  resolvedAt: string | null;
}

interface Found {
  conflicts: { nodes: Conflict[]; totalCount: number; hasNextPage: boolean; endCursor: string | null };
}

type Take = 'MINE' | 'THEIRS' | 'VALUE';

const CONFLICTS = `query Conflicts($filter: ConflictInboxFilter, $after: String) {
  conflicts(filter: $filter, first: 50, after: $after) { totalCount hasNextPage endCursor nodes { id recordLabel documentLabel fieldLabel policy outcome
    outcomeLabel code message base mine theirs authorName deviceName occurredAt resolutionLabel resolvedBy resolvedAt } } }`;
const RESOLVE = 'mutation Resolve($id: ID!, $take: Take!, $value: JSON) { resolveConflict(id: $id, take: $take, value: $value) }';
const OUTCOMES: [string, string][] = [['', '全部结果'], ['LOST', '被取代'], ['REFUSED', '被拒绝'], ['MANUAL', '待裁定']];

export class Inbox implements Page {
  readonly element: HTMLElement;
  private readonly list = make('ol', { class: 'conflicts' });
  private readonly more = make('button', { type: 'button', class: 'quiet', hidden: true, click: () => void this.load(this.cursor) }, '更多');
  private readonly notice = make('p', { class: 'notice', role: 'alert', hidden: true });
  private readonly summary = make('p', { class: 'summary', 'aria-live': 'polite' });
  private readonly outcome = make('select', { 'aria-label': '结果', change: () => void this.load(null) }, ...OUTCOMES.map(([value, label]) => make('option', { value }, label)));
  private readonly settled = make('input', { type: 'checkbox', change: () => void this.load(null) });
  private cursor: string | null = null;

  constructor(private readonly session: Session, leave: () => void) {
    this.element = make('div', { class: 'desk' }, top(session, 'inbox', leave),
      make('section', { class: 'bar', 'aria-label': '冲突概况' }, make('h2', { class: 'title' }, '冲突箱'), this.summary, this.notice, this.outcome,
        make('label', { class: 'switch' }, this.settled, '含已处理'),
        make('button', { type: 'button', class: 'quiet', 'aria-label': '刷新', title: '重新读取数据', click: () => void this.load(null) }, '↻')),
      make('main', { class: 'sheet' }, this.list, this.more));
  }

  async start(): Promise<void> {
    document.title = '冲突箱 · 职健';
    await this.load(null);
  }

  close(): void {}

  private async load(after: string | null): Promise<void> {
    await this.attempt(async () => {
      const filter = { ...(this.settled.checked ? {} : { open: true }), ...(this.outcome.value ? { outcome: this.outcome.value } : {}) };
      const { conflicts } = await this.session.query<Found>(CONFLICTS, { filter, after });
      const items = conflicts.nodes.map((conflict) => this.item(conflict));
      if (after) this.list.append(...items);
      else fill(this.list, ...items);
      if (!this.list.childElementCount) fill(this.list, make('li', { class: 'none' }, '没有需要处理的冲突'));
      this.cursor = conflicts.endCursor;
      this.more.hidden = !conflicts.hasNextPage;
      this.summary.textContent = `${count(conflicts.totalCount)} 条${this.settled.checked ? '' : '待处理'}`;
    });
  }

  private item(conflict: Conflict): HTMLElement {
    const side = (label: string, value: unknown, kind: string) => make('div', { class: `side ${kind}` }, make('dt', {}, label), make('dd', {}, shown(value)));
    const who = [conflict.authorName, conflict.deviceName].filter(Boolean).join(' · ');
    return make('li', { 'data-id': conflict.id },
      make('header', {}, make('span', { class: `state ${conflict.outcome === 'LOST' ? 'none' : 'no'}` }, conflict.outcomeLabel),
        make('b', {}, conflict.documentLabel ?? '（无权查看的记录）'), make('span', {}, [conflict.recordLabel, conflict.fieldLabel].filter(Boolean).join(' › ')),
        make('time', { datetime: conflict.occurredAt }, `${who}　${moment(conflict.occurredAt)}`)),
      conflict.message ? make('p', { class: 'why' }, conflict.message) : null,
      make('dl', { class: 'sides' }, side('原值', conflict.base, 'base'), side('终端的值', conflict.mine, 'mine'), side('服务器的值', conflict.theirs, 'theirs')),
      conflict.resolvedAt
        ? make('p', { class: 'done' }, `${conflict.resolvedBy ?? ''} ${moment(conflict.resolvedAt)} ${conflict.resolutionLabel ?? ''}`)
        : make('div', { class: 'deeds' }, ...this.deeds(conflict)));
  }

  private deeds(conflict: Conflict): HTMLElement[] {
    const deed = (label: string, act: () => void) => make('button', { type: 'button', class: 'quiet', click: act }, label);
    if (!conflict.policy) return [deed('知悉，结案', () => void this.settle(conflict, 'THEIRS'))]; // a whole row can't be adopted: it is corrected in the field
    const found = [deed('采用终端的值', () => void this.settle(conflict, 'MINE')), deed('保留服务器的值', () => void this.settle(conflict, 'THEIRS'))];
    return isSimple(conflict) ? [...found, deed('另填…', () => void this.askValue(conflict))] : found;
  }

  private async askValue(conflict: Conflict): Promise<void> {
    const input = make('input', { value: plain(conflict.theirs), 'aria-label': '新的值' });
    const list = Array.isArray(sample(conflict));
    const hint = make('p', {}, list ? '多个值用顿号或逗号隔开；留空表示没有。' : '留空表示没有。');
    const given = await askPerson(`${conflict.documentLabel ?? ''} ${conflict.fieldLabel ?? ''}`, [input, hint], '采用这个值', () => ({ value: typed(input.value, sample(conflict)) }));
    if (given) await this.settle(conflict, 'VALUE', given.value);
  }

  private async settle(conflict: Conflict, take: Take, value?: unknown): Promise<void> {
    await this.attempt(async () => {
      await this.session.query(RESOLVE, { id: conflict.id, take, ...(take === 'VALUE' ? { value } : {}) });
      await this.load(null);
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

function sample({ theirs, mine, base }: Conflict): unknown {
  return theirs ?? mine ?? base;
}

/** Whether a person can type the value: a word, a number, or a list of words. */
function isSimple(conflict: Conflict): boolean {
  const value = sample(conflict);
  return Array.isArray(value) ? value.every((one) => typeof one === 'string') : value === null || value === undefined || typeof value !== 'object';
}

function typed(text: string, like: unknown): unknown {
  const cleaned = text.trim();
  if (Array.isArray(like)) return cleaned.split(/[、,，]/).map((part) => part.trim()).filter(Boolean);
  if (!cleaned) return null;
  if (typeof like === 'boolean') return cleaned === '是' || cleaned === 'true';
  return typeof like === 'number' && Number.isFinite(Number(cleaned)) ? Number(cleaned) : cleaned;
}

function plain(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) return value.join('、');
  if (typeof value === 'boolean') return value ? '是' : '否';
  return typeof value === 'object' ? JSON.stringify(value, null, 1) : String(value);
}

function shown(value: unknown): HTMLElement | string {
  return plain(value) || make('i', {}, '空');
}
