/** What the pages of the desk share: the bar at the top, with who is signed in and where else one can go. */

import { make } from './dom';
import type { Session } from './session';

export interface Page {
  readonly element: HTMLElement;
  start(): Promise<void>;
  close(): void;
}

export type Place = 'map' | 'devices' | 'inbox';

export const ROLES: Record<string, string> = { ADMIN: '管理员', SUPERVISOR: '主管', INSPECTOR: '执法人员', COORDINATOR: '协管员', CDC: '疾控', REHAB: '康复站（点）人员',
  EXPERT: '专家', ENTERPRISE: '用人单位', EXAM: '职业健康检查机构', DIAGNOSIS: '职业病诊断机构', SERVICE: '技术服务机构', DEPARTMENT: '其他部门', PUBLIC: '公众' };
const CHIEFS = new Set(['ADMIN', 'SUPERVISOR']);
const PLACES: { place: Place; label: string; chief: boolean }[] = [
  { place: 'map', label: '覆盖', chief: false },
  { place: 'devices', label: '终端', chief: true },
  { place: 'inbox', label: '冲突箱', chief: false },
];

/** The page that the address names; the map where it names none. */
export function place(): Place {
  const [named] = location.hash.split('?'); // what follows is the page's own state
  const found = PLACES.find((one) => named === `#/${one.place}`);
  return found?.place ?? 'map';
}

export function isChief(session: Session): boolean {
  return CHIEFS.has(session.user?.role ?? '');
}

export function navigation(session: Session, current: Place): HTMLElement {
  const links = PLACES.filter((one) => !one.chief || isChief(session)).map((one) =>
    make('a', { href: `#/${one.place}`, ...(one.place === current ? { 'aria-current': 'page' } : {}) }, one.label));
  return make('nav', { class: 'places', 'aria-label': '页面' }, ...links);
}

export function top(session: Session, current: Place, leave: () => void): HTMLElement {
  const { user } = session;
  return make('header', { class: 'top' }, make('span', { class: 'brand', 'aria-hidden': 'true' }, '职健'),
    make('h1', {}, '职业健康监督工作台'), navigation(session, current),
    make('span', { class: 'who' }, make('b', {}, user?.displayName || user?.username || ''), ` ${ROLES[user?.role ?? ''] ?? ''}`),
    make('button', { type: 'button', class: 'quiet', click: leave }, '退出'));
}

const TIME = new Intl.DateTimeFormat('zh-CN', { month: 'numeric', day: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false });

export function moment(at: string): string {
  return TIME.format(new Date(at));
}

/** 3 分钟前, 2 小时前, 5 天前; the moment itself beyond a month. */
export function ago(at: string, now = Date.now()): string {
  const minutes = Math.max(0, Math.floor((now - Date.parse(at)) / 60_000));
  if (minutes < 1) return '刚刚';
  if (minutes < 60) return `${minutes} 分钟前`;
  if (minutes < 60 * 24) return `${Math.floor(minutes / 60)} 小时前`;
  const days = Math.floor(minutes / 60 / 24);
  return days <= 30 ? `${days} 天前` : moment(at);
}

/** A question over the page; resolves to what `read` finds when it is confirmed, to null when it is not. */
export function askPerson<Answer>(title: string, content: (Node | string)[], confirm: string, read: () => Answer | null, kind: 'question' | 'danger' | 'news' = 'question'): Promise<Answer | null> {
  return new Promise((resolve) => {
    const dialog = make('dialog', { class: 'question', 'aria-label': title });
    let answer: Answer | null = null;
    const form = make('form', { method: 'dialog', submit: (event) => {
      answer = read();
      if (answer === null) event.preventDefault();
    } }, make('h2', {}, title), ...content, make('div', { class: 'choices' },
      kind === 'news' ? null : make('button', { type: 'button', class: 'quiet', click: () => dialog.close() }, '取消'),
      make('button', { type: 'submit', class: kind === 'danger' ? 'primary danger' : 'primary' }, confirm)));
    dialog.append(form);
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
