/**
 * Who may import whom: DESIGN, section 7. test/rules/imports.test.ts runs it on the tree and proves each rule by a file
 * that breaks it. By hand: depcruise domain contract db migrations workflows activities api worker dev test config.ts
 *
 * `types` are rooms of which `import type` alone is allowed: it is gone when the code runs, so nothing of that room gets
 * into a workflow's bundle or into the API's process. The swc parser tells the two apart. `node`: whether all of the room, or which files
 * of it, may import what comes with Node.
 */
const ROOMS = {
  domain: { imports: [], packages: ['zod'], node: false },
  contract: { imports: ['domain'] },
  db: { imports: ['domain'] },
  migrations: { imports: ['db', 'domain'] },
  workflows: { imports: ['domain'], types: ['activities'], packages: ['@temporalio/workflow'], node: false },
  activities: { imports: ['domain', 'db'] },
  api: { imports: ['contract', 'domain', 'db'], types: ['workflows'] },
  // Into the browser goes the catalogue and our own code: of the contract, which brings zod, only the types.
  // The queue in a file is for servers, and an entry of its own.
  sdk: { imports: ['domain'], types: ['contract'], packages: [], node: ['^sdk/fileQueue\\.ts$'] },
  examples: { imports: ['sdk'] },
  worker: { imports: ['domain', 'contract', 'db', 'migrations', 'workflows', 'activities', 'api'] },
};
const PRODUCT = Object.keys(ROOMS);
const TOOLS = ['dev', 'bench', 'test'];

const inside = (rooms) => `^(${rooms.join('|')})/`;
const allBut = (rooms) => PRODUCT.filter((room) => !rooms.includes(room));
const rule = (name, from, to) => ({ name, severity: 'error', from, to });

const roomRules = Object.entries(ROOMS).flatMap(([room, { imports, types = [], packages, node = true }]) => {
  const from = { path: inside([room]) };
  const foreign = allBut([room, ...imports, ...types]);
  return [
    ...(foreign.length > 0 ? [rule(`${room}-imports-its-rooms`, from, { path: inside(foreign) })] : []),
    ...(types.length > 0
      ? [rule(`${room}-imports-types-only`, from, { path: inside(types), dependencyTypesNot: ['type-only'] })]
      : []),
    ...(packages
      ? [
          rule(`${room}-imports-its-packages`, from, {
            path: 'node_modules/',
            pathNot: `node_modules/(${packages.join('|')})/`,
          }),
        ]
      : []),
    ...(node === true
      ? []
      : [rule(`${room}-imports-no-node`, node ? { ...from, pathNot: node } : from, { dependencyTypes: ['core'] })]),
  ];
});

module.exports = {
  forbidden: [
    ...roomRules,
    rule('product-imports-no-tools', { path: `${inside(PRODUCT)}|^config\\.ts$` }, { path: inside(TOOLS) }),
    rule('dev-imports-no-tests', { path: inside(['dev']) }, { path: inside(['bench', 'test']) }),
    // The environment is read where a process starts, and handed on as values: nothing deeper can depend on a variable.
    rule(
      'config-is-for-entry-points',
      { pathNot: `^[^/]+/([A-Za-z]+M|m)ain\\.ts$|${inside(TOOLS)}` },
      { path: '^config\\.ts$', dependencyTypesNot: ['type-only'] },
    ),
    rule('no-circles', {}, { circular: true }),
    // What is not found is in no room, and would pass every rule above.
    rule('everything-resolves', {}, { couldNotResolve: true }),
  ],
  options: {
    // TypeScript 7 has no API that dependency-cruiser could use.
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules/' },
    moduleSystems: ['es6'],
    enhancedResolveOptions: {
      extensions: ['.ts', '.tsx', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
