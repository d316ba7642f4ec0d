/** The map: our own boundaries as vector tiles, coloured through feature state by area code. No outside tiles, fonts or sprites. */

import { Map as Base, setWorkerUrl, NavigationControl, AttributionControl, type ExpressionSpecification, type GeoJSONSource,
  type LayerSpecification, type MapMouseEvent, type StyleSpecification } from 'maplibre-gl';
import type { Level, Picture, Row, Value } from './coverage';
import { overlayLayers, type Overlay } from './overlays';
import { COLOURS, type PlanLayer, type Side as Answer } from './plan-layer';
import { classOf, figure, HIDDEN, NONE, scaleOf, shown as words, type Scale } from './scale';

declare const MAP_WORKER: string;
setWorkerUrl(MAP_WORKER);

export interface Events {
  hover(code: string | null): void;
  select(code: string | null): void;
  open(code: string): void;
  /** The map shows another part of the world. */
  moved?(): void;
  /** 天地图 answers nothing but refusals. */
  groundless?(): void;
}

const LAYERS = { PROVINCE: 'province', CITY: 'city', COUNTY: 'county', TOWNSHIP: 'township' } as const;
type Drawn = keyof typeof LAYERS;
const DRAWN = Object.keys(LAYERS) as Drawn[];
const TILE_DEPTH = 12; // deeper zooms draw these tiles larger
const POINT_DEPTH = 17; // as deep as the map goes: where a tile holds too many points, those below it tell them apart
const CHINA: [number, number, number, number] = [73.5, 18, 135.1, 53.6];
const FONT = '"Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif';
const OUTSIDE = '#eceff1';
const DERIVED = { 'line-color': '#8a98a3', 'line-width': 0.8, 'line-dasharray': [3, 2] }; // no surveyed line
const LETTERS = { 'text-font': ['Medium'] }; // the weight; the family is FONT
const INK = { 'text-color': '#101d27', 'text-halo-color': 'rgba(255,255,255,.92)', 'text-halo-width': 1.6 };
const LOCALE = {
  'NavigationControl.ZoomIn': '放大', 'NavigationControl.ZoomOut': '缩小', 'AttributionControl.ToggleAttribution': '数据来源',
  'Map.Title': '覆盖地图', 'CooperativeGesturesHandler.WindowsHelpText': '按住 Ctrl 并滚动以缩放地图',
  'CooperativeGesturesHandler.MacHelpText': '按住 ⌘ 并滚动以缩放地图', 'CooperativeGesturesHandler.MobileHelpText': '用两根手指移动地图',
};

const STATE: ExpressionSpecification = ['coalesce', ['feature-state', 'class'], -2];
const UNKNOWN = '#dfe3e7'; // under the patterns of no data and of hidden values
const TIANDITU = ['vec', 'cva'] as const; // ground, names
const ENOUGH = 3; // refusals without a single tile: the key is wrong or used up, or there is no way to it

/** Where a map begins, before there are figures. */
export interface Start {
  bounds: [number, number, number, number] | null;
  level: Level;
}

/** Which of both periods a map shows. */
export type Side = 'now' | 'before';

function when(state: number): ExpressionSpecification {
  return ['case', ['==', STATE, state], 1, 0];
}

interface Ground {
  source: string;
  'source-layer': string;
  layout: { visibility: 'none' | 'visible' };
}

function ground(level: Drawn, shown: boolean): Ground {
  return { source: 'areas', 'source-layer': LAYERS[level], layout: { visibility: shown ? 'visible' : 'none' } };
}

