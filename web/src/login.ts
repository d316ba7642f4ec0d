/** The log-in form. */

import { make } from './dom';
import { Problem } from './graphql';
import { sentence } from './messages';
import type { Session } from './session';

export function login(session: Session, notice: string, done: () => void): HTMLElement {
  const username = make('input', { name: 'username', id: 'username', autocomplete: 'username', required: true, autocapitalize: 'off', spellcheck: 'false' });
  const password = make('input', { name: 'password', id: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const message = make('p', { class: 'login-message', role: 'alert' }, notice);
  const button = make('button', { type: 'submit', class: 'primary' }, '登录');

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    button.disabled = true;
    button.textContent = '正在登录…';
    message.textContent = '';
    try {
      if (!username.value.trim() || !password.value) throw new Problem('EMPTY', '');
      await session.signIn(username.value.trim(), password.value);
      done();
    } catch (reason) {
      message.textContent = sentence(reason);
      button.disabled = false;
      button.textContent = '登录';
      password.select();
      password.focus();
    }
  }

  const form = make('form', { class: 'login-card', novalidate: true, submit: (event) => void submit(event) },
    make('div', { class: 'brand-mark', 'aria-hidden': 'true' }, '职健'),
    make('h1', {}, '职业健康监督工作台'),
    make('p', { class: 'login-lead' }, '查看辖区职业卫生协管员覆盖情况'),
    make('label', { for: 'username' }, '用户名'), username,
    make('label', { for: 'password' }, '密码'), password,
    message, button,
  );
  queueMicrotask(() => username.focus());
  return make('main', { class: 'login' }, form, make('p', { class: 'login-foot' }, '职健 · 职业健康现场监督平台'));
}
