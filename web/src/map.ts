/** The map: our own boundaries as vector tiles, coloured through feature state by area code. No outside tiles, fonts or sprites. */

import { Map as Base, setWorkerUrl, NavigationControl, AttributionControl, type ExpressionSpecification, type GeoJSONSource,
  type LayerSpecification, type MapMouseEvent, type StyleSpecification } from 'maplibre-gl';
import { classOf, COLOURS, NO_DATA, percent, type Level, type Picture, type Row } from './coverage';

declare const MAP_WORKER: string;
setWorkerUrl(MAP_WORKER);

export interface Events {
  hover(code: string | null): void;
  select(code: string | null): void;
  open(code: string): void;
}

const LAYERS = { PROVINCE: 'province', CITY: 'city', COUNTY: 'county' } as const;
type Drawn = keyof typeof LAYERS;
const DRAWN = Object.keys(LAYERS) as Drawn[];
const TILE_DEPTH = 12; // deeper zooms draw these tiles larger
const CHINA: [number, number, number, number] = [73.5, 18, 135.1, 53.6];
const FONT = '"Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif';
const OUTSIDE = '#eceff1';
const LETTERS = { 'text-font': ['Medium'] }; // the weight; the family is FONT
const INK = { 'text-color': '#101d27', 'text-halo-color': 'rgba(255,255,255,.92)', 'text-halo-width': 1.6 };
const LOCALE = {
  'NavigationControl.ZoomIn': '放大', 'NavigationControl.ZoomOut': '缩小', 'AttributionControl.ToggleAttribution': '数据来源',
  'Map.Title': '覆盖地图', 'CooperativeGesturesHandler.WindowsHelpText': '按住 Ctrl 并滚动以缩放地图',
  'CooperativeGesturesHandler.MacHelpText': '按住 ⌘ 并滚动以缩放地图', 'CooperativeGesturesHandler.MobileHelpText': '用两根手指移动地图',
};

const STATE: ExpressionSpecification = ['coalesce', ['feature-state', 'class'], -2];
const COLOUR: ExpressionSpecification = ['match', STATE, -1, NO_DATA, ...COLOURS.flatMap((colour, index) => [index, colour]), OUTSIDE] as unknown as ExpressionSpecification;

function hidden(level: Drawn): { source: string; 'source-layer': string; layout: { visibility: 'none' } } {
  return { source: 'areas', 'source-layer': LAYERS[level], layout: { visibility: 'none' } };
}

function groundLayers(level: Drawn): LayerSpecification[] {
  return [
    { id: `${level}-fill`, type: 'fill', ...hidden(level), paint: { 'fill-color': COLOUR, 'fill-antialias': false } },
    { id: `${level}-edge`, type: 'line', ...hidden(level), paint: { 'line-color': '#ffffff', 'line-width': ['interpolate', ['linear'], ['zoom'], 4, 0.4, 8, 1.1] } },
  ];
}

function highlightLayers(level: Drawn): LayerSpecification[] {
  const flag = (name: string, yes: number, no: number): ExpressionSpecification => ['case', ['boolean', ['feature-state', name], false], yes, no];
  return [
    { id: `${level}-hover`, type: 'line', ...hidden(level), paint: { 'line-color': '#0f3149', 'line-width': 2, 'line-opacity': flag('hovered', 0.75, 0) } },
    { id: `${level}-selected`, type: 'line', ...hidden(level), paint: { 'line-color': '#0f3149', 'line-width': 3.2, 'line-opacity': flag('selected', 1, 0) } },
  ];
}

