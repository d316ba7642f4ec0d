/** What can lie above the areas: points whose tiles the server may or may not have. */

import type { ExpressionSpecification, LayerSpecification } from 'maplibre-gl';
import type { Session } from './session';

export const OVERLAYS = { enterprises: '用人单位', sites: '康复站点', coordinators: '协管员', gaps: '缺口' } as const;
export type Overlay = keyof typeof OVERLAYS;
export const KINDS = Object.keys(OVERLAYS) as Overlay[];

const COLOUR: Record<Overlay, string> = { enterprises: '#6b4c9a', sites: '#0b7a75', coordinators: '#1d5a80', gaps: '#b0442a' };
const MANY: ExpressionSpecification = ['>', ['to-number', ['get', 'count'], 0], 1];
const HALO = { 'text-color': '#101d27', 'text-halo-color': 'rgba(255,255,255,.92)', 'text-halo-width': 1.4 };

/** Clusters grow with what they hold and say how much; single ones bear their name when near. */
export function overlayLayers(kind: Overlay): LayerSpecification[] {
  const source = { source: kind, 'source-layer': kind } as const;
  return [
    { id: `${kind}-points`, type: 'circle', ...source, paint: {
      'circle-color': COLOUR[kind], 'circle-opacity': 0.82, 'circle-stroke-color': '#ffffff', 'circle-stroke-width': 1,
      'circle-radius': ['interpolate', ['linear'], ['log10', ['max', 1, ['to-number', ['get', 'count'], 1]]], 0, 4, 3, 15, 6, 28] } },
    { id: `${kind}-names`, type: 'symbol', ...source, paint: HALO, layout: {
      'text-font': ['Medium'], 'text-size': 11.5, 'text-anchor': 'top', 'text-offset': [0, 0.5], 'text-optional': true,
      'text-field': ['step', ['zoom'], ['case', MANY, ['to-string', ['get', 'count']], ''], 11, ['case', MANY, ['to-string', ['get', 'count']], ['coalesce', ['get', 'name'], '']]] } },
  ];
}

/** Which of them this server draws. */
export async function available(session: Session): Promise<Overlay[]> {
  const headers = { authorization: `Bearer ${await session.token()}` };
  const answers = await Promise.all(KINDS.map((kind) => fetch(`/tiles/${kind}/3/6/3`, { headers }).then(({ ok }) => ok, () => false)));
  return KINDS.filter((_, at) => answers[at]);
}
