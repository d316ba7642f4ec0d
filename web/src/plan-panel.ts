/** Access, siting and routes to be tried: what is asked, how far a run is, one answer or two side by side, and the runs of before. */

import { fill, make } from './dom';
import { labelled, numeric, select } from './fields';
import { moment } from './frame';
import { sentence } from './messages';
import { COLOURS, comparable, layerOf, markText, NAMES, type PlanLayer, type Side } from './plan-layer';
import { access, AIMS, answered, cancel, find, MEASURES, named, parse, persons, plans, progressSaid, route, SITES, start, STATES, summary,
  type Access, type Aim, type Answer, type Measure, type Plan, type SiteKind, type Siting, type Town } from './planning';
import { routeForm, type Ground } from './route-form';
import type { Tour, Way } from './routes';
import type { Session } from './session';

export interface Events {
  /** What the map should show; null: nothing of plans. */
  draw(layer: PlanLayer | null): void;
  /** What the address should hold. */
  remember(plan: string | null, vs: string | null): void;
  go(point: [number, number]): void;
  /** Has the map show all of these. */
  frame(points: [number, number][]): void;
  /** Where a route would be, and of which day. */
  ground(): Ground;
  say(text: string): void;
  /** Somebody asked for an answer about sites anew. */
  asked(): void;
}

interface Place {
  code: string;
  name: string;
}

const LOOK = 700; // ms between looks at a run
const LISTED = 60;
const ASKS = { access: '可达性', siting: '选址', route: '路线' };
type Ask = keyof typeof ASKS;
const OPEN = new Set(['QUEUED', 'RUNNING']);

export class Planning {
  readonly element = make('div', { class: 'panel plan-panel', role: 'tabpanel', id: 'plan-panel', tabindex: '0', 'aria-labelledby': 'tab-plan', hidden: true });
  private readonly forms = make('div', { class: 'plan-forms' });
  private readonly notice = make('p', { class: 'plan-notice', role: 'alert', hidden: true });
  private readonly under = make('div', { class: 'plan-progress', hidden: true });
  private readonly shown = make('div', { class: 'plan-answer' });
  private readonly runs = make('div', { class: 'plan-runs' });
  private readonly last = make('div', {});
  private place: Place | null = null;
  private names: Record<Side, string | null> = { a: null, b: null };
  private answers: Record<Side, Answer | null> = { a: null, b: null };
  private ask: Ask = 'access';
  private follows = false; // the form becomes that of what is shown
  private turn = 0;
  private timer = 0;

  constructor(private readonly session: Session, private readonly events: Events) {
    this.element.append(this.forms, this.notice, this.under, this.shown, this.runs, this.last);
    this.offer();
  }

  /** Shows what the address names, for the area of the page. */
  async show(place: Place, plan: string | null, vs: string | null): Promise<void> {
    const same = this.place?.code === place.code && this.names.a === plan && this.names.b === vs;
    this.place = place;
    this.element.hidden = false;
    if (same) return this.draw();
    this.names = { a: plan, b: vs };
    if (plan) this.ask = parse(plan) ? 'access' : 'siting';
    this.follows = true;
    this.offer();
    await this.load();
  }

  hide(): void {
    this.turn += 1;
    clearTimeout(this.timer);
    this.place = null;
    this.element.hidden = true;
  }

  private choose(side: Side, name: string | null): void {
    this.names = { ...this.names, [side]: name };
    if (side === 'a' && name === null) this.names = { a: this.names.b, b: null };
    if (this.names.a === this.names.b) this.names.b = null;
    this.follows = side === 'a';
    this.events.remember(this.names.a, this.names.b);
    this.element.scrollTop = 0;
    void this.load();
  }

  /** The latest call wins. */
  private async load(): Promise<void> {
    const turn = ++this.turn;
    clearTimeout(this.timer);
    this.element.setAttribute('aria-busy', 'true');
    const found = await Promise.all([this.answer(this.names.a), this.answer(this.names.b)].map((asked) => asked.catch((reason: unknown) => sentence(reason))));
    if (turn !== this.turn) return;
    const [a, b] = found.map((each) => (typeof each === 'string' || isPlan(each) ? null : each)) as [Answer | null, Answer | null];
    this.warn(found.filter((each) => typeof each === 'string').join('；'));
    this.answers = { a, b };
    const [first] = found;
    if (this.follows && this.ask !== 'route' && (a?.way || (first && isPlan(first) && first.kind === 'ROUTE'))) this.turnTo('route');
    this.follows = false;
    this.draw();
    const ways = [a, b].flatMap((each) => (each?.way ? pointsOf(each.way) : []));
    if (ways.length) this.events.frame(ways);
    if (ways.length) this.element.scrollTop = this.shown.offsetTop - this.element.offsetTop; // the form is long
    const waiting = found.filter(isPlan);
    this.progress(waiting);
    this.element.removeAttribute('aria-busy');
    await this.list(turn);
    if (waiting.some(({ state }) => OPEN.has(state)) && turn === this.turn) this.timer = window.setTimeout(() => void this.look(turn, waiting), LOOK);
  }