function style(): StyleSpecification {
  const areas = { type: 'vector' as const, tiles: [`${location.origin}/tiles/areas/{z}/{x}/{y}`], maxzoom: TILE_DEPTH, promoteId: 'code',
    attribution: '行政区划边界：<a href="https://www.tianditu.gov.cn" rel="noreferrer">天地图</a>' };
  const parent = (level: Drawn, colour: string, width: number): LayerSpecification => ({
    id: `${level}-frame`, type: 'line', source: 'areas', 'source-layer': LAYERS[level], paint: { 'line-color': colour, 'line-width': width } });
  return {
    version: 8,
    sources: {
      areas,
      labels: { type: 'geojson', data: collection([]) },
      points: { type: 'geojson', data: collection([]), promoteId: 'code' },
    },
    layers: [
      { id: 'ground', type: 'background', paint: { 'background-color': '#f7f9fa' } },
      ...DRAWN.flatMap(groundLayers),
      parent('CITY', '#ffffff', 1.8),
      parent('PROVINCE', '#6f8391', 1.4),
      ...DRAWN.flatMap(highlightLayers),
      { id: 'points', type: 'circle', source: 'points', paint: {
        'circle-radius': ['case', ['boolean', ['feature-state', 'selected'], false], 8, ['boolean', ['feature-state', 'hovered'], false], 7, 5],
        'circle-color': ['match', ['get', 'class'], 0, COLOURS[0]!, -1, NO_DATA, COLOURS[COLOURS.length - 1]!] as unknown as ExpressionSpecification,
        'circle-stroke-color': '#ffffff', 'circle-stroke-width': 1.5 } },
      { id: 'point-names', type: 'symbol', source: 'points', paint: INK,
        layout: { ...LETTERS, 'text-field': ['get', 'name'], 'text-size': 12.5, 'text-anchor': 'top', 'text-offset': [0, 0.6] } },
      { id: 'labels', type: 'symbol', source: 'labels', paint: INK,
        layout: { ...LETTERS, 'text-field': ['get', 'text'], 'text-size': ['interpolate', ['linear'], ['zoom'], 4, 10.5, 8, 13.5], 'text-padding': 3,
          'text-max-width': 7, 'symbol-sort-key': ['get', 'order'], 'text-variable-anchor': ['center', 'top', 'bottom'] } },
    ],
  };
}

export class CoverageMap {
  private readonly base: Base;
  private shown: string[] = [];
  private level: Level = 'COUNTY';
  private hovered: string | null = null;
  private selected: string | null = null;
  private readonly ready: Promise<void>;

  constructor(private readonly container: HTMLElement, token: () => Promise<string>, first: Picture, private readonly events: Events) {
    this.base = new Base({
      container, style: style(), bounds: first.place.bounds ?? CHINA, fitBoundsOptions: { padding: padding(container) }, locale: LOCALE,
      transformRequest: async (url) => ({ url, headers: { authorization: `Bearer ${await token()}` } }),
      localIdeographFontFamily: FONT, attributionControl: false, fadeDuration: 0, dragRotate: false, touchPitch: false, pitchWithRotate: false,
      renderWorldCopies: false, minZoom: 2, maxZoom: 14, maxBounds: [50, -5, 160, 65], cooperativeGestures: matchMedia('(max-width: 720px)').matches,
    });
    this.base.touchZoomRotate.disableRotation();
    this.base.addControl(new NavigationControl({ showCompass: false }), 'top-right');
    this.base.addControl(new AttributionControl({ compact: false }), 'bottom-right');
    this.ready = new Promise((resolve) => this.base.once('style.load', () => resolve()));
    this.listen();
    void this.show(first, false);
    window.zhijianMap = this.base;
  }

  async show(picture: Picture, move = true): Promise<void> {
    await this.ready;
    this.container.dataset['state'] = 'drawing';
    this.forget();
    this.level = picture.level;
    for (const level of DRAWN) this.visible(level, level === this.drawn());
    this.colour(picture);
    this.name(picture);
    if (move && picture.place.bounds) this.base.fitBounds(picture.place.bounds, { padding: padding(this.container), duration: still() ? 0 : 500 });
  }

  hover(code: string | null): void {
    if (code === this.hovered) return;
    this.flag(this.hovered, 'hovered', false);
    this.hovered = code;
    this.flag(code, 'hovered', true);
  }

  select(code: string | null): void {
    this.flag(this.selected, 'selected', false);
    this.selected = code;
    this.flag(code, 'selected', true);
  }

