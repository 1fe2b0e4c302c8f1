import { z } from 'zod';

/** A JSON Schema, draft 2020-12. */
export type JsonSchema = { [name: string]: unknown };

export interface NamedSchemas {
  /** A reference to the schema among `components.schemas`: under its own `meta({ id })`, or else under this name. */
  refTo(schema: z.ZodType, io: 'input' | 'output', name: string): JsonSchema;
  /** The schema itself. What it refers to by name is put among the components. */
  inline(schema: z.ZodType, io: 'input' | 'output'): JsonSchema;
  /** By name, sorted, so that the document changes only where something did. */
  all(): Record<string, JsonSchema>;
}

/** Zod schemas as JSON Schemas that stand in one place each, under a name. Two that differ under one name are a mistake of the contract. */
export function createNamedSchemas(): NamedSchemas {
  const components = new Map<string, JsonSchema>();

  function add(name: string, schema: JsonSchema): void {
    const present = components.get(name);
    if (present !== undefined && JSON.stringify(present) !== JSON.stringify(schema)) {
      throw new Error(`Two schemas are called ${name}: give one of them another meta({ id }).`);
    }
    components.set(name, schema);
  }

  function inline(schema: z.ZodType, io: 'input' | 'output', owner = 'Part'): JsonSchema {
    const {
      $schema: _,
      $defs = {},
      ...root
    } = z.toJSONSchema(schema, { target: 'draft-2020-12', io }) as JsonSchema & {
      $defs?: Record<string, JsonSchema>;
    };
    // What zod had to name because it refers to itself is called after who uses it.
    const nameOf = (name: string) => name.replace(/^__schema/, `${owner}Part`);
    const moved = (part: unknown): unknown => {
      if (Array.isArray(part)) return part.map(moved);
      if (part === null || typeof part !== 'object') return part;
      return Object.fromEntries(
        Object.entries(part).map(([key, value]) =>
          key === '$ref' && typeof value === 'string'
            ? [key, value.replace(/^#\/\$defs\/(.+)$/, (_, name) => `#/components/schemas/${nameOf(name)}`)]
            : [key, moved(value)],
        ),
      );
    };
    for (const [name, definition] of Object.entries($defs)) add(nameOf(name), moved(definition) as JsonSchema);
    return moved(root) as JsonSchema;
  }

  return {
    inline,
    refTo(schema, io, name) {
      const root = inline(schema, io, name);
      if (typeof root.$ref === 'string') return root;
      add(name, root);
      return { $ref: `#/components/schemas/${name}` };
    },
    all: () => Object.fromEntries([...components].sort(([one], [another]) => (one < another ? -1 : 1))),
  };
}
