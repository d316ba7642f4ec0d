/** What a day's route is asked for: who is due, where the team starts and ends, and how long its day is. */

import { fill, make } from './dom';
import { labelled, numeric, select } from './fields';
import { sentence } from './messages';
import { apart, due, DUE, ENDS, MOST_STOPS, type Due, type Ends, type Found, type Point, type Tour } from './routes';
import type { Session } from './session';

export interface Ground {
  /** The area of the page, then those below it; one of them is looked at first. */
  areas: { code: string; name: string }[];
  first: string;
  /** Of the area of the page. */
  point: Point | null;
  indicator: { id: string; label: string } | null;
  period: string | null;
  asOf: string | null;
  /** The middle of the map. */
  centre(): Point | null;
}

const CHOSEN = 10; // up to so many stops every order is weighed

export function routeForm(session: Session, ground: Ground, start: (tour: Tour, button: HTMLButtonElement) => void): HTMLElement {
  const form = new RouteForm(session, ground, start);
  void form.list();
  return form.element;
}

class RouteForm {
  readonly element: HTMLElement;
  private readonly source: HTMLSelectElement;
  private readonly within: HTMLSelectElement;
  private readonly from: Place;
  private readonly to: Place;
  private readonly ends = select('route-ends', ENDS, 'START', () => this.showEnd());
  private readonly departs = make('input', { id: 'route-departs', type: 'time', required: true, value: '08:30' });
  private readonly hours = numeric('route-hours', 8, 0.5, 24, 0.5);
  private readonly visit = numeric('route-visit', 60, 0, 480);
  private readonly severe = make('input', { id: 'route-severe', type: 'checkbox', checked: true });
  private readonly said = make('p', { class: 'route-said', 'aria-live': 'polite' });
  private readonly stops = make('ul', { class: 'route-stops', 'aria-label': '走访对象', keydown: (event) => this.walk(event as KeyboardEvent) });
  private readonly button = make('button', { type: 'submit', class: 'primary' }, '计算路线');
  private found: Found | null = null;
  private chosen = new Set<string>();
  private turn = 0;

  constructor(private readonly session: Session, private readonly ground: Ground, start: (tour: Tour, button: HTMLButtonElement) => void) {
    const own = ground.indicator && !(ground.indicator.id in DUE) ? { [ground.indicator.id]: `当前指标的差额：${ground.indicator.label}` } : {};
    this.source = select('route-source', { ...DUE, ...own }, ground.indicator && ground.indicator.id in DUE ? ground.indicator.id : 'INSPECTED', () => void this.list());
    // Keys that look like numbers would be put in order of number, hence the letter.
    this.within = select('route-area', Object.fromEntries(ground.areas.map(({ code, name }, at) => [`a${code}`, at ? name : `${name}（全部）`])), `a${ground.first}`, () => void this.list());
    this.from = new Place('route-from', '起点', ground.point ?? ground.centre(), ground.centre, () => this.draw());
    this.to = new Place('route-to', '终点', ground.point ?? ground.centre(), ground.centre, () => undefined);
    this.element = make('form', { class: 'plan-form', submit: (event) => { event.preventDefault(); start(this.tour(), this.button); } },
      labelled('走访对象', this.source, 'wide'), labelled('范围', this.within, 'wide'), this.from.element, labelled('出发', this.departs),
      labelled('收队', this.ends), this.to.element, labelled('工时（小时）', this.hours), labelled('每家停留（分钟）', this.visit),
      make('label', { class: 'switch wide' }, this.severe, '排不下时，危害严重的优先'), make('div', { class: 'plan-deeds' }, this.button),
      make('div', { class: 'route-list' }, this.said, this.stops));
    this.showEnd();
  }

  /** The latest call wins. */
  async list(): Promise<void> {
    const turn = ++this.turn;
    const { period, asOf } = this.ground;
    this.said.textContent = '正在读取名单…';
    this.button.disabled = true;
    fill(this.stops);
    let said = '';
    const found = await due(this.session, { indicator: this.source.value, area: this.within.value.slice(1), period, asOf }).catch((reason: unknown) => { said = sentence(reason); return null; });
    if (turn !== this.turn) return;
    this.found = found;
    this.chosen = new Set(this.nearest().slice(0, CHOSEN).map(({ id }) => id));
    this.draw();
    if (!found) this.said.textContent = said || '这项指标的差额不是用人单位，请另选名单。';
  }

