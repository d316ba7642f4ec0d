/** Log-in first, then the page that the address names. */

import { Desk } from './desk';
import { Devices } from './devices';
import { fill } from './dom';
import { isChief, place, type Page } from './frame';
import { Inbox } from './inbox';
import { login } from './login';
import { sentence } from './messages';
import { Session } from './session';

const root = document.getElementById('app')!;
let page: Page | null = null;
let shown = place();
const session = new Session((reason) => showLogin(sentence(reason)));

function showLogin(notice = ''): void {
  page?.close();
  page = null;
  document.title = '登录 · 职健';
  fill(root, login(session, notice, showPage));
  void import('./map'); // loads while the person types
}

function showPage(): void {
  page?.close();
  shown = place();
  page = made();
  fill(root, page.element);
  void page.start();
}

function made(): Page {
  const out = () => void leave();
  if (place() === 'devices' && isChief(session)) return new Devices(session, out);
  return place() === 'inbox' ? new Inbox(session, out) : new Desk(session, out);
}

async function leave(): Promise<void> {
  await session.signOut();
  history.replaceState(null, '', location.pathname);
  showLogin();
}

window.addEventListener('hashchange', () => {
  if (page && place() !== shown) showPage(); // within a page, its state is its own matter
});

if (Session.kept()) void import('./map'); // loads while the session is taken up
session.resume().then((resumed) => (resumed ? showPage() : showLogin()), (reason: unknown) => {
  if (!root.hasChildNodes()) showLogin(sentence(reason));
});