/** Colours come with the state: were they in the style, each new scale would have all tiles cut anew. */
function groundLayers(level: Drawn, shown: boolean): LayerSpecification[] {
  const at = ground(level, shown);
  return [
    { id: `${level}-fill`, type: 'fill', ...at, paint: { 'fill-color': ['to-color', ['feature-state', 'colour'], OUTSIDE], 'fill-antialias': false } },
    { id: `${level}-none`, type: 'fill', ...ground(level, false), paint: { 'fill-pattern': 'hatch', 'fill-opacity': when(NONE), 'fill-antialias': false } },
    { id: `${level}-hidden`, type: 'fill', ...ground(level, false), paint: { 'fill-pattern': 'dots', 'fill-opacity': when(HIDDEN), 'fill-antialias': false } },
    { id: `${level}-edge`, type: 'line', ...at, paint: level === 'TOWNSHIP' ? DERIVED : { 'line-color': '#ffffff', 'line-width': ['interpolate', ['linear'], ['zoom'], 4, 0.4, 8, 1.1] } },
  ];
}

/** The line round what is pointed at or chosen. */
function markLayer(level: Drawn, shown: boolean): LayerSpecification {
  const flag = (name: string): ExpressionSpecification => ['boolean', ['feature-state', name], false];
  return { id: `${level}-mark`, type: 'line', ...ground(level, shown), paint: {
    'line-color': '#0f3149', 'line-width': ['case', flag('selected'), 3.2, 2], 'line-opacity': ['case', flag('selected'), 1, flag('hovered'), 0.75, 0] } };
}

/** Over the veiled areas: outlines of townships where the zoom has them, a spot for each, and numbered sites. */
function planLayers(hide: { layout: { visibility: 'none' } }): LayerSpecification[] {
  const areas = { source: 'areas', 'source-layer': 'township' } as const;
  const near: ExpressionSpecification = ['interpolate', ['linear'], ['zoom'], 5, ['*', 0.6, ['get', 'size']], 8, ['get', 'size'], 12, ['*', 1.4, ['get', 'size']]];
  const marks = (side: Answer, shared: boolean): LayerSpecification[] => {
    const filter: ExpressionSpecification = ['all', ['==', ['get', 'side'], side], ['==', ['get', 'shared'], shared]];
    const shift: [number, number] = shared ? [24, 0] : [0, 0]; // beside the other's mark in the same place
    const id = `plan-marks-${side}${shared ? '-beside' : ''}`;
    return [
      { id, type: 'circle', source: 'plan-marks', filter, paint: { 'circle-radius': 12, 'circle-color': COLOURS[side], 'circle-stroke-color': '#ffffff', 'circle-stroke-width': 2, 'circle-translate': shift } },
      { id: `${id}-text`, type: 'symbol', source: 'plan-marks', filter, paint: { 'text-color': '#ffffff', 'text-translate': shift },
        layout: { ...LETTERS, 'text-field': ['get', 'text'], 'text-size': 12, 'text-padding': 0 } }, // of marks in one place one number is read, not all above each other
    ];
  };
  /** The second is dashed: told from the first without colours. */
  const way = (side: Answer): LayerSpecification[] => [
    { id: `plan-ways-${side}`, type: 'line', source: 'plan-ways', filter: ['==', ['get', 'side'], side], layout: { 'line-join': 'round' },
      paint: { 'line-color': COLOURS[side], 'line-width': 3, 'line-offset': side === 'a' ? 0 : 4, ...(side === 'b' ? { 'line-dasharray': [2.5, 1.2] } : {}) } }];
  return [
    { id: 'plan-veil', type: 'background', ...hide, paint: { 'background-color': '#f7f9fa', 'background-opacity': 0.93 } },
    { id: 'plan-area', type: 'fill', source: 'areas', 'source-layer': 'county', ...hide, paint: { 'fill-color': ['to-color', ['feature-state', 'plan'], 'rgba(0,0,0,0)'], 'fill-opacity': 0.5 } },
    { id: 'plan-edge', type: 'line', source: 'areas', 'source-layer': 'county', ...hide, paint: { 'line-color': '#c3cdd4', 'line-width': 1 } },
    { id: 'plan-fill', type: 'fill', ...areas, ...hide, paint: { 'fill-color': ['to-color', ['feature-state', 'plan'], 'rgba(0,0,0,0)'], 'fill-opacity': 0.45 } },
    { id: 'plan-outline', type: 'line', ...areas, ...hide, paint: DERIVED },
    { id: 'plan-spots', type: 'circle', source: 'plan-spots', paint: {
      'circle-radius': near, 'circle-color': ['case', ['get', 'hollow'], '#ffffff', ['get', 'colour']], 'circle-stroke-color': ['case', ['get', 'hollow'], ['get', 'colour'], '#ffffff'],
      'circle-stroke-width': ['case', ['get', 'hollow'], 1.6, 1] } },
    { id: 'plan-names', type: 'symbol', source: 'plan-spots', minzoom: 8.5, paint: INK,
      layout: { ...LETTERS, 'text-field': ['get', 'name'], 'text-size': 12, 'text-anchor': 'top', 'text-offset': [0, 0.9], 'text-optional': true } },
    ...way('a'), ...way('b'),
    { id: 'plan-ways-turn', type: 'symbol', source: 'plan-ways', layout: { 'symbol-placement': 'line', 'symbol-spacing': 90, 'icon-image': 'onward', 'icon-allow-overlap': true } },
    ...marks('a', false), ...marks('b', false), ...marks('b', true),
  ];
}

