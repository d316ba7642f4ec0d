/** The desk: what is asked, the map or two, the list, and what goes between them. The address holds it all. */

import * as address from './address';
import { FIRST_INDICATOR, indicators, LEVEL_NAMES, opening, picture, type Indicator, type Level, type Picture, type Row } from './coverage';
import { fill, make } from './dom';
import { exportFile } from './exports';
import { isChief, top, type Page } from './frame';
import { Problem } from './graphql';
import { legend } from './legend';
import type { CoverageMap, Start } from './map';
import { sentence } from './messages';
import { available, overlayLegend, type Overlay } from './overlays';
import { planLegend, type PlanLayer } from './plan-layer';
import { Planning } from './plan-panel';
import { Panels } from './panels';
import type { Ground } from './route-form';
import { named, Pickers, type File } from './pickers';
import { change, changed, count, scaleOf, shown } from './scale';
import type { Session } from './session';
import { missing, Table } from './table';

type How = 'push' | 'replace' | null;
const COUNTRY = '000000';
const TABS: Record<address.View, string> = { list: '地区', trend: '趋势', ranking: '排名', records: '明细', plan: '规划' };

export class Desk implements Page {
  readonly element: HTMLElement;
  private readonly crumbs = make('nav', { class: 'crumbs', 'aria-label': '所在地区' });
  private readonly levels = make('div', { class: 'levels', role: 'group', 'aria-label': '统计级别', hidden: true });
  private readonly facts = make('dl', { class: 'facts' });
  private readonly meaning = make('p', { class: 'meaning' });
  private readonly notice = make('p', { class: 'notice', role: 'alert', hidden: true });
  private readonly spoken = make('p', { class: 'unseen', 'aria-live': 'polite' });
  private readonly card = make('aside', { class: 'card', hidden: true });
  private readonly unplaced = make('p', { class: 'unplaced', hidden: true });
  private readonly key = make('div', { class: 'map-legend' });
  private readonly ground = make('div', { class: 'map', id: 'map', 'data-state': 'drawing' });
  private readonly secondGround = make('div', { class: 'map', id: 'map-before', 'data-state': 'drawing' });
  private readonly captions = [make('b', { class: 'when', hidden: true }), make('b', { class: 'when' })] as const;
  private readonly second = make('div', { class: 'map-frame', hidden: true }, this.secondGround, this.captions[1]);
  private readonly caption = make('div', { class: 'caption' });
  private readonly scroller = make('div', { class: 'scroller' });
  private readonly list = make('div', { class: 'areas', role: 'tabpanel', id: 'list' }, this.caption, this.scroller);
  private readonly tabs = make('div', { class: 'tabs', role: 'tablist', 'aria-label': '视图', keydown: (event) => this.walkTabs(event as KeyboardEvent) });
  private readonly table: Table;
  private readonly panels: Panels;
  private readonly pickers: Pickers;
  private readonly planning: Planning;
  private layer: PlanLayer | null = null;
  private framed = false; // the map shows what a plan is about, not the area
  private maps: CoverageMap[] = [];
  private known: Indicator[] = [];
  private asked = address.read();
  private picture: Picture | null = null;
  private onlyGaps: boolean | null = null;
  private follows = false;
  private kinds: Overlay[] = [];
  private tianditu: string | null = null;
  private grounded = false;
  private turn = 0;
  private closed = false;
  private readonly pointed = { hover: (code: string | null) => this.hover(code, 'map'), select: (code: string | null) => this.select(code), open: (code: string) => void this.open(code) };
  private readonly returned = () => { if (location.hash === '' || location.hash.startsWith('#/map')) void this.restore(); };