  private nearest(): Due[] {
    const start = this.from.point();
    const far = new Map(this.found?.due.map((each) => [each.id, apart(start, each.point)]));
    return [...(this.found?.due ?? [])].sort((a, b) => far.get(a.id)! - far.get(b.id)!);
  }

  /** The nearest, and whoever is chosen. */
  private draw(): void {
    const all = this.nearest();
    const shown = all.filter(({ id }, at) => at < MOST_STOPS || this.chosen.has(id));
    const start = this.from.point();
    fill(this.stops, ...shown.map((one, at) => this.line(one, apart(start, one.point), at === 0)));
    this.count();
  }

  private line({ id, name, severe }: Due, km: number, first: boolean): HTMLElement {
    const box = make('input', { type: 'checkbox', value: id, checked: this.chosen.has(id), tabindex: first ? '0' : '-1', change: () => {
      if (box.checked) this.chosen.add(id);
      else this.chosen.delete(id);
      this.count();
    } });
    return make('li', {}, make('label', {}, box, make('span', { class: 'site-name' }, name), severe ? make('em', {}, '严重') : null, make('span', { class: 'rank-value' }, `${km.toFixed(1)} 公里`)));
  }

  private count(): void {
    const { due: all = [], unplaced = 0, more = false } = this.found ?? {};
    const shown = this.stops.childElementCount;
    const notes = [all.length > shown ? `列出离起点最近的 ${shown} 家` : '', unplaced ? `${unplaced} 家没有位置，不能排入` : '', more ? `名单过长，只读了前 ${all.length + unplaced} 家，请选小些的范围` : ''];
    this.said.textContent = all.length ? [`已选 ${this.chosen.size} 家，共 ${all.length} 家`, ...notes].filter(Boolean).join('；') : unplaced ? `名单上的 ${unplaced} 家都没有位置` : '没有这样的单位';
    this.button.disabled = this.chosen.size === 0 || this.chosen.size > MOST_STOPS;
    if (this.chosen.size > MOST_STOPS) this.said.textContent += `；一次至多 ${MOST_STOPS} 家`;
  }

  /** One stop of the Tab key; the arrows walk the list. */
  private walk(event: KeyboardEvent): void {
    const boxes = [...this.stops.querySelectorAll('input')];
    const at = boxes.indexOf(event.target as HTMLInputElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: boxes.length - 1 }[event.key];
    const box = to === undefined ? undefined : boxes[to];
    if (to === undefined) return;
    event.preventDefault();
    if (!box) return;
    boxes[at]!.tabIndex = -1;
    box.tabIndex = 0;
    box.focus();
  }

  private showEnd(): void {
    this.to.element.hidden = this.ends.value !== 'ELSEWHERE';
    this.to.element.disabled = this.to.element.hidden;
  }

  private tour(): Tour {
    const ends = this.ends.value as Ends;
    const [hour = 0, minute = 0] = this.departs.value.split(':').map(Number);
    return { start: this.from.point(), end: ends === 'ELSEWHERE' ? this.to.point() : null, closed: ends === 'START', enterprises: [...this.chosen],
      visitMinutes: this.visit.valueAsNumber, dayMinutes: this.hours.valueAsNumber * 60, departureMinutes: hour * 60 + minute, severeFirst: this.severe.checked };
  }
}

/** A point by its coordinates, or where the map is. */
class Place {
  readonly element: HTMLFieldSetElement;
  private readonly lon: HTMLInputElement;
  private readonly lat: HTMLInputElement;

  constructor(id: string, name: string, point: Point | null, centre: () => Point | null, moved: () => void) {
    const field = (part: 'lon' | 'lat', label: string, value: number | undefined, most: number) =>
      make('input', { id: `${id}-${part}`, type: 'number', step: 'any', min: String(-most), max: String(most), required: true, 'aria-label': `${name}${label}`, value: value === undefined ? '' : value.toFixed(5), change: moved });
    this.lon = field('lon', '经度', point?.[0], 180);
    this.lat = field('lat', '纬度', point?.[1], 90);
    this.element = make('fieldset', { class: 'route-place' }, make('legend', {}, `${name}（经度、纬度，WGS 84）`), this.lon, this.lat,
      make('button', { type: 'button', class: 'quiet', 'aria-label': `${name}取地图中心`, click: () => { this.set(centre()); moved(); } }, '取地图中心'));
  }

  point(): Point {
    return [this.lon.valueAsNumber || 0, this.lat.valueAsNumber || 0];
  }

  private set(point: Point | null): void {
    if (point) [this.lon.value, this.lat.value] = point.map((number) => number.toFixed(5)) as [string, string];
  }
}