const POINTS: LayerSpecification = { id: 'points', type: 'circle', source: 'points', paint: {
  'circle-radius': ['case', ['boolean', ['feature-state', 'selected'], false], 8, ['boolean', ['feature-state', 'hovered'], false], 7, 5],
  'circle-color': ['get', 'colour'], 'circle-stroke-color': ['case', ['to-boolean', ['get', 'below']], '#101d27', '#ffffff'], 'circle-stroke-width': ['case', ['to-boolean', ['get', 'below']], 2, 1.5] } };

/** Kinds of drawing that the first map lacks: patterns, broken lines, points. */
function rehearsal(): LayerSpecification[] {
  const kinds = [...groundLayers('TOWNSHIP', true).filter(({ id }) => /-(none|edge)$/.test(id)), POINTS];
  return kinds.map((layer) => {
    const { 'source-layer': _, ...kind } = { 'source-layer': '', ...layer };
    return { ...kind, id: `rehearsed-${layer.id}`, source: 'rehearsed', layout: { visibility: 'visible' } } as LayerSpecification;
  });
}

function speck([west, south, east, north]: number[]): GeoJSON.FeatureCollection {
  const at = (share: number): [number, number] => [west! + (east! - west!) * share, south! + (north! - south!) * share];
  const [from, to] = [at(0.49), at(0.51)];
  return collection([spot(at(0.5), {}), { type: 'Feature', geometry: { type: 'Polygon', coordinates: [[from, [to[0], from[1]], to, [from[0], to[1]], from]] }, properties: {} }]);
}

function style(level: Level): StyleSpecification {
  const shown = (each: Drawn) => each === level || each === drawnFor(level);
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
      ...DRAWN.flatMap((each) => groundLayers(each, shown(each))),
      parent('CITY', '#ffffff', 1.8),
      parent('PROVINCE', '#6f8391', 1.4),
      ...DRAWN.map((each) => markLayer(each, shown(each))),
      POINTS,
      { id: 'point-names', type: 'symbol', source: 'points', paint: INK,
        layout: { ...LETTERS, 'text-field': ['get', 'name'], 'text-size': 12.5, 'text-anchor': 'top', 'text-offset': [0, 0.6] } },
      { id: 'labels', type: 'symbol', source: 'labels', paint: INK,
        layout: { ...LETTERS, 'text-field': ['get', 'text'], 'text-size': ['interpolate', ['linear'], ['zoom'], 4, 10.5, 8, 13.5], 'text-padding': 3,
          'text-max-width': 7, 'symbol-sort-key': ['get', 'order'], 'text-variable-anchor': ['center', 'top', 'bottom'] } },
    ],
  };
}