  private async answer(name: string | null): Promise<Answer | Plan | null> {
    if (name === null) return null;
    const question = parse(name);
    if (question) return access(this.session, this.place!, question);
    const plan = await find(this.session, name);
    return plan.result ? answered(this.session, plan, plan.result) : plan;
  }

  /** How far the runs are that are shown; once one has ended, all is shown anew. */
  private async look(turn: number, waiting: Plan[]): Promise<void> {
    const now = await Promise.all(waiting.map((plan) => find(this.session, plan.id).catch(() => plan)));
    if (turn !== this.turn) return;
    this.progress(now);
    const ended = now.filter((plan, at) => plan.state !== waiting[at]!.state && !OPEN.has(plan.state));
    if (!ended.length) {
      this.timer = window.setTimeout(() => void this.look(turn, now), LOOK);
      return;
    }
    this.events.say(ended.map((plan) => `规划${STATES[plan.state]}：${summary(plan)}`).join('；'));
    await this.load();
  }

  private progress(plans: Plan[]): void {
    this.under.hidden = plans.length === 0;
    const focused = this.under.contains(document.activeElement);
    fill(this.under, ...plans.map((plan) => make('div', { class: 'plan-run', 'data-state': plan.state },
      make('p', {}, summary(plan)), make('progress', { max: '1', value: String(plan.progress), 'aria-label': '进度' }), make('span', {}, progressSaid(plan)),
      OPEN.has(plan.state) ? make('button', { type: 'button', class: 'quiet', click: () => void this.cancel(plan.id) }, '取消') : null)));
    if (focused) (this.under.querySelector('button') ?? this.element).focus();
  }

  private async cancel(id: string): Promise<void> {
    try {
      await cancel(this.session, id);
    } catch (reason) {
      return this.warn(sentence(reason));
    }
    this.events.say('规划已取消');
    await this.load();
  }

  private draw(): void {
    const { a, b } = this.answers;
    this.events.draw(a ? layerOf(a, b) : null);
    fill(this.shown, ...(a ? this.figures(a, b) : []));
    fill(this.last, a ? this.worst(a, b !== null) : null);
  }

  private figures(a: Answer, b: Answer | null): (HTMLElement | null)[] {
    const sides: [Side, Answer][] = b ? [['a', a], ['b', b]] : [['a', a]];
    const labels = [...new Set(sides.flatMap(([, { facts }]) => facts.map(([label]) => label)))];
    const said = (answer: Answer, label: string) => answer.facts.find(([name]) => name === label)?.[1] ?? '—';
    const head = make('tr', {}, make('td', {}), ...sides.map(([side, answer]) => make('th', { scope: 'col' }, b ? chip(side) : null, make('span', {}, answer.title.split(' · ')[0]!),
      make('button', { type: 'button', class: 'link', 'aria-label': `移去${b ? NAMES[side] : '结果'}`, click: () => this.choose(side, null) }, '移去'))));
    const rows = labels.map((label) => make('tr', {}, make('th', { scope: 'row' }, label), ...sides.map(([, answer]) => make('td', {}, said(answer, label)))));
    return [
      make('table', { class: 'small plan-facts', 'aria-label': '结果' }, make('thead', {}, head), make('tbody', {}, ...rows)),
      ...(sides.some(([, { way }]) => !way) ? [make('p', { class: 'plan-note' }, '人数按 5 的倍数取整，不足 10 人不显示；按乡镇计，站址取乡镇位置。', b && !comparable(a, b) ? '两者的值不可相减，地图按甲着色。' : '')] : []),
      ...(sides.some(([, { way }]) => way) ? [make('p', { class: 'plan-note' }, '连线为走访次序，不是道路；公里为直线距离，到达时刻为估计。')] : []),
      ...sides.map(([side, answer]) => (answer.way ? this.day(side, answer.way, b !== null) : this.sites(side, answer, b !== null))),
    ];
  }

  private sites(side: Side, { sites }: Answer, two: boolean): HTMLElement | null {
    if (!sites.length) return null;
    const rows = sites.map((site, at) => make('li', {}, make('button', { type: 'button', click: () => this.events.go(site.point) },
      make('span', { class: `proposed ${side}` }, markText(at, side, two)), make('span', { class: 'site-name' }, site.name), make('span', { class: 'rank-value' }, `可达 ${persons(site.reached)}`))));
    return make('section', {}, make('h2', {}, `${two ? NAMES[side] : ''}建议站址（${sites.length}）`), make('ol', { class: 'plan-sites' }, ...rows));
  }