  constructor(private readonly session: Session, leave: () => void) {
    this.table = new Table({ hover: (code) => this.hover(code, 'table'), select: (code) => this.select(code), open: (code) => void this.open(code) });
    this.panels = new Panels(session, (code) => this.select(code));
    this.planning = new Planning(session, {
      draw: (layer) => this.drawPlan(layer), remember: (plan, vs) => { this.asked = { ...this.asked, plan, vs }; this.remember('push'); },
      go: (point) => this.maps[0]?.go(point), frame: (points) => { this.framed = true; this.maps[0]?.fit(points); }, ground: () => this.planGround(), say: (text) => { this.spoken.textContent = text; }, asked: () => this.offerSites(),
    });
    this.pickers = new Pickers({
      change: (choice) => void this.load({ ...choice }, 'push'), overlay: (kind, on) => this.overlay(kind, on),
      ground: (on) => this.showGround(on), export: (file) => void this.export(file),
    });
    this.scroller.append(this.table.element);
    const firstFrame = make('div', { class: 'map-frame' }, this.ground, this.captions[0]);
    this.element = make('div', { class: 'desk' }, make('a', { class: 'skip', href: '#areas', click: (event) => { event.preventDefault(); this.table.focus(); } }, '跳到表格'), top(session, 'map', leave),
      this.bar(), this.pickers.element,
      make('main', { class: 'work' },
        make('section', { class: 'map-side', 'aria-label': '地图与图例' }, make('div', { class: 'maps' }, firstFrame, this.second), this.card, this.unplaced, this.key),
        make('section', { class: 'list-side', id: 'areas', 'aria-label': '指标与地区', tabindex: '-1' }, this.facts, this.meaning, this.tabs, this.list, this.panels.element, this.planning.element), this.lost()),
      this.spoken);
    window.addEventListener('popstate', this.returned);
  }

  async start(): Promise<void> {
    this.prepare();
    let first: Picture | null = null;
    try {
      const { indicator, area, level, period, asOf, tree, compare } = this.asked;
      const found = await opening(this.session, { indicator: indicator ?? FIRST_INDICATOR, area: area ?? this.home(), level, period, asOf, tree, compare });
      this.known = found?.known ?? (await indicators(this.session));
      first = found?.picture ?? null;
      this.pickers.offer(this.known, new Date());
    } catch (reason) {
      return this.warn(sentence(reason));
    }
    await this.restore(first);
    void this.offerLayers();
  }

  /** The map where it was last: its tiles come while the figures do. */
  private prepare(): void {
    const kept = lastView();
    const { area, level } = this.asked;
    const known = kept && kept.area === (area ?? this.home()) && (level === null || level === kept.level);
    void import('./map').then(({ CoverageMap }) => { if (known && !this.closed && !this.maps.length) this.maps = [this.firstMap(CoverageMap, kept)]; }).catch(() => undefined);
  }

  private firstMap(Kind: typeof CoverageMap, start: Start): CoverageMap {
    return new Kind(this.ground, () => this.session.token(), start, { ...this.pointed, moved: () => this.moved(), groundless: () => this.groundless() });
  }

  close(): void {
    this.closed = true;
    this.turn += 1; // an answer under way draws nothing any more
    window.removeEventListener('popstate', this.returned);
    this.planning.hide();
    this.maps.forEach((map) => map.remove());
  }

  private home(): string {
    return this.session.user?.areas[0]?.code ?? COUNTRY;
  }

  private async restore(ready: Picture | null = null): Promise<void> {
    const found = address.read();
    if (!this.views().includes(found.view)) found.view = 'list';
    await this.load(found, null, ready);
    if (found.selected) this.select(found.selected);
  }

  /** The latest call wins; an answer that comes late is dropped. What is asked stays as it was where the server refuses. */
  private async load(wishes: Partial<address.Address>, how: How, ready: Picture | null = null): Promise<void> {
    const turn = ++this.turn;
    const asked = { ...this.asked, selected: null, ...wishes };
    this.element.classList.add('loading');
    const drawing = import('./map');
    try {
      const found = ready ?? (await picture(this.session, this.question(asked)));
      if (turn !== this.turn) return;
      this.asked = { ...asked, area: found.place.code, level: found.level, indicator: found.question.indicator.id };
      this.warn(null);
      this.show(found, how);
      await this.draw(found, drawing);
    } catch (reason) {
      if (turn !== this.turn) return;
      this.warn(sentence(reason));
      if (this.picture) this.pickers.show({ ...this.asked, indicator: this.picture.question.indicator.id });
      else this.element.classList.add('blank');
    } finally {
      if (turn === this.turn) this.element.classList.remove('loading');
    }
  }

