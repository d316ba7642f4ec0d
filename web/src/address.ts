/** The address of the page holds its state, so that a link shows what its sender saw. */

import type { Level } from './coverage';

export interface Address {
  area: string | null;
  level: Level | null;
  selected: string | null;
}

const CODE = /^(\d{6}|\d{9}|J\w+)$/;

export function read(): Address {
  const query = new URLSearchParams(location.search);
  const code = (name: string) => (CODE.test(query.get(name) ?? '') ? query.get(name) : null);
  return { area: code('area'), level: (query.get('level')?.toUpperCase() as Level | undefined) ?? null, selected: code('at') };
}

export function write(address: Address, how: 'push' | 'replace'): void {
  const query = new URLSearchParams();
  if (address.area) query.set('area', address.area);
  if (address.level) query.set('level', address.level.toLowerCase());
  if (address.selected) query.set('at', address.selected);
  const target = query.size ? `?${query}` : location.pathname;
  if (target === (location.search || location.pathname)) return;
  history[how === 'push' ? 'pushState' : 'replaceState'](null, '', target);
}
