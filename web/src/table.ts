/** The table beside the map: sortable, walked with the arrow keys, opened with Enter. */

import type { Indicator, Picture, Row } from './coverage';
import { fill, make } from './dom';
import { change, changed, classOf, count, fewerIsBetter, figure, positionOn, scaleOf, shown, type Scale } from './scale';

interface Column {
  name: string;
  label: string;
  number: boolean;
  of: (row: Row) => string | number | null;
}

export interface Events {
  hover(code: string | null): void;
  select(code: string): void;
  open(code: string): void;
}

const AREA: Column = { name: 'name', label: '地区', number: false, of: (row) => row.area.name };
const FIGURE: Column = { name: 'share', label: '值', number: true, of: (row) => figure(row) };
const PARTS: Column[] = [
  { name: 'denominator', label: '分母', number: true, of: (row) => row.denominator },
  { name: 'numerator', label: '分子', number: true, of: (row) => row.numerator },
];
const MISSING: Column = { name: 'missing', label: '差额', number: true, of: (row) => missing(row) };
const COMPARED: Column[] = [
  { name: 'before', label: '对比期', number: true, of: (row) => row.before && figure(row.before) },
  { name: 'change', label: '变化', number: true, of: (row) => change(row, row.before) },
];
const ORDER = new Intl.Collator('zh-CN');

export class Table {
  readonly element: HTMLTableElement;
  private readonly head = make('thead');
  private readonly body = make('tbody');
  private rows: Row[] = [];
  private columns: Column[] = [AREA, FIGURE];
  private indicator: Indicator | null = null;
  private scale: Scale | null = null;
  private opens = false;
  private sort = { column: 'share', descending: false };
  private readonly elements = new Map<string, HTMLTableRowElement>();
  private current: string | null = null;
  private hovered: string | null = null;

  constructor(private readonly events: Events) {
    this.element = make('table', { class: 'table', role: 'grid', 'aria-label': '各地区覆盖情况' }, this.head, this.body);
    this.body.addEventListener('keydown', (event) => this.key(event));
    this.body.addEventListener('mouseleave', () => this.events.hover(null));
  }

  /** `rows`: those of the picture that are listed. */
  show(rows: Row[], picture: Picture, opens: boolean): void {
    const { indicator, compare } = picture.question;
    this.rows = rows;
    if (this.indicator !== indicator) this.sort = { column: 'share', descending: fewerIsBetter(picture.rows) }; // the worst first
    this.indicator = indicator;
    this.scale = scaleOf(picture);
    this.opens = opens;
    this.current = null;
    const parts = picture.rows.some((row) => row.denominator !== null) ? PARTS : [];
    this.columns = [AREA, ...(compare ? [] : parts), ...(compare || !parts.length || indicator.unit !== '%' ? [] : [MISSING]), FIGURE, ...(compare ? COMPARED : [])];
    this.draw();
  }

  hover(code: string | null, scroll: boolean): void {
    if (code === this.hovered) return;
    if (this.hovered) this.elements.get(this.hovered)?.classList.remove('hovered');
    this.hovered = code;
    const row = code ? this.elements.get(code) : undefined;
    row?.classList.add('hovered');
    if (scroll && row) reveal(row);
  }

  select(code: string | null, focus = false): void {
    if (this.current) this.mark(this.current, false);
    this.current = code && this.elements.has(code) ? code : null;
    if (this.current) this.mark(this.current, true);
    this.roving(focus);
  }

  /** Puts the keyboard on the selected row, or on the first. */
  focus(): void {
    this.roving(true);
  }

  private mark(code: string, selected: boolean): void {
    const row = this.elements.get(code);
    row?.classList.toggle('selected', selected);
    row?.setAttribute('aria-selected', String(selected));
    if (selected) row?.scrollIntoView({ block: 'nearest' });
  }

  private roving(focus: boolean): void {
    const target = (this.current && this.elements.get(this.current)) || this.body.rows[0];
    for (const row of this.body.rows) row.tabIndex = row === target ? 0 : -1;
    if (focus) target?.focus({ preventScroll: false });
  }

  private draw(): void {
    fill(this.head, make('tr', {}, ...this.columns.map((column) => this.header(column)), this.opens ? make('td', { class: 'go' }) : null));
    this.elements.clear();
    fill(this.body, ...this.sorted().map((row) => this.row(row)));
    if (this.hovered) this.elements.get(this.hovered)?.classList.add('hovered');
    this.select(this.current);
  }

  private header(column: Column): HTMLTableCellElement {
    const sorted = this.sort.column === column.name;
    const order = sorted ? (this.sort.descending ? 'descending' : 'ascending') : 'none';
    const arrow = make('span', { class: 'arrow', 'aria-hidden': 'true' }, sorted ? (this.sort.descending ? '▾' : '▴') : '');
    const button = make('button', { type: 'button', click: () => this.sortBy(column) }, column.label, arrow);
    return make('th', { scope: 'col', class: column.number ? 'number' : '', 'aria-sort': order, 'data-column': column.name }, button);
  }