  private question(asked: address.Address): Picture['question'] {
    const { level, period, asOf, tree, compare } = asked;
    const name = asked.indicator ?? FIRST_INDICATOR;
    const indicator = this.known.find(({ id }) => id.toUpperCase() === name.toUpperCase());
    if (!indicator) throw new Problem('INDICATOR_UNKNOWN', name);
    return { indicator, area: asked.area ?? this.home(), level, period, asOf, tree, compare };
  }

  private show(found: Picture, how: How): void {
    this.picture = found;
    this.element.classList.remove('blank');
    if (how) this.remember(how);
    this.pickers.show({ ...this.asked, indicator: found.question.indicator.id });
    this.showWhere(found);
    this.showFacts(found);
    this.showRows();
    this.showCard(null);
    this.showUnplaced(found);
    this.showTabs();
    this.showKey();
    this.showPeriods(found);
    const { indicator } = found.question;
    document.title = `${found.place.name} · ${indicator.label}`;
    this.spoken.textContent = `${indicator.label}，${found.place.name}，${found.rows.length} 个${LEVEL_NAMES[found.level]}，总体 ${shown(found.total, indicator)}`;
  }

  private async draw(found: Picture, drawing: Promise<typeof import('./map')>): Promise<void> {
    try {
      const { CoverageMap, together } = await drawing;
      if (this.closed) return;
      const now = this.picture ?? found;
      const start: Start = { bounds: now.place.bounds, level: now.level };
      const [, second] = this.maps;
      const first = this.maps[0] ?? this.firstMap(CoverageMap, start);
      this.maps[0] = first;
      first.resize(); // a second one takes or gives half of the place
      void first.show(now);
      keepView({ ...start, area: now.place.code });
      const two = now.question.compare !== null;
      if (second && two) void second.show(now, false);
      if (second && !two) this.maps.pop()?.remove();
      if (!second && two) {
        const made = new CoverageMap(this.secondGround, () => this.session.token(), start, this.pointed, 'before');
        void made.show(now, false);
        if (this.grounded) void made.ground(this.tianditu);
        together(first, made);
        this.maps.push(made);
      }
      this.drawOverlays();
      for (const map of this.maps) void map.plan(this.layer);
    } catch {
      this.ground.dataset['state'] = 'failed';
      this.warn('地图无法显示：浏览器不支持 WebGL 2，表格仍可使用。');
    }
  }

  private async offerLayers(): Promise<void> {
    const headers = { authorization: `Bearer ${await this.session.token()}` };
    const [kinds, settings] = await Promise.all([available(this.session), fetch('/desk.json', { headers }).then((answer) => answer.json() as Promise<{ tianditu?: string | null }>).catch(() => ({ tianditu: null }))]);
    this.tianditu = settings.tianditu ?? null;
    this.asked.layers = this.asked.layers.filter((name) => kinds.includes(name as Overlay));
    this.kinds = kinds;
    this.drawOverlays();
    this.showKey();
    this.offerKinds();
  }

  /** Those that are asked for, once it is known which there are. */
  private drawOverlays(): void {
    for (const kind of this.kinds) for (const map of this.maps) void map.overlay(kind, this.asked.layers.includes(kind));
  }

  private drawPlan(layer: PlanLayer | null): void {
    this.layer = layer;
    for (const map of this.maps) void map.plan(layer);
    this.showKey();
    this.showCard(null);
  }

  private showKey(): void {
    if (this.picture) fill(this.key, this.layer ? planLegend(this.layer) : legend(scaleOf(this.picture), this.picture.question.indicator), overlayLegend(this.kinds.filter((kind) => this.asked.layers.includes(kind))));
  }

  /** Who plans sites wants to see those that stand. */
  private offerSites(): void {
    if (!this.kinds.includes('sites') || this.asked.layers.includes('sites')) return;
    this.overlay('sites', true);
    this.offerKinds();
  }

  private showGround(on: boolean): void {
    this.grounded = on;
    this.maps.forEach((map) => void map.ground(on ? this.tianditu : null));
  }

  private groundless(): void {
    this.showGround(false);
    this.offerKinds();
    this.warn('天地图底图读取不到（密钥无效、次数用尽或网络不通），已关闭；边界和数据不受影响。');
  }

  private offerKinds(): void {
    this.pickers.offerLayers(this.kinds, this.asked.layers, this.tianditu === null ? null : this.grounded);
  }

