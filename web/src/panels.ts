/** Behind the list: how an area came to its value, where it stands among others, and which records make it. */

import { bar, trendChart } from './charts';
import { LEVEL_NAMES, ranking, records, trend, type Length, type Listed, type Part, type Picture, type Row } from './coverage';
import { fill, make } from './dom';
import { sentence } from './messages';
import { amount, classOf, figure, scaleOf, shown } from './scale';
import type { Session } from './session';

type Place = { code: string; name: string };
const LENGTHS: [Length, string][] = [['MONTH', '按月'], ['QUARTER', '按季'], ['YEAR', '按年']];
const PARTS: [Part, string][] = [['GAP', '差额'], ['NUMERATOR', '分子'], ['DENOMINATOR', '分母']];
const RECORDS: Record<string, string> = {
  enterprise: '用人单位', workplace: '工作场所', exposure: '接害岗位', inspection: '监督检查', finding: '隐患', patrol: '巡查', coordinator: '协管员', rehab_site: '康复站点',
  patient: '患者', institution: '机构', 'area/township': '乡镇', 'area/county': '区县', 'area/city': '市州', 'area/village': '村',
};

export class Panels {
  readonly element = make('div', { class: 'panel', role: 'tabpanel', id: 'panel', tabindex: '0' });
  private turn = 0;
  private length: Length = 'MONTH';
  private part: Part = 'GAP';
  private bestFirst = false;

  constructor(private readonly session: Session, private readonly select: (code: string) => void) {}

  async trend(picture: Picture, place: Place): Promise<void> {
    await this.load(() => trend(this.session, picture.question, place.code, this.length), (values) => {
      const { indicator } = picture.question;
      const again = (length: Length) => { this.length = length; void this.trend(picture, place); };
      const rows = [...values].reverse().map(({ period, asOf, value }) => make('tr', {}, make('th', { scope: 'row', title: `截至 ${asOf}` }, period), make('td', { class: 'number' }, shown(value, indicator)),
        make('td', { class: 'number' }, value.target === null ? '—' : amount(value.target, indicator)), make('td', {}, value.met === null ? '' : value.met ? '达标' : '▼ 未达标')));
      return [this.head(`${place.name} · 趋势`, choices('周期', LENGTHS, this.length, again)), trendChart(values, indicator),
        make('table', { class: 'small' }, make('thead', {}, make('tr', {}, ...['期间', '值', '目标', '是否达标'].map((label) => make('th', { scope: 'col' }, label)))), make('tbody', {}, ...rows))];
    });
  }

  async ranking(picture: Picture): Promise<void> {
    const plain = picture.rows.every((row) => row.value === null); // a number has no better or worse: the server doesn't rank it
    const asked = plain ? Promise.resolve(byNumber(picture, this.bestFirst)) : ranking(this.session, picture, this.bestFirst);
    await this.load(() => asked, (ranks) => {
      const { indicator } = picture.question;
      const scale = scaleOf(picture);
      const highest = scale.share ? 1 : Math.max(0, ...ranks.map(({ value }) => figure(value) ?? 0));
      const judged = scale.target !== null;
      const [first, last] = judged ? ['最差在前', '最好在前'] : ['由低到高', '由高到低'];
      const again = (best: 'first' | 'last') => { this.bestFirst = best === 'last'; void this.ranking(picture); };
      const list = ranks.map(({ rank, value }) => make('li', {}, make('button', { type: 'button', 'data-code': value.area.code, click: () => this.select(value.area.code) },
        make('b', {}, String(rank)), make('span', { class: 'rank-name' }, value.area.name), bar(figure(value) ?? 0, highest, scale.colours[classOf(value, scale)] ?? '#888', value.target),
        make('span', { class: 'rank-value' }, shown(value, indicator), value.met === false ? ' ▼' : ''))));
      return [this.head(`${picture.place.name} · 各${LEVEL_NAMES[picture.level]}排名`, choices('次序', [['first', first], ['last', last]] as ['first' | 'last', string][], this.bestFirst ? 'last' : 'first', again)),
        list.length ? make('ol', { class: 'ranks' }, ...list) : make('p', { class: 'nothing' }, '没有可排名的数据')];
    });
  }

