/** The Grafana dashboard against Grafana's own types of a dashboard, of its panels and of Prometheus's queries. */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';

const FILE = resolve(import.meta.dirname, '../../grafana/tutelage.json');
const NAME = resolve(import.meta.dirname, 'dashboard-as-typescript.ts'); // it is in memory only
const OF_PANELS = '@grafana/schema/dist/esm/raw/composable';

/** In JSON an enum's member is its value, and what a panel leaves out has a default. */
const TYPES = `
import type { Dashboard, Panel, VariableModel } from '@grafana/schema';
import type * as stat from '${OF_PANELS}/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as series from '${OF_PANELS}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Json<T> = T extends string ? \`\${T}\` : T extends (infer One)[] ? Json<One>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> } : T;
type Query = { refId: string; datasource: { type: 'prometheus'; uid: string }; expr: string; legendFormat?: string };
type Shown<Name extends string, Options, Custom> = Json<Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'>> & {
  type: Name;
  options: Partial<Json<Options>>;
  targets: Query[];
  fieldConfig: {
    defaults: Json<Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'>> & { custom?: Partial<Json<Custom>> };
    overrides: [];
  };
};
type Written = Json<Omit<Dashboard, 'panels' | 'templating'>> & {
  panels: (Shown<'stat', stat.Options, object> | Shown<'timeseries', series.Options, series.FieldConfig>)[];
  templating: { list: Json<VariableModel>[] };
};
`;

const OPTIONS: ts.CompilerOptions = {
  strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler, types: [],
};

const parsed = new Map<string, ts.SourceFile | undefined>(); // the files of packages, which are the same for every dashboard

/** Return what the TypeScript compiler finds wrong with a dashboard. */
function problems(dashboard: string): string[] {
  const source = `${TYPES}\nexport const dashboard: Written = ${dashboard};`;
  const files = ts.createCompilerHost(OPTIONS);
  const fileExists = (name: string): boolean => name === NAME || files.fileExists(name);
  const getSourceFile = (name: string, target: ts.ScriptTarget): ts.SourceFile | undefined => {
    if (name === NAME) return ts.createSourceFile(name, source, target);
    if (!parsed.has(name)) parsed.set(name, files.getSourceFile(name, target));
    return parsed.get(name);
  };
  const host = { ...files, fileExists, getSourceFile };
  const found = ts.getPreEmitDiagnostics(ts.createProgram([NAME], OPTIONS, host));
  return found.map((one) => ts.flattenDiagnosticMessageText(one.messageText, '\n'));
}

const json = readFileSync(FILE, 'utf8');

test('the dashboard is one of Grafana', { timeout: 120_000 }, () => {
  expect(problems(json)).toEqual([]);
});

test.each([
  ['a panel that Grafana does not have', '"type": "stat"', '"type": "stats"'],
  ['an option that a panel does not have', '"colorMode"', '"colourMode"'],
  ['a value that an option does not have', '"placement": "bottom"', '"placement": "below"'],
  ['a place that is no number', '"w": 6', '"w": "6"'],
  ['a setting of the dashboard that is unknown', '"editable"', '"isEditable"'],
])('%s is found', { timeout: 120_000 }, (_, right, wrong) => {
  expect(json).toContain(right);
  expect(problems(json.replace(right, wrong))).not.toEqual([]);
});