  private overlay(kind: Overlay, on: boolean): void {
    this.asked.layers = [...this.asked.layers.filter((name) => name !== kind), ...(on ? [kind] : [])];
    for (const map of this.maps) void map.overlay(kind, on);
    this.showKey();
    this.remember('replace');
  }

  private async export(file: File): Promise<void> {
    if (!this.picture) return;
    this.element.classList.add('loading');
    try {
      await exportFile(this.session, this.picture, file, this.maps, this.layer);
      this.warn(null);
      this.spoken.textContent = '已导出';
    } catch (reason) {
      this.warn(sentence(reason));
    }
    this.element.classList.remove('loading');
  }

  private remember(how: 'push' | 'replace'): void {
    address.write(this.asked, how);
  }

  private hover(code: string | null, from: 'map' | 'table'): void {
    this.maps.forEach((map) => map.hover(code));
    this.table.hover(code, from === 'map');
    this.showCard(code ?? this.asked.selected);
  }

  private select(code: string | null): void {
    this.asked.selected = code;
    this.maps.forEach((map) => map.select(code));
    this.table.select(code);
    this.showCard(code);
    this.remember('replace');
    if (this.asked.view === 'trend' || this.asked.view === 'records') this.showPanel();
  }

  private async open(code: string): Promise<void> {
    if (!this.canOpen()) return;
    const byKeyboard = this.element.querySelector('.table tr:focus') !== null;
    await this.load({ area: code, level: null }, 'push');
    if (byKeyboard) this.table.focus();
  }

  private canOpen(): boolean {
    return this.picture !== null && this.picture.level !== 'TOWNSHIP' && this.picture.level !== 'VILLAGE';
  }

  private moved(): void {
    if (this.follows) this.showRows();
  }

  private bar(): HTMLElement {
    const again = make('button', { type: 'button', class: 'quiet', title: '重新读取数据', 'aria-label': '刷新', click: () => void this.load({}, 'replace') }, '↻');
    return make('section', { class: 'bar', 'aria-label': '地区与统计级别' }, this.crumbs, this.notice, this.levels, again);
  }

  /** In place of all, where the address names nothing that one may see. */
  private lost(): HTMLElement {
    const home = { area: null, level: null, period: null, asOf: null, tree: null, compare: null, indicator: null };
    return make('div', { class: 'lost' }, make('p', {}, '这个地址没有可显示的内容'), make('button', { type: 'button', class: 'quiet', click: () => void this.load(home, 'push') }, '回到我的辖区'));
  }

  private showWhere({ place, level }: Picture): void {
    const home = new Set(this.session.user?.areas.map((area) => area.code));
    const all = home.has(COUNTRY);
    const first = place.ancestors.findIndex((area) => home.has(area.code));
    const above = all ? place.ancestors : first < 0 ? [] : place.ancestors.slice(first);
    const links = above.flatMap((area) => [make('button', { type: 'button', click: () => void this.load({ area: area.code, level: null }, 'push') }, area.name), make('span', { 'aria-hidden': 'true' }, '›')]);
    fill(this.crumbs, ...links, make('strong', { 'aria-current': 'location' }, place.name));
    const offered = place.levels.filter((choice) => choice !== 'VILLAGE' && (choice !== 'TOWNSHIP' || !['COUNTRY', 'PROVINCE'].includes(place.level) || place.levels.length === 1));
    fill(this.levels, ...offered.map((choice) => make('button', { type: 'button', 'aria-pressed': String(choice === level), click: () => void this.load({ area: place.code, level: choice }, 'push') }, `按${LEVEL_NAMES[choice]}`)));
    this.levels.hidden = this.levels.childElementCount < 2;
  }

