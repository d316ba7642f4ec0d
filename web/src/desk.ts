/** The desk: where one stands, the map, the table, and what goes between them. */

import * as address from './address';
import { count, LEVEL_NAMES, percent, picture, type Level, type Picture, type Row } from './coverage';
import { fill, make } from './dom';
import { top, type Page } from './frame';
import { legend } from './legend';
import type { CoverageMap } from './map';
import { sentence } from './messages';
import type { Session } from './session';
import { Table } from './table';

const COUNTRY = '000000';

export class Desk implements Page {
  readonly element: HTMLElement;
  private readonly crumbs = make('nav', { class: 'crumbs', 'aria-label': '所在地区' });
  private readonly levels = make('div', { class: 'levels', role: 'group', 'aria-label': '统计级别' });
  private readonly facts = make('dl', { class: 'facts' });
  private readonly notice = make('p', { class: 'notice', role: 'alert', hidden: true });
  private readonly spoken = make('p', { class: 'unseen', 'aria-live': 'polite' });
  private readonly card = make('aside', { class: 'card', 'aria-live': 'polite', hidden: true });
  private readonly unplaced = make('p', { class: 'unplaced', hidden: true });
  private readonly key = make('div', { class: 'map-legend' });
  private readonly ground = make('div', { class: 'map', id: 'map', 'data-state': 'drawing' });
  private readonly caption = make('div', { class: 'caption' });
  private readonly scroller = make('div', { class: 'scroller' });
  private readonly table: Table;
  private map: CoverageMap | null = null;
  private picture: Picture | null = null;
  private selected: string | null = null;
  private onlyGaps = true;
  private turn = 0;
  private readonly returned = () => void this.restore();

  constructor(private readonly session: Session, leave: () => void) {
    this.table = new Table({ hover: (code) => this.hover(code, 'table'), select: (code) => this.select(code), open: (code) => void this.open(code) });
    this.scroller.append(this.table.element);
    this.element = make('div', { class: 'desk' }, make('a', { class: 'skip', href: '#areas' }, '跳到表格'), top(session, 'map', leave), this.bar(),
      make('main', { class: 'work' },
        make('section', { class: 'map-side', 'aria-label': '覆盖地图' }, this.ground, this.card, this.unplaced, this.key),
        make('section', { class: 'list-side', id: 'areas', 'aria-label': '地区列表', tabindex: '-1' }, this.facts, this.caption, this.scroller)),
      this.spoken);
    window.addEventListener('popstate', this.returned);
  }

  async start(): Promise<void> {
    await this.restore();
  }

  close(): void {
    this.turn += 1; // an answer under way draws nothing any more
    window.removeEventListener('popstate', this.returned);
    this.map?.remove();
  }

  private home(): string {
    return this.session.user?.areas[0]?.code ?? COUNTRY;
  }

  private async restore(): Promise<void> {
    const { area, level, selected } = address.read();
    await this.load(area ?? this.home(), level, null);
    if (selected) this.select(selected);
  }

  /** The latest call wins; an answer that comes late is dropped. */
  private async load(code: string, level: Level | null, how: 'push' | 'replace' | null): Promise<void> {
    const turn = ++this.turn;
    this.element.classList.add('loading');
    const drawing = import('./map');
    try {
      const found = await picture(this.session, code, level);
      if (turn !== this.turn) return;
      this.warn(null);
      this.show(found, how);
      await this.draw(found, drawing);
    } catch (reason) {
      if (turn === this.turn) this.warn(sentence(reason));
    } finally {
      if (turn === this.turn) this.element.classList.remove('loading');
    }
  }

  private show(found: Picture, how: 'push' | 'replace' | null): void {
    this.picture = found;
    this.selected = null;
    if (how) this.remember(how);
    this.showWhere(found);
    this.showFacts(found);
    this.showRows(found);
    this.showCard(null);
    this.showUnplaced(found);
    fill(this.key, legend(found.total?.target ?? found.rows[0]?.target ?? null));
    document.title = `${found.place.name} · 职业健康监督覆盖`;
    this.spoken.textContent = `${found.place.name}，${found.rows.length} 个${LEVEL_NAMES[found.level]}，覆盖率 ${percent(found.total?.value ?? null)}`;
  }

  private async draw(found: Picture, drawing: Promise<typeof import('./map')>): Promise<void> {
    if (this.map) return this.map.show(found);
    try {
      const { CoverageMap } = await drawing;
      this.map ??= new CoverageMap(this.ground, () => this.session.token(), this.picture ?? found, {
        hover: (code) => this.hover(code, 'map'), select: (code) => this.select(code), open: (code) => void this.open(code),
      });
    } catch {
      this.ground.dataset['state'] = 'failed';
      this.warn('地图无法显示：浏览器不支持 WebGL 2，表格仍可使用。');
    }
  }

  private remember(how: 'push' | 'replace'): void {
    if (this.picture) address.write({ area: this.picture.place.code, level: this.picture.level, selected: this.selected }, how);
  }

  private hover(code: string | null, from: 'map' | 'table'): void {
    this.map?.hover(code);
    this.table.hover(code, from === 'map');
    this.showCard(code ?? this.selected);
  }

  private select(code: string | null): void {
    this.selected = code;
    this.map?.select(code);
    this.table.select(code);
    this.showCard(code);
    this.remember('replace');
  }

