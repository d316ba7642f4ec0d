/** Classes, the target line on them, and what is no class: no data and what is hidden. */

import type { Indicator } from './coverage';
import { make } from './dom';
import { amount, positionOn, tick, type Scale } from './scale';

export function legend(scale: Scale, indicator: Indicator): HTMLElement {
  const bands = scale.colours.map((colour) => {
    const band = make('span', { class: 'legend-band' });
    band.style.background = colour;
    return band;
  });
  const short = (value: number) => tick(value, scale, indicator);
  const ticks = scale.breaks.map((bound, at) => placed(make('span', { class: 'legend-tick' }, short(bound)), at / (scale.breaks.length - 1)));
  const { target } = scale;
  const line = target === null ? null : placed(make('span', { class: `legend-target${target > 0.8 ? ' end' : target < 0.2 ? ' start' : ''}` }, make('b', {}, `目标 ${amount(target, indicator).replace('.0%', '%')}`)), positionOn(scale, target));
  return make('figure', { class: 'legend', 'aria-label': '图例' },
    make('figcaption', {}, `${indicator.label}（${indicator.unit}）`),
    make('div', { class: 'legend-scale' }, make('div', { class: 'legend-bands' }, ...bands), line, ...ticks),
    make('div', { class: 'legend-none' },
      make('span', { class: 'legend-swatch hatch' }), '无数据',
      indicator.personal ? make('span', { class: 'legend-swatch dots' }) : null, indicator.personal ? '人数过少，已隐藏' : null,
      target === null ? null : make('span', { class: 'legend-mark' }, '▼'), target === null ? null : '未达标'));
}

function placed(element: HTMLElement, share: number): HTMLElement {
  element.style.left = `${share * 100}%`;
  return element;
}