  private showFacts({ question, rows, total, totalBefore, level }: Picture): void {
    const { indicator, compare } = question;
    const fact = (label: string, value: string, kind = '') => make('div', { class: kind }, make('dt', {}, label), make('dd', {}, value));
    const judged = rows.some((row) => row.met !== null);
    const hidden = total?.suppressed ?? false;
    const parts = total?.denominator !== null || hidden;
    const lead = indicator.unit === '%' ? '总体' : `总体（${indicator.unit}）`;
    fill(this.facts, fact(lead, shown(total, indicator), 'lead'),
      parts ? fact('分母', count(total?.denominator ?? null, hidden)) : null, parts ? fact('分子', count(total?.numerator ?? null, hidden)) : null,
      parts && indicator.unit === '%' ? fact('差额', count(total && missing(total), hidden), 'gap') : null,
      judged ? fact(`未达标${LEVEL_NAMES[level]}`, count(rows.filter((row) => row.met === false).length)) : null,
      compare ? fact('较对比期', changed(total && change(total, totalBefore), indicator)) : null);
    this.meaning.textContent = `口径：${indicator.formula}${indicator.note ? `。${indicator.note}` : ''}`;
    this.meaning.title = [this.meaning.textContent, `来源：${indicator.source}`, total?.targetSource ? `目标：${total.targetSource}` : ''].filter(Boolean).join('\n');
  }

  /** The list, as the switches above it say. */
  private showRows(): void {
    const found = this.picture;
    if (!found) return;
    const { rows, level } = found;
    const judged = rows.some((row) => row.met !== null);
    const gapsOnly = judged && (this.onlyGaps ?? level === 'TOWNSHIP');
    const [map] = this.maps;
    const listed = rows.filter((row) => (!gapsOnly || row.met === false) && (!this.follows || !map || map.shows(row)));
    this.table.show(listed, found, this.canOpen());
    this.table.select(this.asked.selected);
    const title = gapsOnly ? `未达标${LEVEL_NAMES[level]}` : `各${LEVEL_NAMES[level]}`;
    fill(this.caption, make('h2', {}, `${title}（${listed.length}${listed.length < rows.length ? ` / ${rows.length}` : ''}）`),
      make('div', { class: 'switches' },
        judged ? this.switch('gaps', '只列未达标', gapsOnly, (on) => { this.onlyGaps = on; }) : null,
        this.switch('follow', '随地图范围', this.follows, (on) => { this.follows = on; })));
    this.scroller.classList.toggle('empty', listed.length === 0);
    this.scroller.dataset['empty'] = rows.length === 0 ? '没有可显示的地区' : gapsOnly && !this.follows ? '各地区均已达标或无数据' : '地图范围内没有这样的地区';
  }

  private switch(name: string, label: string, on: boolean, set: (on: boolean) => void): HTMLElement {
    const box = make('input', { type: 'checkbox', checked: on, change: () => {
      set(box.checked);
      this.showRows();
      this.caption.querySelector<HTMLElement>(`[data-switch=${name}] input`)?.focus();
    } });
    return make('label', { class: 'switch', 'data-switch': name }, box, label);
  }

  private showUnplaced({ rows, level }: Picture): void {
    const without = rows.filter((row) => !row.place?.point).length;
    const derived = rows.some((row) => row.place?.derived) ? '虚线乡镇界由位置推算，仅为示意' : '';
    this.unplaced.textContent = [without ? `${without} 个${LEVEL_NAMES[level]}尚无位置，只列在表中` : '', derived].filter(Boolean).join('；');
    this.unplaced.hidden = !this.unplaced.textContent;
  }

  private showPeriods({ question }: Picture): void {
    const { period, compare } = question;
    this.second.hidden = compare === null;
    this.captions[0].hidden = compare === null;
    this.captions[0].textContent = period ? named(period) : '本年至今';
    this.captions[1].textContent = compare ? named(compare) : '';
    this.element.classList.toggle('two', compare !== null);
  }

  private showTabs(): void {
    const { view } = this.asked;
    fill(this.tabs, ...this.views().map((name) => make('button', {
      type: 'button', role: 'tab', id: `tab-${name}`, 'aria-selected': String(name === view), tabindex: name === view ? '0' : '-1', 'aria-controls': { list: 'list', plan: 'plan-panel' }[name as string] ?? 'panel',
      click: () => this.turnTo(name) }, TABS[name])));
    this.list.hidden = view !== 'list';
    this.element.classList.toggle('planning', view === 'plan');
    this.panels.element.hidden = view === 'list' || view === 'plan';
    this.panels.element.setAttribute('aria-labelledby', `tab-${view}`);
    this.showPanel();
  }

