/** Log-in first, then the desk; back to log-in when the session ends. */

import { Desk } from './desk';
import { fill } from './dom';
import { login } from './login';
import { sentence } from './messages';
import { Session } from './session';

const root = document.getElementById('app')!;
let desk: Desk | null = null;
const session = new Session((reason) => showLogin(sentence(reason)));

function showLogin(notice = ''): void {
  desk?.close();
  desk = null;
  document.title = '登录 · 职健';
  fill(root, login(session, notice, showDesk));
  void import('./map'); // loads while the person types
}

function showDesk(): void {
  desk = new Desk(session, () => void leave());
  fill(root, desk.element);
  void desk.start();
}

async function leave(): Promise<void> {
  await session.signOut();
  history.replaceState(null, '', location.pathname);
  showLogin();
}

session.resume().then((resumed) => (resumed ? showDesk() : showLogin()), (reason: unknown) => {
  if (!root.hasChildNodes()) showLogin(sentence(reason));
});
