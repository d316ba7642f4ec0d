/** Classes, the target line on them, and *no data* as a thing of its own. */

import { BREAKS, COLOURS, percent } from './coverage';
import { make } from './dom';

const WHOLE = (value: number): string => `${Math.round(value * 100)}`;

export function legend(target: number | null): HTMLElement {
  const bands = COLOURS.map((colour) => {
    const band = make('span', { class: 'legend-band' });
    band.style.background = colour;
    return band;
  });
  const ticks = BREAKS.map((bound) => placed(make('span', { class: 'legend-tick' }, WHOLE(bound)), bound));
  const line = target === null ? null : placed(make('span', { class: 'legend-target' }, make('b', {}, `目标 ${percent(target).replace('.0%', '%')}`)), target);
  return make('figure', { class: 'legend', 'aria-label': '图例' },
    make('figcaption', {}, '有在岗协管员的乡镇占比（%）'),
    make('div', { class: 'legend-scale' }, make('div', { class: 'legend-bands' }, ...bands), line, ...ticks),
    make('div', { class: 'legend-none' }, make('span', { class: 'legend-swatch' }), '无数据（没有乡镇可统计）'),
  );
}

function placed(element: HTMLElement, share: number): HTMLElement {
  element.style.left = `${share * 100}%`;
  return element;
}