  async records(picture: Picture, place: Place): Promise<void> {
    const names = new Map([...picture.rows.map(({ area }) => area), place].map(({ code, name }) => [code, name]));
    await this.load(() => records(this.session, picture.question, place.code, this.part, null), (page) => {
      const again = (part: Part) => { this.part = part; void this.records(picture, place); };
      const body = make('tbody', {}, ...page.records.map((one) => line(one, names)));
      const table = make('table', { class: 'small records' }, make('thead', {}, make('tr', {}, ...['名称', '类别', '所在区划'].map((label) => make('th', { scope: 'col' }, label)))), body);
      return [this.head(`${place.name} · 明细`, this.parts(again)), page.records.length ? table : make('p', { class: 'nothing' }, '没有您可查看的记录'),
        this.more(picture, place, page.endCursor, (listed) => body.append(...listed.map((one) => line(one, names))))];
    }, (notice) => [this.head(`${place.name} · 明细`, this.parts((part) => { this.part = part; void this.records(picture, place); })), notice]);
  }

  private parts(again: (part: Part) => void): HTMLElement {
    return choices('部分', PARTS, this.part, again);
  }

  private more(picture: Picture, place: Place, cursor: string | null, add: (listed: Listed[]) => void): HTMLElement | null {
    if (cursor === null) return null;
    let [after, part]: [string | null, Part] = [cursor, this.part];
    const button = make('button', { type: 'button', class: 'quiet more', click: async () => {
      button.disabled = true;
      try {
        const next = await records(this.session, picture.question, place.code, part, after);
        add(next.records);
        after = next.endCursor;
        button.hidden = after === null;
      } catch (reason) {
        button.textContent = `${sentence(reason)} 再试一次`;
      }
      button.disabled = false;
    } }, '再列 50 条');
    return button;
  }

  private head(title: string, ...more: HTMLElement[]): HTMLElement {
    return make('div', { class: 'caption' }, make('h2', {}, title), ...more);
  }

  /** The latest call wins. */
  private async load<Found>(ask: () => Promise<Found>, draw: (found: Found) => (Node | null)[], failed: (notice: HTMLElement) => (Node | null)[] = (notice) => [notice]): Promise<void> {
    const turn = ++this.turn;
    this.element.setAttribute('aria-busy', 'true');
    if (!this.element.hasChildNodes()) fill(this.element, make('p', { class: 'nothing' }, '正在读取…'));
    let content: (Node | null)[];
    try {
      content = draw(await ask());
    } catch (reason) {
      content = failed(make('p', { class: 'nothing' }, sentence(reason)));
    }
    if (turn !== this.turn) return;
    const again = this.element.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset['choice'] : undefined;
    fill(this.element, ...content);
    if (again) this.element.querySelector<HTMLElement>(`[data-choice="${again}"]`)?.focus();
    this.element.removeAttribute('aria-busy');
  }
}

function byNumber({ rows }: Picture, highestFirst: boolean): { rank: number; value: Row }[] {
  const known = rows.filter((row) => figure(row) !== null).sort((a, b) => (figure(a)! - figure(b)!) * (highestFirst ? -1 : 1));
  return known.map((value) => ({ rank: known.findIndex((other) => figure(other) === figure(value)) + 1, value }));
}

function line({ label, record, area }: Listed, names: Map<string, string>): HTMLElement {
  return make('tr', {}, make('th', { scope: 'row' }, label || '（无名称）'), make('td', {}, RECORDS[record] ?? record), make('td', {}, names.get(area) ?? area));
}

function choices<Name extends string>(label: string, all: [Name, string][], chosen: Name, choose: (name: Name) => void): HTMLElement {
  return make('div', { class: 'levels', role: 'group', 'aria-label': label }, ...all.map(([name, text]) =>
    make('button', { type: 'button', 'data-choice': name, 'aria-pressed': String(name === chosen), click: () => choose(name) }, text)));
}