  private views(): address.View[] {
    return address.VIEWS.filter((view) => view !== 'plan' || isChief(this.session));
  }

  private turnTo(view: address.View): void {
    this.asked.view = view;
    this.remember('push');
    this.showTabs();
    this.tabs.querySelector<HTMLElement>('[aria-selected=true]')?.focus();
  }

  private walkTabs(event: KeyboardEvent): void {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const views = this.views();
    this.turnTo(views[(views.indexOf(this.asked.view) + step + views.length) % views.length]!);
  }

  private showPanel(): void {
    const found = this.picture;
    if (this.asked.view !== 'plan') this.endPlan();
    if (!found || this.asked.view === 'list') return;
    if (this.asked.view === 'plan') return void this.planning.show(found.place, this.asked.plan, this.asked.vs);
    const place = found.rows.find(({ area }) => area.code === this.asked.selected)?.area ?? found.place;
    if (this.asked.view === 'trend') void this.panels.trend(found, place);
    else if (this.asked.view === 'records') void this.panels.records(found, place);
    else void this.panels.ranking(found);
  }

  private planGround(): Ground {
    const { place, rows, question: { indicator, period, asOf } } = this.picture!;
    const areas = [place, ...rows.map(({ area }) => area)];
    const first = areas.find(({ code }) => code === this.asked.selected) ?? place;
    return { areas, first: first.code, point: place.point, indicator, period, asOf, centre: () => this.maps[0]?.centre() ?? null };
  }

  private endPlan(): void {
    this.planning.hide();
    if (this.layer) this.drawPlan(null);
    if (this.framed) this.maps[0]?.whole(this.picture!.place.bounds);
    this.framed = false;
  }

  private showCard(code: string | null): void {
    const said = code && this.layer?.said.get(code);
    if (said) {
      this.card.hidden = false;
      const name = said[0] || this.picture?.rows.find(({ area }) => area.code === code)?.area.name || '';
      return fill(this.card, make('h3', {}, name), ...said.slice(1).map((line) => make('p', {}, line)));
    }
    const row = code ? this.picture?.rows.find(({ area }) => area.code === code) : undefined;
    this.card.hidden = !row;
    if (row) fill(this.card, ...this.cardOf(row));
  }

  private cardOf(row: Row): (HTMLElement | null)[] {
    const { indicator, compare } = this.picture!.question;
    const parts = row.denominator === null ? null : make('p', {}, `分子 / 分母：${count(row.numerator, row.suppressed)} / ${count(row.denominator)}`);
    const gap = row.met === false && row.gap !== null ? make('p', { class: 'below' }, `▼ 距目标还差 ${shown({ ...row, value: Math.abs(row.gap) }, indicator)}`) : null;
    const difference = compare ? make('p', {}, `较对比期 ${changed(change(row, row.before), indicator)}`) : null;
    const deeds = [this.canOpen() ? make('button', { type: 'button', class: 'link', click: () => void this.open(row.area.code) }, `进入${row.area.name} ›`) : null,
      make('button', { type: 'button', class: 'link', click: () => { this.select(row.area.code); this.turnTo('records'); } }, '明细 ›')];
    return [make('h3', {}, row.area.name), make('p', { class: 'big' }, shown(row, indicator)), parts, gap, difference, make('p', { class: 'deeds' }, ...deeds)];
  }

  private warn(text: string | null): void {
    this.notice.hidden = text === null;
    this.notice.textContent = text;
  }
}

/** Boundaries are public: what is kept on this machine tells where one looked, and no figures. */
const LAST = 'zhijian.view';

function lastView(): (Start & { area: string }) | null {
  try {
    const kept = JSON.parse(localStorage.getItem(LAST) ?? 'null') as { area?: unknown; level?: unknown; bounds?: unknown } | null;
    const { area, level, bounds } = kept ?? {};
    const fits = typeof area === 'string' && String(level) in LEVEL_NAMES && Array.isArray(bounds) && bounds.length === 4 && bounds.every(Number.isFinite);
    return fits ? { area, level: level as Level, bounds: bounds as [number, number, number, number] } : null;
  } catch {
    return null;
  }
}

function keepView(view: Start & { area: string }): void {
  if (view.bounds) localStorage.setItem(LAST, JSON.stringify(view));
}