  /** The stops in order, and who had no place in the day. */
  private day(side: Side, { stops, left }: Way, two: boolean): HTMLElement {
    const name = two ? NAMES[side] : '';
    const rows = stops.map((stop, at) => make('li', {}, make('button', { type: 'button', click: () => this.events.go(stop.point) },
      make('span', { class: `proposed ${side}` }, markText(at, side, two)), make('span', { class: 'site-name', title: stop.name }, stop.name), stop.severe ? make('em', {}, '严重') : null,
      make('span', { class: 'rank-value' }, `${stop.arrives}–${stop.leaves}`), make('span', { class: 'rank-value route-km' }, `${stop.km.toFixed(1)} 公里`))));
    const rest = left.map(({ name: enterprise, why, point }) => make('tr', {}, make('th', { scope: 'row' }, make('button', { type: 'button', class: 'link', click: () => this.events.go(point) }, enterprise)), make('td', {}, why)));
    return make('section', {}, make('h2', {}, `${name}走访次序（${stops.length}）`), rows.length ? make('ol', { class: 'plan-sites plan-stops' }, ...rows) : make('p', { class: 'nothing' }, '当日工时内一家也走访不了'),
      ...(rest.length ? [make('h2', {}, `${name}未排入（${rest.length}）`), make('table', { class: 'small plan-left' }, make('thead', {}, make('tr', {}, ...['单位', '原因'].map((label) => make('th', { scope: 'col' }, label)))), make('tbody', {}, ...rest))] : []));
  }

  /** The townships with most patients that are worst off. */
  private worst(answer: Answer, two: boolean): HTMLElement | null {
    if (answer.way) return null;
    const listed = worstOf(answer);
    if (!listed.length) return make('p', { class: 'nothing' }, '没有不可达的乡镇');
    const rows = listed.slice(0, LISTED).map(({ name, patients, said, near, point }) => make('tr', {},
      make('th', { scope: 'row' }, point ? make('button', { type: 'button', class: 'link', click: () => this.events.go(point) }, name) : name),
      make('td', { class: 'number' }, persons(patients).replace('，不显示', '')), make('td', {}, said), make('td', {}, near)));
    const title = answer.measure === 'REACH' ? '不可达的乡镇' : '最差的乡镇';
    return make('section', {}, make('h2', {}, `${two ? '甲：' : ''}${title}（${Math.min(LISTED, listed.length)} / ${listed.length}）`),
      make('table', { class: 'small plan-towns' }, make('thead', {}, make('tr', {}, ...['乡镇', '患者', '值', '最近站点'].map((label) => make('th', { scope: 'col' }, label)))), make('tbody', {}, ...rows)));
  }

  private async list(turn: number): Promise<void> {
    let found: Plan[];
    try {
      found = await plans(this.session, this.place!.code);
    } catch (reason) {
      if (turn === this.turn) this.warn(sentence(reason));
      return;
    }
    if (turn !== this.turn) return;
    const again = this.runs.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset['run'] : undefined;
    fill(this.runs, make('h2', {}, `已有规划（${found.length}）`), found.length ? make('ul', { class: 'plan-list' }, ...found.map((plan) => this.run(plan))) : make('p', { class: 'nothing' }, '本地区还没有规划'));
    if (again) this.runs.querySelector<HTMLElement>(`[data-run="${again}"]`)?.focus();
  }

  private run(plan: Plan): HTMLElement {
    const side = (['a', 'b'] as const).find((each) => this.names[each] === plan.id);
    const other = plan.state === 'DONE' && !side && this.answers.a !== null;
    const deed = (label: string, name: string, act: () => void) => make('button', { type: 'button', class: 'link', 'data-run': `${name}/${plan.id}`, click: act }, label);
    return make('li', { class: side ? `shown ${side}` : '' },
      make('button', { type: 'button', 'data-run': plan.id, 'aria-pressed': String(side !== undefined), click: () => this.choose('a', plan.id) },
        side ? chip(side) : null, make('span', {}, summary(plan)), make('small', {}, `${plan.area.name}，${moment(plan.createdAt)}${plan.state === 'DONE' ? '' : `，${STATES[plan.state]}`}`)),
      OPEN.has(plan.state) ? deed('取消', 'cancel', () => void this.cancel(plan.id)) : other ? deed('与甲对比', 'compare', () => this.choose('b', plan.id)) : null);
  }

  // --- what is asked ---

  private offer(): void {
    const tabs = Object.entries(ASKS).map(([ask, label]) => make('button', { type: 'button', 'aria-pressed': String(this.ask === ask), click: () => {
      this.turnTo(ask as Ask);
      this.forms.querySelector<HTMLElement>('[aria-pressed=true]')?.focus();
    } }, label));
    fill(this.forms, make('div', { class: 'levels', role: 'group', 'aria-label': '规划问题' }, ...tabs), this.form());
  }