  private async open(code: string): Promise<void> {
    if (!this.canOpen()) return;
    const byKeyboard = this.element.querySelector('.table tr:focus') !== null;
    await this.load(code, null, 'push');
    if (byKeyboard) this.table.focus();
  }

  private canOpen(): boolean {
    return this.picture !== null && this.picture.level !== 'TOWNSHIP';
  }

  private bar(): HTMLElement {
    const again = make('button', { type: 'button', class: 'quiet', title: '重新读取数据', 'aria-label': '刷新',
      click: () => { if (this.picture) void this.load(this.picture.place.code, this.picture.level, 'replace'); } }, '↻');
    return make('div', { class: 'bar' }, this.crumbs, this.notice, this.levels, again);
  }

  private showWhere({ place, level }: Picture): void {
    const home = new Set(this.session.user?.areas.map((area) => area.code));
    const all = home.has(COUNTRY);
    const first = place.ancestors.findIndex((area) => home.has(area.code));
    const above = all ? place.ancestors : first < 0 ? [] : place.ancestors.slice(first);
    const links = above.flatMap((area) => [make('button', { type: 'button', click: () => void this.load(area.code, null, 'push') }, area.name), make('span', { 'aria-hidden': 'true' }, '›')]);
    fill(this.crumbs, ...links, make('strong', { 'aria-current': 'location' }, place.name));
    fill(this.levels, ...place.levels.filter((choice) => choice !== 'VILLAGE' && (choice !== 'TOWNSHIP' || place.level === 'COUNTY' || place.levels.length === 1)).map((choice) =>
      make('button', { type: 'button', 'aria-pressed': String(choice === level), click: () => void this.load(place.code, choice, 'push') }, `按${LEVEL_NAMES[choice]}`)));
    this.levels.hidden = this.levels.childElementCount < 2;
  }

  private showFacts({ rows, total, level }: Picture): void {
    const fact = (label: string, value: string, kind = '') => make('div', { class: kind }, make('dt', {}, label), make('dd', {}, value));
    const below = rows.filter((row) => row.value !== null && row.target !== null && row.value < row.target).length;
    const none = total === null || total.denominator === 0;
    fill(this.facts,
      fact('覆盖率', percent(total?.value ?? null), 'lead'),
      fact('乡镇', none ? '—' : count(total.denominator)),
      fact('已覆盖', none ? '—' : count(total.numerator)),
      fact('未覆盖', none ? '—' : count(total.denominator - total.numerator), 'gap'),
      level === 'TOWNSHIP' ? null : fact(`未达目标${LEVEL_NAMES[level]}`, count(below)));
  }

  private showRows(found: Picture): void {
    const townships = found.level === 'TOWNSHIP';
    const gaps = found.rows.filter((row) => row.value !== null && row.value === 0);
    const rows = townships && this.onlyGaps ? gaps : found.rows;
    this.table.show(rows, found.level, this.canOpen());
    fill(this.caption, make('h2', {}, townships ? `无在岗协管员的乡镇（${gaps.length}）` : `各${LEVEL_NAMES[found.level]}覆盖情况（${found.rows.length}）`),
      townships ? this.gapSwitch(found) : make('span', { class: 'hint' }, '单击选中，双击或回车进入'));
    this.scroller.classList.toggle('empty', rows.length === 0);
    this.scroller.dataset['empty'] = townships ? '本区县各乡镇均有在岗协管员' : '没有可显示的地区';
  }

  private showUnplaced({ rows, level }: Picture): void {
    const missing = rows.filter((row) => !row.place?.point).length;
    this.unplaced.hidden = missing === 0;
    this.unplaced.textContent = `${missing} 个${LEVEL_NAMES[level]}尚无位置，只列在表中`;
  }

  private gapSwitch(found: Picture): HTMLElement {
    const box = make('input', { type: 'checkbox', checked: !this.onlyGaps, change: () => { this.onlyGaps = !this.onlyGaps; this.showRows(found); this.table.select(this.selected); } });
    return make('label', { class: 'switch' }, box, '显示全部乡镇');
  }

  private showCard(code: string | null): void {
    const row = code ? this.picture?.rows.find(({ area }) => area.code === code) : undefined;
    this.card.hidden = !row;
    if (row) fill(this.card, ...this.cardOf(row));
  }

  private cardOf(row: Row): (HTMLElement | null)[] {
    const name = make('h3', {}, row.area.name);
    if (this.picture?.level === 'TOWNSHIP') return [name, make('p', {}, row.value === null ? '无数据' : row.value > 0 ? '有在岗协管员' : '无在岗协管员')];
    const gap = row.gap !== null && row.gap > 0 ? make('p', { class: 'below' }, `距目标还差 ${percent(row.gap)}`) : null;
    return [name, make('p', { class: 'big' }, percent(row.value)), make('p', {}, `${count(row.numerator)} / ${count(row.denominator)} 个乡镇有在岗协管员`), gap,
      make('button', { type: 'button', class: 'link', click: () => void this.open(row.area.code) }, `进入${row.area.name} ›`)];
  }

  private warn(text: string | null): void {
    this.notice.hidden = text === null;
    this.notice.textContent = text;
  }
}