export class CoverageMap {
  readonly base: Base;
  private shown: string[] = [];
  private scale: Scale | null = null;
  private hovered: string | null = null;
  private selected: string | null = null;
  private readonly overlays = new Set<Overlay>();
  private planned: [string, string][] | null = null;
  private readonly ready: Promise<void>;
  private level: Level;
  /** Whose names are still to be written: letters take longer than colours. */
  private unnamed: Picture | null = null;
  private rehearsed = false;
  private removed = false;
  /** Tiles of 天地图 that did not come, as long as none came. */
  private refused = 0;

  constructor(private readonly container: HTMLElement, token: () => Promise<string>, private readonly start: Start, private readonly events: Events, private readonly side: Side = 'now') {
    this.level = start.level;
    this.base = new Base({
      container, style: style(start.level), bounds: start.bounds ?? CHINA, fitBoundsOptions: { padding: padding(container) }, locale: side === 'now' ? LOCALE : { ...LOCALE, 'Map.Title': '对比期的地图' },
      transformRequest: async (url) => (url.startsWith(`${location.origin}/`) ? { url, headers: { authorization: `Bearer ${await token()}` } } : { url, referrerPolicy: 'origin' }), // a key may be bound to the page's place
      localIdeographFontFamily: FONT, attributionControl: false, fadeDuration: 0, dragRotate: false, touchPitch: false, pitchWithRotate: false,
      renderWorldCopies: false, minZoom: 2, maxZoom: POINT_DEPTH, maxBounds: [50, -5, 160, 65], cooperativeGestures: matchMedia('(max-width: 720px)').matches,
    });
    this.base.touchZoomRotate.disableRotation();
    this.base.addControl(new NavigationControl({ showCompass: false }), 'top-right');
    this.base.addControl(new AttributionControl({ compact: false }), 'bottom-right');
    this.ready = new Promise((resolve) => this.base.once('style.load', () => {
      this.base.addImage('hatch', pattern((x, y) => (x + y) % 8 < 2));
      this.base.addImage('dots', pattern((x, y) => x % 4 < 2 && y % 4 < 2));
      this.base.addImage('station', station(), { pixelRatio: 2 });
      this.base.addImage('onward', onward(), { pixelRatio: 2 });
      resolve();
    }));
    this.listen();
    window[side === 'now' ? 'zhijianMap' : 'zhijianMapBefore'] = this.base;
  }

  async show(picture: Picture, move = true): Promise<void> {
    await this.ready;
    const first = this.scale === null;
    this.container.dataset['state'] = 'drawing';
    this.forget();
    this.level = picture.level;
    this.scale = scaleOf(picture);
    const whole = this.wholeOf(picture);
    const classes = new Set([...picture.rows.map((row) => this.stateOf(row).class), ...(whole ? [classOf(whole, this.scale)] : [])]);
    for (const level of DRAWN) this.visible(level, level === this.drawn() || level === this.level, classes);
    this.colour(picture);
    this.unnamed = first ? picture : null;
    if (!first) this.name(picture);
    const there = first && picture.place.bounds?.join() === this.start.bounds?.join();
    if (move && !there && picture.place.bounds) this.base.fitBounds(picture.place.bounds, { padding: padding(this.container), duration: first || still() ? 0 : 500 });
    this.base.triggerRepaint();
  }

  /** Whether an area is in what the map shows now; areas without a place are nowhere. */
  shows({ place }: Row): boolean {
    const seen = this.base.getBounds();
    if (!place?.bounds) return place?.point ? seen.contains(place.point) : false;
    const [west, south, east, north] = place.bounds;
    return west < seen.getEast() && east > seen.getWest() && south < seen.getNorth() && north > seen.getSouth();
  }

  /** Points of enterprises, sites, coordinators or gaps above the areas. */
  async overlay(kind: Overlay, on: boolean): Promise<void> {
    await this.ready;
    if (on === this.overlays.has(kind)) return;
    if (on) {
      this.base.addSource(kind, { type: 'vector', tiles: [`${location.origin}/tiles/${kind}/{z}/{x}/{y}`], maxzoom: POINT_DEPTH });
      for (const layer of overlayLayers(kind)) this.base.addLayer(layer, kind !== 'sites' ? 'points' : this.base.getLayer('plan-marks-a') ? 'plan-marks-a' : undefined);
      this.overlays.add(kind);
      return;
    }
    for (const { id } of overlayLayers(kind)) this.base.removeLayer(id);
    this.base.removeSource(kind);
    this.overlays.delete(kind);
  }

