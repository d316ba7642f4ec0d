/** Files of what is shown. All data come from /export, where each is audited: also those of the picture and of the printed sheet. */

import type { Picture, Row, Value } from './coverage';
import { fill, make } from './dom';
import { Problem } from './graphql';
import type { CoverageMap } from './map';
import { named, type File } from './pickers';
import { COLOURS, type PlanLayer } from './plan-layer';
import { amount, count, HIDDEN, NONE, scaleOf, shown, tick, classOf, figure } from './scale';
import type { Session } from './session';
import { missing } from './table';

export interface Sheet {
  title: string;
  facts: [string, string][];
  rows: (Omit<Value, 'area' | 'targetSource'> & { code: string; name: string })[];
}

const FONT = '"Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif';

export async function exportFile(session: Session, picture: Picture, file: File, maps: CoverageMap[], layer: PlanLayer | null): Promise<void> {
  const drawn = file === 'png' || file === 'print';
  const response = await ask(session, picture, drawn ? 'json' : file, drawn ? file : '');
  if (!drawn) return save(await response.blob(), filename(response));
  const sheet = (await response.json()) as Sheet;
  if (file === 'print') return print(picture, sheet, await drawFigures(picture, sheet, maps, layer));
  const canvas = await drawMaps(picture, sheet, maps, layer, false);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  if (blob) save(blob, filename(response).replace(/json$/, 'png'));
}

async function ask(session: Session, { question, level }: Picture, form: string, purpose: string): Promise<Response> {
  const { indicator, area, tree, period, asOf, compare } = question;
  const given = { indicator: indicator.id, area, level, tree, period, asOf, compare: purpose && compare, for: purpose };
  const query = new URLSearchParams(Object.entries(given).filter((entry): entry is [string, string] => Boolean(entry[1])));
  const response = await fetch(`/export/coverage.${form}?${query}`, { headers: { authorization: `Bearer ${await session.token()}` } })
    .catch(() => { throw new Problem('OFFLINE', 'the server cannot be reached'); });
  if (response.ok) return response;
  const answer = (await response.json().catch(() => ({}))) as { errors?: { message: string; extensions: { code: string } }[] };
  throw new Problem(answer.errors?.[0]?.extensions.code ?? `HTTP_${response.status}`, answer.errors?.[0]?.message ?? '');
}

function filename(response: Response): string {
  return decodeURIComponent(response.headers.get('content-disposition')?.split("''")[1] ?? 'coverage');
}