  resize(): void {
    this.base.resize();
  }

  remove(): void {
    this.base.remove();
  }

  private listen(): void {
    this.base.on('idle', () => { this.container.dataset['state'] = 'idle'; });
    this.base.on('mousemove', (event) => this.events.hover(this.at(event)));
    this.base.on('mouseout', () => this.events.hover(null));
    this.base.on('click', (event) => {
      const code = this.at(event);
      if (code && code === this.selected) this.events.open(code);
      else this.events.select(code);
    });
  }

  /** The code of the shown area under the pointer; areas outside the table don't answer. */
  private at(event: MapMouseEvent): string | null {
    const layer = this.level === 'TOWNSHIP' ? 'points' : `${this.drawn()}-fill`;
    const [feature] = this.base.queryRenderedFeatures(event.point, { layers: [layer] });
    const code = feature ? String(feature.id) : '';
    const found = this.shown.includes(code) ? code : null;
    this.base.getCanvas().style.cursor = found ? 'pointer' : '';
    return found;
  }

  /** Townships have no boundaries: they stand as points on their county. */
  private drawn(): Drawn {
    return this.level === 'PROVINCE' || this.level === 'CITY' ? this.level : 'COUNTY';
  }

  private visible(level: Drawn, yes: boolean): void {
    for (const part of ['fill', 'edge', 'hover', 'selected']) this.base.setLayoutProperty(`${level}-${part}`, 'visibility', yes ? 'visible' : 'none');
  }

  private colour(picture: Picture): void {
    this.shown = picture.rows.map((row) => row.area.code);
    if (this.level !== 'TOWNSHIP') {
      for (const row of picture.rows) this.set(row.area.code, { class: classOf(row.value) ?? -1, value: row.value });
    } else if (picture.place.level === 'COUNTY') {
      this.base.setFeatureState({ source: 'areas', sourceLayer: 'county', id: picture.place.code }, { class: classOf(picture.total?.value ?? null) ?? -1, selected: true });
    }
  }

  private name(picture: Picture): void {
    const placed = picture.rows.filter((row) => row.place?.point);
    const points = this.level === 'TOWNSHIP' ? placed : [];
    this.source('points').setData(collection(points.map((row) => feature(row, { code: row.area.code, name: row.area.name, class: row.value === null ? -1 : row.value > 0 ? 1 : 0 }))));
    const named = this.level === 'TOWNSHIP' ? [] : placed;
    this.source('labels').setData(collection(named.map((row) => feature(row, { text: `${row.area.name}\n${percent(row.value)}`, order: row.value ?? 2 }))));
  }

  private source(name: string): GeoJSONSource {
    return this.base.getSource(name) as GeoJSONSource;
  }

  private set(code: string, state: object): void {
    const target = this.level === 'TOWNSHIP' ? { source: 'points', id: code } : { source: 'areas', sourceLayer: LAYERS[this.drawn()], id: code };
    this.base.setFeatureState(target, state);
  }

  private flag(code: string | null, name: string, value: boolean): void {
    if (code && this.shown.includes(code)) this.set(code, { [name]: value });
  }

  private forget(): void {
    for (const level of DRAWN) this.base.removeFeatureState({ source: 'areas', sourceLayer: LAYERS[level] });
    this.base.removeFeatureState({ source: 'points' });
    this.hovered = this.selected = null;
  }
}

function feature(row: Row, properties: object): GeoJSON.Feature {
  return { type: 'Feature', geometry: { type: 'Point', coordinates: row.place?.point ?? [0, 0] }, properties: { ...properties } };
}

function collection(features: GeoJSON.Feature[]): GeoJSON.FeatureCollection {
  return { type: 'FeatureCollection', features };
}

function padding(container: HTMLElement): number {
  return container.clientWidth < 600 ? 14 : 36;
}

function still(): boolean {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}

declare global {
  interface Window {
    /** The map itself, for the console and the browser tests. */
    zhijianMap?: Base;
  }
}
