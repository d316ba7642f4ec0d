/** What is asked: indicator, period, day, tree, comparison; and menus for layers and files. */

import type { Indicator, Tree } from './coverage';
import { fill, make } from './dom';
import { KINDS, OVERLAYS, type Overlay } from './overlays';

export interface Choice {
  indicator: string;
  period: string | null;
  asOf: string | null;
  tree: Tree | null;
  compare: string | null;
}

export type File = 'xlsx' | 'geojson' | 'png' | 'print';
const FILES: Record<File, string> = { xlsx: '表格 xlsx', geojson: '地理数据 GeoJSON', png: '地图图片 PNG', print: '打印季报（A4）' };
const TREES: [string, string][] = [['', '全部'], ['DIVISION', '行政区划'], ['JURISDICTION', '管辖区']];

export interface Wishes {
  change(choice: Partial<Choice>): void;
  overlay(kind: Overlay, on: boolean): void;
  ground(on: boolean): void;
  export(file: File): void;
}

export class Pickers {
  readonly element: HTMLElement;
  private readonly indicator = make('select', { id: 'pick-indicator', change: () => this.wishes.change({ indicator: this.indicator.value }) });
  private readonly period = make('select', { id: 'pick-period', change: () => this.wishes.change({ period: this.period.value || null }) });
  private readonly compare = make('select', { id: 'pick-compare', change: () => this.wishes.change({ compare: this.compare.value || null }) });
  private readonly asOf = make('input', { id: 'pick-day', type: 'date', change: () => { if (this.asOf.validity.valid) this.wishes.change({ asOf: this.asOf.value || null }); } });
  private readonly tree = make('select', { id: 'pick-tree', change: () => this.wishes.change({ tree: (this.tree.value || null) as Tree | null }) });
  private readonly layers = menu('图层', 'layers');

  constructor(private readonly wishes: Wishes) {
    const files = menu('导出', 'files');
    for (const [file, label] of Object.entries(FILES)) {
      files.list.append(make('button', { type: 'button', 'data-file': file, click: () => { files.element.open = false; wishes.export(file as File); } }, label));
    }
    fill(this.tree, ...TREES.map(([value, label]) => make('option', { value }, label)));
    this.element = make('div', { class: 'pickers', role: 'search', 'aria-label': '统计条件' },
      labelled('指标', this.indicator, 'wide'), labelled('期间', this.period), labelled('截至日', this.asOf), labelled('区划', this.tree), labelled('对比期', this.compare),
      make('div', { class: 'menus' }, this.layers.element, files.element));
    this.layers.element.hidden = true;
  }

  offer(indicators: Indicator[], today: Date): void {
    const ready = indicators.filter(({ countable }) => countable);
    const waiting = indicators.filter(({ countable }) => !countable);
    fill(this.indicator,
      make('optgroup', { label: '可统计' }, ...ready.map(({ id, label }) => make('option', { value: id }, `${label}（${id}）`))),
      make('optgroup', { label: '台账尚未建立' }, ...waiting.map(({ id, label, waitsFor }) => make('option', { value: id, disabled: true, title: `等待台账：${waitsFor.join('、')}` }, `${label}（${id}，待建台账）`))));
    for (const [select, none] of [[this.period, '本年至今'], [this.compare, '不对比']] as const) fill(select, make('option', { value: '' }, none), ...periods(today));
    this.asOf.max = day(today);
  }

  show(choice: Choice): void {
    this.indicator.value = choice.indicator;
    set(this.period, choice.period);
    set(this.compare, choice.compare);
    this.asOf.value = choice.asOf ?? '';
    this.tree.value = choice.tree ?? '';
  }

  /** `ground`: whether 天地图 is on; null where it is not to be had. */
  offerLayers(kinds: Overlay[], on: string[], ground: boolean | null): void {
    const boxes = KINDS.filter((kind) => kinds.includes(kind)).map((kind) => box(OVERLAYS[kind], on.includes(kind), (yes) => this.wishes.overlay(kind, yes), kind));
    fill(this.layers.list, ...boxes, ground !== null ? box('天地图底图', ground, (yes) => this.wishes.ground(yes), 'tianditu') : null);
    this.layers.element.hidden = !this.layers.list.childElementCount;
  }
}

function labelled(text: string, field: HTMLElement, kind = ''): HTMLElement {
  return make('label', { class: kind }, make('span', {}, text), field);
}

function box(label: string, checked: boolean, change: (on: boolean) => void, name: string): HTMLElement {
  const input = make('input', { type: 'checkbox', checked, 'data-layer': name, change: () => change(input.checked) });
  return make('label', {}, input, label);
}

function menu(label: string, name: string): { element: HTMLDetailsElement; list: HTMLElement } {
  const list = make('div', { class: 'menu-list' });
  const element = make('details', { class: `menu ${name}`,
    keydown: (event) => { if ((event as KeyboardEvent).key === 'Escape') { element.open = false; element.querySelector('summary')?.focus(); } },
    focusout: (event) => { const to = (event as FocusEvent).relatedTarget; if (to && !element.contains(to as Node)) element.open = false; } },
    make('summary', {}, label), list);
  return { element, list };
}

/** A period of a link that is older than those offered is offered too. */
function set(select: HTMLSelectElement, value: string | null): void {
  if (value && ![...select.options].some((option) => option.value === value)) select.append(make('option', { value }, named(value)));
  select.value = value ?? '';
}

function periods(today: Date): HTMLElement[] {
  const [year, month] = [today.getFullYear(), today.getMonth()];
  const back = (count: number, one: (at: number) => string) => Array.from({ length: count }, (_, at) => make('option', { value: one(at) }, named(one(at))));
  const quarter = (at: number) => { const index = year * 4 + Math.floor(month / 3) - at; return `${Math.floor(index / 4)}Q${(index % 4) + 1}`; };
  const monthly = (at: number) => { const index = year * 12 + month - at; return `${Math.floor(index / 12)}-${String((index % 12) + 1).padStart(2, '0')}`; };
  return [make('optgroup', { label: '年' }, ...back(6, (at) => `${year - at}`)), make('optgroup', { label: '季' }, ...back(8, quarter)), make('optgroup', { label: '月' }, ...back(12, monthly))];
}

/** 2020 年, 2020 年第 3 季度, 2020 年 7 月. */
export function named(period: string): string {
  const [year, rest] = [period.slice(0, 4), period.slice(4)];
  return rest.startsWith('Q') ? `${year} 年第 ${rest.slice(1)} 季度` : rest ? `${year} 年 ${Number(rest.slice(1))} 月` : `${year} 年`;
}

function day(date: Date): string {
  return `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, '0')}-${String(date.getDate()).padStart(2, '0')}`;
}