function save(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  make('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The maps side by side, with title above, legend, day and credits below; `bare`: for the sheet, which says the rest itself. */
async function drawMaps(picture: Picture, sheet: Sheet, maps: CoverageMap[], layer: PlanLayer | null, bare: boolean): Promise<HTMLCanvasElement> {
  const images = await Promise.all(maps.map((map) => map.picture()));
  const unit = devicePixelRatio;
  const [head, foot] = bare ? [0, 52 * unit] : [64 * unit, 96 * unit];
  const canvas = make('canvas');
  canvas.width = images.reduce((sum, image) => sum + image.width, 0);
  canvas.height = head + foot + Math.max(...images.map((image) => image.height));
  const pen = canvas.getContext('2d')!;
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  let left = 0;
  for (const image of images) {
    pen.drawImage(image, left, head);
    left += image.width;
  }
  if (layer) drawClasses(pen, layer, 16 * unit, canvas.height - foot + 26 * unit, unit);
  else drawLegend(pen, picture, 16 * unit, canvas.height - foot + 14 * unit, unit);
  if (bare) return canvas;
  write(pen, layer?.title ?? sheet.title, 16 * unit, 30 * unit, 20 * unit, '#1b2a35', true);
  const { period, compare } = picture.question;
  if (layer) {
    write(pen, `${layer.note}${layer.classes.length && !layer.ways.length ? '人数按 5 的倍数取整，不足 10 人不显示。' : ''}`, 16 * unit, 52 * unit, 13 * unit, '#5b6b77');
    write(pen, fact(sheet, '边界'), 16 * unit, canvas.height - 12 * unit, 11 * unit, '#5b6b77');
    return canvas;
  }
  write(pen, [fact(sheet, '期间'), `数据截至 ${fact(sheet, '数据截至')}`, compare ? `右图：${named(compare)}` : period ? named(period) : ''].filter(Boolean).join('　'), 16 * unit, 52 * unit, 13 * unit, '#5b6b77');
  write(pen, `${fact(sheet, '边界')}　${fact(sheet, '口径')}`, 16 * unit, canvas.height - 12 * unit, 11 * unit, '#5b6b77');
  return canvas;
}

/** For the sheet, which is about figures: a plan that lies over them steps aside. */
async function drawFigures(picture: Picture, sheet: Sheet, maps: CoverageMap[], layer: PlanLayer | null): Promise<HTMLCanvasElement> {
  await Promise.all(maps.map((map) => map.plan(null)));
  try {
    return await drawMaps(picture, sheet, maps, null, true);
  } finally {
    for (const map of maps) void map.plan(layer);
  }
}

function drawClasses(pen: CanvasRenderingContext2D, { classes, signs, areas }: PlanLayer, left: number, top: number, unit: number): void {
  const sites = signs.map(({ text, label, side, count }) => ({ label: `${label} ${text}…`, colour: COLOURS[side], hollow: false, count }));
  let x = left;
  for (const { label, colour, hollow, count } of [...classes, ...sites]) {
    pen.beginPath();
    pen.arc(x + 6 * unit, top - 4 * unit, 5 * unit, 0, 2 * Math.PI);
    [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [hollow ? '#fff' : colour, colour, 2 * unit];
    pen.fill();
    pen.stroke();
    write(pen, `${label}（${count}）`, x + 16 * unit, top, 12 * unit, '#1b2a35');
    x += pen.measureText(`${label}（${count}）`).width + 32 * unit;
  }
  if (areas.size) write(pen, '底色：各区县患者可达占比，由橙（低）到蓝（高），每级 20%，灰色不显示', left, top + 24 * unit, 11 * unit, '#5b6b77');
}

function drawLegend(pen: CanvasRenderingContext2D, picture: Picture, left: number, top: number, unit: number): void {
  const scale = scaleOf(picture);
  const width = 52 * unit;
  scale.colours.forEach((colour, at) => {
    pen.fillStyle = colour;
    pen.fillRect(left + at * width, top, width, 14 * unit);
  });
  scale.breaks.forEach((bound, at) => write(pen, tick(bound, scale, picture.question.indicator), left + at * width, top + 30 * unit, 11 * unit, '#1b2a35'));
  const after = left + (scale.colours.length + 0.6) * width;
  const target = scale.target === null ? '' : `　▼ 未达目标 ${amount(scale.target, picture.question.indicator)}`;
  write(pen, `（${picture.question.indicator.unit}）　斜线：无数据　网点：已隐藏${target}`, after, top + 12 * unit, 12 * unit, '#1b2a35');
}

function write(pen: CanvasRenderingContext2D, text: string, x: number, y: number, size: number, colour: string, bold = false): void {
  pen.font = `${bold ? '600 ' : ''}${size}px ${FONT}`;
  pen.fillStyle = colour;
  pen.fillText(text, x, y);
}

function fact(sheet: Sheet, name: string): string {
  return sheet.facts.find(([label]) => label === name)?.[1] ?? '';
}

/** An A4 sheet instead of the page while it prints. */
async function print(picture: Picture, sheet: Sheet, canvas: HTMLCanvasElement): Promise<void> {
  const image = make('img', { alt: sheet.title, src: canvas.toDataURL('image/png') });
  await image.decode();
  const rows: Row[] = sheet.rows.map(({ code, name, ...value }) => ({ ...value, area: { code, name }, targetSource: null, place: null, before: null }));
  const taken = { ...picture, rows };
  const paper = make('section', { class: 'paper' }, make('h1', {}, '职业健康监督覆盖情况表'), make('h2', {}, `${sheet.title}（${when(picture)}）`), summary(taken), image, table(taken), notes(sheet), signatures());
  document.querySelector('.paper')?.remove();
  document.body.append(paper);
  window.addEventListener('afterprint', () => paper.remove(), { once: true });
  window.print();
}

/** Of both maps, from the left, where there are two. */
function when({ question: { period, compare } }: Picture): string {
  return [period ? named(period) : '本年至今', ...(compare ? [named(compare)] : [])].join('，右图 ');
}

function summary(picture: Picture): HTMLElement {
  const { question, rows, total } = picture;
  const scale = scaleOf(picture);
  const below = rows.filter((row) => row.met === false).length;
  const said = [`总体 ${shown(total, question.indicator)}`, scale.target === null ? '' : `目标 ${amount(scale.target, question.indicator)}`, scale.target === null ? '' : `未达标 ${below} 个`,
    `无数据 ${rows.filter((row) => classOf(row, scale) === NONE).length} 个`, question.indicator.personal ? `已隐藏 ${rows.filter((row) => classOf(row, scale) === HIDDEN).length} 个` : ''];
  return make('p', { class: 'paper-summary' }, said.filter(Boolean).join('　'));
}

function table({ question, rows }: Picture): HTMLElement {
  const { indicator } = question;
  const heads = ['序号', '地区', '代码', '分母', '分子', '差额', '值', '目标', '是否达标'];
  const ordered = [...rows].sort((a, b) => (figure(a) ?? Infinity) - (figure(b) ?? Infinity));
  const lines = ordered.map((row, at) => [`${at + 1}`, row.area.name, row.area.code, count(row.denominator, row.suppressed), count(row.numerator, row.suppressed), count(missing(row), row.suppressed),
    shown(row, indicator), row.target === null ? '—' : amount(row.target, indicator), row.met === null ? '—' : row.met ? '达标' : '▼ 未达标']);
  return make('table', {}, make('thead', {}, make('tr', {}, ...heads.map((head) => make('th', { scope: 'col' }, head)))),
    make('tbody', {}, ...lines.map((cells) => make('tr', {}, ...cells.map((cell) => make('td', {}, cell))))));
}

function notes(sheet: Sheet): HTMLElement {
  const list = make('dl');
  fill(list, ...sheet.facts.flatMap(([label, said]) => [make('dt', {}, label), make('dd', {}, label === '期间' && /^\d{4}/.test(said) ? named(said) : said)]));
  return list;
}

function signatures(): HTMLElement {
  return make('p', { class: 'paper-hands' }, ...['填报单位：', '审核人：', '日期：'].map((label) => make('span', {}, label)));
}