  /** Access or siting instead of the figures, which it veils; null takes it away. */
  async plan(layer: PlanLayer | null): Promise<void> {
    await this.ready;
    if (!layer && !this.planned) return;
    for (const [id, sourceLayer] of this.planned ?? []) this.base.removeFeatureState({ source: 'areas', sourceLayer, id }, 'plan');
    this.planned = null;
    if (layer && !this.base.getSource('plan-spots')) this.addPlan();
    const spots = layer?.spots.map(({ point, ...said }) => spot(point, { ...said, size: Math.sqrt(Math.min(said.patients, 400)) / 2 + 3.5 }));
    const marks = layer?.marks.map(({ point, ...said }) => spot(point, said));
    this.source('plan-spots').setData(collection(spots ?? []));
    this.source('plan-marks').setData(collection(marks ?? []));
    this.source('plan-ways').setData(collection(layer?.ways.map(({ side, points }) => ({ type: 'Feature', geometry: { type: 'LineString', coordinates: points }, properties: { side } })) ?? []));
    if (layer) this.shade(layer);
    this.veil();
    for (const name of ['plan-veil', 'plan-area', 'plan-edge', 'plan-fill', 'plan-outline']) this.base.setLayoutProperty(name, 'visibility', layer ? 'visible' : 'none');
    for (const name of ['points', 'point-names']) this.base.setLayoutProperty(name, 'visibility', layer ? 'none' : 'visible');
    this.base.setLayoutProperty('labels', 'text-field', ['get', layer ? 'name' : 'text']);
  }

  /** Thin where there is a ground to be seen. */
  private veil(): void {
    if (this.base.getLayer('plan-veil')) this.base.setPaintProperty('plan-veil', 'background-opacity', this.base.getLayer('vec') ? 0.45 : 0.93);
  }

  private shade({ spots, areas }: PlanLayer): void {
    const all = [...spots.map(({ code, colour }) => [code, 'township', colour] as const), ...[...areas].map(([code, colour]) => [code, 'county', colour] as const)];
    for (const [id, sourceLayer, plan] of all) this.base.setFeatureState({ source: 'areas', sourceLayer, id }, { plan });
    this.planned = all.map(([id, sourceLayer]) => [id, sourceLayer]);
  }

  private addPlan(): void {
    const hide = { layout: { visibility: 'none' as const } };
    this.base.addSource('plan-spots', { type: 'geojson', data: collection([]), promoteId: 'code' });
    this.base.addSource('plan-marks', { type: 'geojson', data: collection([]) });
    this.base.addSource('plan-ways', { type: 'geojson', data: collection([]) });
    const stations = this.overlays.has('sites') ? overlayLayers('sites').map(({ id }) => id) : [];
    for (const layer of planLayers(hide)) this.base.addLayer(layer, ['plan-veil', 'plan-area'].includes(layer.id) ? 'CITY-frame' : 'source' in layer && layer.source === 'areas' ? 'points' : undefined);
    for (const id of stations) this.base.moveLayer(id, 'plan-marks-a'); // not below the spot of their township
  }

  /** Where somebody wants to look. */
  go(point: [number, number]): void {
    this.base.easeTo({ center: point, zoom: Math.max(this.base.getZoom(), 9.5), duration: still() ? 0 : 500 });
  }