  private sortBy(column: Column): void {
    const again = this.sort.column === column.name;
    this.sort = { column: column.name, descending: again ? !this.sort.descending : column.number && column.name !== 'share' && column.name !== 'change' };
    this.draw();
    this.head.querySelector<HTMLElement>(`[data-column="${column.name}"] button`)?.focus();
  }

  private sorted(): Row[] {
    const column = this.columns.find(({ name }) => name === this.sort.column) ?? AREA;
    const sign = this.sort.descending ? -1 : 1;
    return [...this.rows].sort((a, b) => compare(column.of(a), column.of(b), sign) || a.area.code.localeCompare(b.area.code));
  }

  private row(row: Row): HTMLTableRowElement {
    const { code, name } = row.area;
    const cells = this.columns.slice(1).map((column) => this.cell(row, column));
    const go = make('td', { class: 'go', role: 'gridcell' }, make('button', {
      type: 'button', tabindex: '-1', title: `进入${name}`, 'aria-label': `进入${name}`,
      click: (event) => { event.stopPropagation(); this.events.open(code); },
    }, '›'));
    const element = make('tr', {
      tabindex: '-1', 'data-code': code, 'aria-selected': 'false',
      click: () => this.events.select(code),
      dblclick: () => { if (this.opens) this.events.open(code); },
      mouseenter: () => this.events.hover(code),
      focus: () => this.events.hover(code),
    }, make('th', { scope: 'row', title: name }, name), ...cells, this.opens ? go : null);
    this.elements.set(code, element);
    return element;
  }

  private cell(row: Row, column: Column): HTMLTableCellElement {
    const indicator = this.indicator!;
    if (column === FIGURE) return this.figure(row);
    const text = column.name === 'change' ? changed(change(row, row.before), indicator)
      : column.name === 'before' ? shown(row.before, indicator) : count(column.of(row) as number | null, row.suppressed);
    return make('td', { class: 'number', role: 'gridcell' }, text);
  }

  private figure(row: Row): HTMLTableCellElement {
    const kind = figure(row) === null ? ' none' : row.met === false ? ' below' : '';
    return make('td', { class: `number share${kind}`, role: 'gridcell' },
      make('span', {}, shown(row, this.indicator!), row.met === false ? make('i', { class: 'mark', title: '未达标', 'aria-label': '未达标' }, '▼') : null), bar(row, this.scale!));
  }

  private key(event: KeyboardEvent): void {
    const row = (event.target as Element).closest('tr');
    const code = row?.dataset['code'];
    if (!row || !code || event.target !== row) return;
    if (event.key === 'Enter' && this.opens) this.events.open(code);
    else if (event.key === 'Enter' || event.key === ' ') this.events.select(code);
    else if (!this.step(row, event.key)) return;
    event.preventDefault();
  }

  private step(row: HTMLTableRowElement, key: string): boolean {
    const index = row.sectionRowIndex;
    const last = this.body.rows.length - 1;
    const steps: Record<string, number> = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + 10, PageUp: index - 10, Home: 0, End: last };
    const wanted = steps[key];
    if (wanted === undefined) return false;
    const target = this.body.rows[Math.min(Math.max(wanted, 0), last)];
    if (target?.dataset['code']) this.events.select(target.dataset['code']);
    target?.focus();
    return true;
  }
}

/** Rows without data stay last in either direction. */
function compare(a: string | number | null, b: string | number | null, sign: number): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return sign * (typeof a === 'string' ? ORDER.compare(a, String(b)) : a - Number(b));
}

/** What lacks to the whole; null where a part is hidden. */
export function missing({ numerator, denominator }: { numerator: number | null; denominator: number | null }): number | null {
  return numerator === null || denominator === null ? null : denominator - numerator;
}

function bar(row: Row, scale: Scale): HTMLElement {
  const [inner, value] = [make('i'), figure(row)];
  const length = (found: number) => (scale.share ? found : positionOn(scale, found)) * 100;
  inner.style.width = `${value === null ? 0 : Math.max(2, length(value))}%`;
  inner.style.background = scale.colours[classOf(row, scale)] ?? '';
  const line = scale.share && row.target !== null ? make('b') : null;
  if (line && row.target !== null) line.style.left = `${length(row.target)}%`;
  return make('span', { class: `bar${value === null ? ' hatch' : ''}`, 'aria-hidden': 'true' }, inner, line);
}

/** Scrolls the list, never the page: that would draw the map away from under the pointer. */
function reveal(row: HTMLElement): void {
  let box = row.parentElement;
  while (box && box !== document.body && !(box.scrollHeight > box.clientHeight && /auto|scroll/.test(getComputedStyle(box).overflowY))) box = box.parentElement;
  if (!box || box === document.body) return;
  const [own, seen] = [row.getBoundingClientRect(), box.getBoundingClientRect()];
  if (own.top < seen.top) box.scrollTop -= seen.top - own.top;
  else if (own.bottom > seen.bottom) box.scrollTop += own.bottom - seen.bottom;
}