  private form(): HTMLElement {
    if (this.ask === 'route') return routeForm(this.session, this.events.ground(), (tour, button) => void this.begin(button, () => this.startRoute(tour)));
    return this.ask === 'siting' ? this.sitingForm() : this.accessForm();
  }

  private turnTo(ask: Ask): void {
    this.ask = ask;
    this.offer();
  }

  private accessForm(): HTMLElement {
    const now = parse(this.names.a ?? '') ?? { measure: 'WITHIN_KM', limit: 20, kind: 'STATION' } as Access;
    const measure = select('plan-measure', MEASURES, now.measure, () => { unit(); });
    const kind = select('plan-kind', SITES, now.kind);
    const limit = numeric('plan-limit', now.limit, 1, 500);
    const unit = () => { limit.disabled = measure.value === 'NEAREST'; caption.textContent = measure.value === 'WITHIN_MINUTES' ? '范围（分钟）' : '范围（公里）'; };
    const caption = make('span', {});
    unit();
    const asked = () => named({ measure: measure.value as Measure, limit: limit.valueAsNumber, kind: kind.value as SiteKind });
    const form = make('form', { class: 'plan-form', submit: (event) => { event.preventDefault(); this.events.asked(); this.choose('a', asked()); } },
      labelled('衡量', measure, 'wide'), labelled('站点', kind), make('label', {}, caption, limit),
      make('div', { class: 'plan-deeds' }, make('button', { type: 'submit', class: 'primary' }, '计算'),
        make('button', { type: 'button', class: 'quiet', click: () => { if (form.reportValidity()) this.choose(this.answers.a ? 'b' : 'a', asked()); } }, '作为乙对比')));
    return form;
  }

  private sitingForm(): HTMLElement {
    const [aim, kind] = [select('plan-aim', AIMS, 'COVERING'), select('plan-kind', SITES, 'STATION')];
    const [number, limit, capacity] = [numeric('plan-number', 3, 1, 500), numeric('plan-limit', 20, 1, 500), numeric('plan-capacity', null, 1, 1_000_000)];
    const unit = select('plan-unit', { KM: '公里', MINUTES: '分钟' }, 'KM');
    const keep = make('input', { type: 'checkbox', id: 'plan-keep', checked: true });
    const asked = (): Siting => ({ aim: aim.value as Aim, kind: kind.value as SiteKind, number: number.valueAsNumber, limit: limit.valueAsNumber, minutes: unit.value === 'MINUTES',
      capacity: Number.isNaN(capacity.valueAsNumber) ? null : capacity.valueAsNumber, keepSites: keep.checked });
    const button = make('button', { type: 'submit', class: 'primary' }, '开始计算');
    return make('form', { class: 'plan-form', submit: (event) => { event.preventDefault(); void this.begin(button, () => this.startSiting(asked())); } },
      labelled('目标', aim, 'wide'), labelled('站点', kind), labelled('新建数', number), labelled('可达范围', limit), labelled('单位', unit), labelled('每站容量（人）', capacity),
      make('label', { class: 'switch wide' }, keep, '现有站点保留并计入'), make('div', { class: 'plan-deeds' }, button));
  }

  private async startSiting(asked: Siting): Promise<Plan> {
    const plan = await start(this.session, this.place!.code, asked);
    this.events.asked();
    return plan;
  }

  private startRoute(tour: Tour): Promise<Plan> {
    return route(this.session, this.place!.code, tour);
  }

  private async begin(button: HTMLButtonElement, starting: () => Promise<Plan>): Promise<void> {
    button.disabled = true;
    try {
      const plan = await starting();
      this.events.say('规划已提交');
      this.choose('a', plan.id);
    } catch (reason) {
      this.warn(sentence(reason));
    }
    button.disabled = false;
  }

  private warn(text: string): void {
    this.notice.textContent = text;
    this.notice.hidden = !text;
  }
}

function isPlan(found: Answer | Plan | string | null): found is Plan {
  return found !== null && typeof found !== 'string' && 'state' in found;
}

function pointsOf({ start, end, stops, left }: Way): [number, number][] {
  return [start, ...(end ? [end] : []), ...[...stops, ...left].map(({ point }) => point)];
}

function worstOf({ towns, measure, low }: Answer): Town[] {
  const known = towns.filter((town) => !town.hidden && (measure !== 'REACH' || !town.value));
  const order = (town: Town) => (town.value === null ? -Infinity : low ? -town.value : town.value);
  return known.sort((a, b) => (measure === 'REACH' ? 0 : order(a) - order(b)) || (b.patients ?? 0) - (a.patients ?? 0) || a.code.localeCompare(b.code));
}

function chip(side: Side): HTMLElement {
  const element = make('b', { class: 'side-chip' }, NAMES[side]);
  element.style.background = COLOURS[side];
  return element;
}
