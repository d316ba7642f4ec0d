/** The table beside the map: sortable, walked with the arrow keys, opened with Enter. */

import { classOf, COLOURS, count, percent, type Level, type Row } from './coverage';
import { fill, make } from './dom';

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
const COLUMNS: Column[] = [
  AREA,
  { name: 'townships', label: '乡镇', number: true, of: (row) => row.denominator },
  { name: 'covered', label: '已覆盖', number: true, of: (row) => row.numerator },
  { name: 'uncovered', label: '未覆盖', number: true, of: (row) => row.denominator - row.numerator },
  { name: 'share', label: '覆盖率', number: true, of: (row) => row.value },
];
const TOWNSHIP_COLUMNS: Column[] = [
  { ...AREA, label: '乡镇' },
  { name: 'share', label: '协管员', number: false, of: (row) => row.value },
];
const ORDER = new Intl.Collator('zh-CN');

export class Table {
  readonly element: HTMLTableElement;
  private readonly head = make('thead');
  private readonly body = make('tbody');
  private rows: Row[] = [];
  private level: Level = 'COUNTY';
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

  show(rows: Row[], level: Level, opens: boolean): void {
    this.rows = rows;
    this.level = level;
    this.opens = opens;
    this.current = null;
    this.draw();
  }

  hover(code: string | null, scroll: boolean): void {
    if (code === this.hovered) return;
    if (this.hovered) this.elements.get(this.hovered)?.classList.remove('hovered');
    this.hovered = code;
    const row = code ? this.elements.get(code) : undefined;
    row?.classList.add('hovered');
    if (scroll) row?.scrollIntoView({ block: 'nearest' });
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
    this.element.classList.toggle('townships', this.level === 'TOWNSHIP');
    const columns = this.columns();
    fill(this.head, make('tr', {}, ...columns.map((column) => this.header(column)), this.opens ? make('td', { class: 'go' }) : null));
    this.elements.clear();
    fill(this.body, ...this.sorted().map((row) => this.row(row)));
    this.select(this.current);
  }

  private columns(): Column[] {
    return this.level === 'TOWNSHIP' ? TOWNSHIP_COLUMNS : COLUMNS;
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
    this.sort = { column: column.name, descending: again ? !this.sort.descending : column.number && column.name !== 'share' };
    this.draw();
    this.head.querySelector<HTMLElement>(`[data-column="${column.name}"] button`)?.focus();
  }

  private sorted(): Row[] {
    const column = this.columns().find(({ name }) => name === this.sort.column) ?? AREA;
    const sign = this.sort.descending ? -1 : 1;
    return [...this.rows].sort((a, b) => compare(column.of(a), column.of(b), sign) || a.area.code.localeCompare(b.area.code));
  }

  private row(row: Row): HTMLTableRowElement {
    const { code, name } = row.area;
    const cells = this.level === 'TOWNSHIP' ? [this.state(row)] : this.numbers(row);
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

  private numbers(row: Row): HTMLTableCellElement[] {
    const plain = COLUMNS.slice(1, -1).map((column) => make('td', { class: 'number', role: 'gridcell' }, count(Number(column.of(row)))));
    const below = row.value !== null && row.target !== null && row.value < row.target;
    const bar = make('span', { class: 'bar', 'aria-hidden': 'true' }, share(row.value), row.target === null ? null : mark(row.target));
    const cell = make('td', { class: `number share${below ? ' below' : ''}${row.value === null ? ' none' : ''}`, role: 'gridcell' }, make('span', {}, percent(row.value)), bar);
    return [...plain, cell];
  }

  private state(row: Row): HTMLTableCellElement {
    const covered = row.value === null ? null : row.value > 0;
    const [kind, label] = covered === null ? ['none', '无数据'] : covered ? ['yes', '有在岗协管员'] : ['no', '无在岗协管员'];
    return make('td', { role: 'gridcell' }, make('span', { class: `state ${kind}` }, label));
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

function share(value: number | null): HTMLElement {
  const inner = make('i');
  inner.style.width = `${(value ?? 0) * 100}%`;
  inner.style.background = COLOURS[classOf(value) ?? 0] ?? '';
  return inner;
}

function mark(target: number): HTMLElement {
  const line = make('b');
  line.style.left = `${target * 100}%`;
  return line;
}
