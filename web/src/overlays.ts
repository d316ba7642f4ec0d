/** What can lie above the areas: points whose tiles the server may or may not have. */

import type { ExpressionSpecification, LayerSpecification } from 'maplibre-gl';
import { make } from './dom';
import type { Session } from './session';

export const OVERLAYS = { enterprises: '用人单位', sites: '康复站点', coordinators: '协管员', gaps: '缺口' } as const;
export type Overlay = keyof typeof OVERLAYS;
export const KINDS = Object.keys(OVERLAYS) as Overlay[];

const COLOUR: Record<Overlay, string> = { enterprises: '#6b4c9a', sites: '#101d27', coordinators: '#16303f', gaps: '#8f2f18' };
const MANY: ExpressionSpecification = ['>', ['to-number', ['get', 'count'], 0], 1];
const HALO = { 'text-color': '#101d27', 'text-halo-color': 'rgba(255,255,255,.92)', 'text-halo-width': 1.4 };
const COUNT: ExpressionSpecification = ['to-string', ['get', 'count']];
// Figures of areas stand at one point: beside it, that they hide neither each other nor the area's name.
const REASONS = { NO_COORDINATOR: ['缺协管员的乡镇', '员', [-15, -26]], NO_STATION: ['缺康复站的乡镇', '站', [15, -26]] } as const;

export function overlayLayers(kind: Overlay): LayerSpecification[] {
  if (kind === 'gaps') return Object.entries(REASONS).flatMap(([reason, [, sign, shift]]) => figureLayers(kind, reason, sign, [...shift]));
  return kind === 'coordinators' ? figureLayers(kind, '', '', [0, 24]) : pointLayers(kind);
}

/** Clusters grow with what they hold and say how much; single ones bear their name when near. */
function pointLayers(kind: Overlay): LayerSpecification[] {
  const source = { source: kind, 'source-layer': kind } as const;
  const sites = kind === 'sites';
  const spots: LayerSpecification = { id: `${kind}-points`, type: 'circle', ...source, ...(sites ? { filter: MANY } : {}), paint: {
    'circle-color': COLOUR[kind], 'circle-opacity': 0.88, 'circle-stroke-color': '#ffffff', 'circle-stroke-width': 1,
    'circle-radius': ['interpolate', ['linear'], ['log10', ['max', 1, ['to-number', ['get', 'count'], 1]]], 0, 4, 0.3, 7.5, 2, 11, 3, 15, 6, 26] } };
  const icons: LayerSpecification = { id: `${kind}-icons`, type: 'symbol', ...source, filter: ['!', MANY], paint: { 'icon-opacity': ['match', ['get', 'status'], 'OPEN', 1, 0.45] }, layout: {
    'icon-image': 'station', 'icon-size': ['match', ['get', 'kind'], 'STATION', 0.95, 0.6], 'icon-allow-overlap': true } };
  const counts: LayerSpecification = { id: `${kind}-counts`, type: 'symbol', ...source, filter: MANY, paint: { 'text-color': '#ffffff' }, layout: { 'text-font': ['Medium'], 'text-size': 10.5, 'text-field': COUNT, 'text-padding': 0 } };
  const names: LayerSpecification = { id: `${kind}-names`, type: 'symbol', ...source, minzoom: 11, filter: ['!', MANY], paint: HALO, layout: {
    'text-font': ['Medium'], 'text-size': 11.5, 'text-anchor': 'top', 'text-offset': [0, 0.7], 'text-field': ['coalesce', ['get', 'name'], ''] } };
  return [spots, ...(sites ? [icons] : []), counts, names];
}

/** How many there are in an area, in a round sign beside its point. */
function figureLayers(kind: Overlay, reason: string, sign: string, shift: [number, number]): LayerSpecification[] {
  const source = { source: kind, 'source-layer': kind, ...(reason ? { filter: ['==', ['get', 'reason'], reason] as ExpressionSpecification } : {}) } as const;
  return [
    { id: `${kind}${reason}-points`, type: 'circle', ...source, paint: { 'circle-radius': 12.5, 'circle-color': COLOUR[kind], 'circle-stroke-color': '#ffffff', 'circle-stroke-width': 1.5, 'circle-translate': shift } },
    { id: `${kind}${reason}-names`, type: 'symbol', ...source, paint: { 'text-color': '#ffffff', 'text-translate': shift }, layout: {
      'text-font': ['Medium'], 'text-size': 10.5, 'text-line-height': 1, 'text-allow-overlap': true, 'text-ignore-placement': true, 'text-field': sign ? ['concat', sign, '\n', COUNT] : COUNT } },
  ];
}

/** What the signs on the map stand for. */
export function overlayLegend(kinds: Overlay[]): HTMLElement | null {
  const row = (kind: Overlay, label: string, sign = '') => {
    const swatch = make('span', { class: `sign ${kind}` }, sign);
    if (kind !== 'sites') swatch.style.background = COLOUR[kind];
    return make('li', {}, swatch, label);
  };
  const said: Record<Overlay, HTMLElement[]> = {
    enterprises: [row('enterprises', '用人单位，圈内为家数')], sites: [row('sites', '康复站（小：康复点；淡：未开放）')], coordinators: [row('coordinators', '在岗协管员人数')],
    gaps: Object.values(REASONS).map(([label, sign]) => row('gaps', `${label}数`, sign)),
  };
  return kinds.length ? make('ul', { class: 'legend overlay-legend', 'aria-label': '图层图例' }, ...kinds.flatMap((kind) => said[kind])) : null;
}

/** Which of them this server draws. */
export async function available(session: Session): Promise<Overlay[]> {
  const headers = { authorization: `Bearer ${await session.token()}` };
  const answers = await Promise.all(KINDS.map((kind) => fetch(`/tiles/${kind}/3/6/3`, { headers }).then(({ ok }) => ok, () => false)));
  return KINDS.filter((_, at) => answers[at]);
}