  /** Has all of these points on the map. */
  fit(points: [number, number][]): void {
    const [lons, lats] = [points.map(([lon]) => lon), points.map(([, lat]) => lat)];
    this.base.fitBounds([Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)], { padding: 60, maxZoom: 13, duration: still() ? 0 : 500 });
  }

  /** The area again. */
  whole(bounds: Start['bounds']): void {
    if (bounds) this.base.fitBounds(bounds, { padding: padding(this.container), duration: 0 });
  }

  /** The middle of what is shown. */
  centre(): [number, number] {
    const { lng, lat } = this.base.getCenter();
    return [lng, lat];
  }

  /** 天地图 below the areas, which let it shine through; null takes it away. */
  async ground(key: string | null): Promise<void> {
    await this.ready;
    this.refused = 0;
    for (const name of TIANDITU) {
      if (this.base.getLayer(name)) this.base.removeLayer(name);
      if (this.base.getSource(name)) this.base.removeSource(name);
      if (key) this.base.addSource(name, { type: 'raster', tileSize: 256, tiles: tianditu(name, key), maxzoom: 18, attribution: '底图：天地图' });
      if (key) this.base.addLayer({ id: name, type: 'raster', source: name }, name === 'vec' ? 'PROVINCE-fill' : 'labels');
    }
    for (const level of DRAWN) this.base.setPaintProperty(`${level}-fill`, 'fill-opacity', key ? 0.62 : 1);
    this.veil();
  }

  /** The map as it is drawn now; drawn anew, since a canvas of WebGL is empty between frames. */
  async picture(): Promise<ImageBitmap> {
    await this.ready;
    if (!this.base.loaded()) await this.base.once('idle');
    return new Promise((resolve, reject) => {
      this.base.once('render', () => createImageBitmap(this.base.getCanvas()).then(resolve, reject));
      this.base.triggerRepaint();
    });
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
    const { clientWidth, clientHeight } = this.base.getCanvas();
    if (clientWidth !== this.container.clientWidth || clientHeight !== this.container.clientHeight) this.base.resize();
  }

  remove(): void {
    this.removed = true;
    this.base.remove();
  }

  private listen(): void {
    this.base.on('idle', () => this.rested());
    this.base.on('error', ({ error, ...event }) => this.failed(error, (event as { sourceId?: string }).sourceId));
    this.base.on('sourcedata', ({ sourceId, tile }) => { if (tile && TIANDITU.some((name) => name === sourceId)) this.refused = -Infinity; });
    this.base.on('moveend', () => this.events.moved?.());
    this.base.on('mousemove', (event) => this.events.hover(this.at(event)));
    this.base.on('mouseout', ({ originalEvent }) => {
      const onto = originalEvent.relatedTarget; // the card comes up under the pointer: that is not leaving
      if (!(onto instanceof Element && onto.closest('.card'))) this.events.hover(null);
    });
    this.base.on('click', (event) => {
      const code = this.at(event);
      if (code && code === this.selected && this.shown.includes(code)) this.events.open(code);
      else this.events.select(code);
    });
  }

  private failed(error: unknown, source = ''): void {
    if (!TIANDITU.some((name) => name === source)) return console.error(error);
    this.refused += 1;
    if (this.refused === ENOUGH) this.events.groundless?.();
  }

  /** All is drawn that was to be drawn; the names of the first picture come then. */
  private rested(): void {
    if (!this.scale) return;
    if (!this.unnamed) {
      this.container.dataset['state'] = 'idle';
      if (!this.rehearsed) void this.rehearse();
      this.rehearsed = true;
      return;
    }
    performance.mark('zhijian-coloured');
    this.name(this.unnamed);
    this.unnamed = null;
  }

  /**
   * Has the graphics card learn, while it is at rest, what it will draw later: it learns a kind when that comes up first, after all that it
   * was told before, and the page waits: in the middle of a drill one would see it. What it learns by lies below the ground.
   */
  private async rehearse(): Promise<void> {
    await this.calm();
    if (this.removed) return;
    this.base.addSource('rehearsed', { type: 'geojson', data: speck(this.base.getBounds().toArray().flat()), tolerance: 0 });
    for (const layer of rehearsal()) this.base.addLayer(layer, 'ground');
    await this.base.once('idle');
    for (const { id } of rehearsal()) this.base.removeLayer(id);
    this.base.removeSource('rehearsed');
    this.container.dataset['rehearsed'] = 'all';
  }

  /** The graphics card has done all that it was told. */
  private async calm(): Promise<void> {
    const gl = this.base.getCanvas().getContext('webgl2');
    const fence = gl?.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl?.flush();
    while (gl && fence && !gl.isContextLost() && gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) await new Promise((resolve) => setTimeout(resolve, 30));
  }

  /** The code of the shown area under the pointer; areas outside the table don't answer. */
  private at(event: MapMouseEvent): string | null {
    const [near] = this.planned ? this.base.queryRenderedFeatures(event.point, { layers: ['plan-spots'] }) : [];
    if (near) return String(near.id);
    const layers = this.level === 'TOWNSHIP' ? ['points', 'TOWNSHIP-fill'] : [`${this.drawn()}-fill`];
    const [feature] = this.base.queryRenderedFeatures(event.point, { layers });
    const code = feature ? String(feature.id) : '';
    const found = this.shown.includes(code) ? code : null;
    this.base.getCanvas().style.cursor = found ? 'pointer' : '';
    return found;
  }

  /** Townships stand as points on their county; where there is a derived outline, they have it too. */
  private drawn(): Exclude<Drawn, 'TOWNSHIP'> {
    return drawnFor(this.level);
  }

  /** Patterns only where something has them: each is one more pass over the whole map. */
  private visible(level: Drawn, yes: boolean, classes: Set<number>): void {
    const parts: [string, boolean][] = [['fill', yes], ['none', yes && classes.has(NONE)], ['hidden', yes && classes.has(HIDDEN)], ['edge', yes], ['mark', yes]];
    for (const [part, on] of parts) this.base.setLayoutProperty(`${level}-${part}`, 'visibility', on ? 'visible' : 'none');
  }

  private colour(picture: Picture): void {
    this.shown = picture.rows.map((row) => row.area.code);
    for (const row of picture.rows) this.set(row.area.code, this.stateOf(row));
    if (this.level === 'TOWNSHIP' && picture.place.level === 'COUNTY') this.frame(picture);
  }

  private wholeOf(picture: Picture): Value | null {
    return this.side === 'now' ? picture.total : picture.totalBefore;
  }

  /** The county around townships; in its own colour where none of them has a place. */
  private frame(picture: Picture): void {
    const whole = this.wholeOf(picture);
    const own = whole && this.scale && !picture.rows.some((row) => row.place?.point) ? this.classed(classOf(whole, this.scale)) : {};
    this.base.setFeatureState({ source: 'areas', sourceLayer: 'county', id: picture.place.code }, { selected: true, ...own });
  }

  private classed(found: number): { class: number; colour: string } {
    return { class: found, colour: this.scale?.colours[found] ?? UNKNOWN };
  }

  private stateOf(row: Row): { class: number; colour: string; value: number | null } {
    const value = this.side === 'now' ? row : row.before;
    return value && this.scale ? { ...this.classed(classOf(value, this.scale)), value: figure(value) } : { ...this.classed(NONE), value: null };
  }

  private name(picture: Picture): void {
    const placed = picture.rows.filter((row) => row.place?.point);
    const townships = this.level === 'TOWNSHIP';
    const value = (row: Row) => (this.side === 'now' ? row : row.before);
    const below = (row: Row) => value(row)?.met === false;
    const text = (row: Row) => `${row.area.name}\n${words(value(row), picture.question.indicator)}${below(row) ? ' ▼' : ''}`;
    const signs: Record<number, string> = { [NONE]: '（无数据）', [HIDDEN]: '（已隐藏）' };
    const points = placed.map((row) => {
      const { class: state, colour } = this.stateOf(row);
      return feature(row, { code: row.area.code, name: `${row.area.name}${signs[state] ?? (below(row) ? ' ▼' : '')}`, colour, below: below(row) });
    });
    this.source('points').setData(collection(townships ? points : []));
    this.source('labels').setData(collection(townships ? [] : placed.map((row) => feature(row, { text: text(row), name: row.area.name, order: row.value ?? 2 }))));
  }

  private source(name: string): GeoJSONSource {
    return this.base.getSource(name) as GeoJSONSource;
  }

  private set(code: string, state: object): void {
    const sourceLayer = this.level === 'TOWNSHIP' ? 'township' : LAYERS[this.drawn()];
    this.base.setFeatureState({ source: 'areas', sourceLayer, id: code }, state);
    if (this.level === 'TOWNSHIP') this.base.setFeatureState({ source: 'points', id: code }, state);
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

/** Townships stand on their county. */
function drawnFor(level: Level): Exclude<Drawn, 'TOWNSHIP'> {
  return level === 'PROVINCE' || level === 'CITY' ? level : 'COUNTY';
}

function tianditu(layer: string, key: string): string[] {
  const query = `SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=${layer}&STYLE=default&TILEMATRIXSET=w&FORMAT=tiles&TILEMATRIX={z}&TILEROW={y}&TILECOL={x}&tk=${key}`;
  return [0, 1, 2, 3].map((server) => `https://t${server}.tianditu.gov.cn/${layer}_w/wmts?${query}`);
}

/** A tile of 8 pixels, dark where `dark` says so: told apart without colours. */
function pattern(dark: (x: number, y: number) => boolean): ImageData {
  const image = new ImageData(8, 8);
  for (let at = 0; at < 64; at += 1) image.data.set(dark(at % 8, at >> 3) ? [120, 132, 142, 190] : [0, 0, 0, 0], at * 4);
  return image;
}

/** Read back at once: from the graphics card that would wait for all that it has to do. */
function sketch(size: number): OffscreenCanvasRenderingContext2D {
  return new OffscreenCanvas(size, size).getContext('2d', { willReadFrequently: true })!;
}

/** A white cross on a dark square: no round spot of any class. */
function station(): ImageData {
  const size = 36;
  const pen = sketch(size);
  const box = (colour: string, x: number, y: number, width: number, height: number) => { pen.fillStyle = colour; pen.fillRect(x, y, width, height); };
  box('#ffffff', 2, 2, 32, 32);
  box('#101d27', 5, 5, 26, 26);
  box('#ffffff', 15, 9, 6, 18);
  box('#ffffff', 9, 15, 18, 6);
  return pen.getImageData(0, 0, size, size);
}

/** Which way a line goes. */
function onward(): ImageData {
  const size = 28;
  const pen = sketch(size);
  pen.beginPath();
  for (const [x, y] of [[6, 4], [25, 14], [6, 24], [11, 14]] as const) pen.lineTo(x, y);
  pen.closePath();
  [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = ['#101d27', '#ffffff', 2.5];
  pen.fill();
  pen.stroke();
  return pen.getImageData(0, 0, size, size);
}

/** Two maps that always show the same part of the world; ends when either is taken away. */
export function together(first: CoverageMap, second: CoverageMap): void {
  let moving = false;
  const follow = (leader: Base, follower: Base) => leader.on('move', () => {
    if (moving) return;
    moving = true;
    follower.jumpTo({ center: leader.getCenter(), zoom: leader.getZoom() });
    moving = false;
  });
  second.base.jumpTo({ center: first.base.getCenter(), zoom: first.base.getZoom() });
  const ends = [follow(first.base, second.base), follow(second.base, first.base)];
  second.base.once('remove', () => ends.forEach((end) => end.unsubscribe()));
}

function feature(row: Row, properties: object): GeoJSON.Feature {
  return { type: 'Feature', geometry: { type: 'Point', coordinates: row.place?.point ?? [0, 0] }, properties: { ...properties } };
}

function spot(point: [number, number], properties: object): GeoJSON.Feature {
  return { type: 'Feature', geometry: { type: 'Point', coordinates: point }, properties: { ...properties } };
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
    zhijianMapBefore?: Base;
  }
}
