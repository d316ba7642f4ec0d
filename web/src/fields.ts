/** Fields of the forms of plans. */

import { make } from './dom';

export function labelled(text: string, field: HTMLElement, kind = ''): HTMLElement {
  return make('label', { class: kind }, make('span', {}, text), field);
}

export function select(id: string, choices: Record<string, string>, chosen: string, change: () => void = () => undefined): HTMLSelectElement {
  const element = make('select', { id, change }, ...Object.entries(choices).map(([value, label]) => make('option', { value }, label)));
  element.value = chosen;
  return element;
}

export function numeric(id: string, value: number | null, min: number, max: number, step = 1): HTMLInputElement {
  return make('input', { id, type: 'number', min: String(min), max: String(max), step: String(step), required: value !== null, ...(value === null ? { placeholder: '不限' } : { value: String(value) }) });
}
