import fc from 'fast-check';
import type { JsonSchema } from '../../contract/namedSchemas.ts';

/** Values that a JSON Schema of the reference takes. Patterns beyond what can be made are given an example that most of them take. */
export function arbitraryOf(
  schema: JsonSchema,
  components: Record<string, JsonSchema>,
  depth = 0,
): fc.Arbitrary<unknown> {
  const of = (part: unknown) => arbitraryOf(part as JsonSchema, components, depth + 1);
  if (typeof schema.$ref === 'string') {
    const name = schema.$ref.split('/').at(-1)!;
    return depth > 8 ? fc.constant(null) : of(components[name]);
  }
  if ('const' in schema) return fc.constant(schema.const);
  if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum);
  const choices = (schema.anyOf ?? schema.oneOf) as JsonSchema[] | undefined;
  if (choices !== undefined) return fc.oneof(...choices.map(of));
  if (Array.isArray(schema.allOf)) return of(schema.allOf[0]);
  if (Array.isArray(schema.type)) return fc.oneof(...schema.type.map((type) => of({ ...schema, type })));
  switch (schema.type) {
    case 'object': {
      const {
        properties = {},
        required = [],
        additionalProperties,
      } = schema as {
        properties?: Record<string, JsonSchema>;
        required?: string[];
        additionalProperties?: unknown;
      };
      const fields = Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, of(value)]));
      if (Object.keys(fields).length > 0) return fc.record(fields, { requiredKeys: required });
      return typeof additionalProperties === 'object'
        ? fc.dictionary(fc.string({ minLength: 1, maxLength: 20 }), of(additionalProperties), { maxKeys: 4 })
        : fc.constant({});
    }
    case 'array':
      return fc.array(of(schema.items ?? {}), { minLength: (schema.minItems as number) ?? 0, maxLength: 5 });
    case 'integer':
    case 'number': {
      const least = (schema.minimum as number) ?? ((schema.exclusiveMinimum as number | undefined) ?? -2) + 1;
      const most = Math.min((schema.maximum as number) ?? 1_000, Number.MAX_SAFE_INTEGER);
      return fc.oneof(fc.integer({ min: least, max: Math.min(most, least + 50) }), fc.constantFrom(least, most));
    }
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'string':
      return textOf(schema as { format?: string; pattern?: string; minLength?: number; maxLength?: number });
    default:
      return fc.jsonValue({ maxDepth: 3 });
  }
}

function textOf(schema: { format?: string; pattern?: string; minLength?: number; maxLength?: number }) {
  const { format, pattern, minLength = 0, maxLength = 200 } = schema;
  if (format === 'date-time') {
    return fc
      .date({ noInvalidDate: true, min: new Date('1970-01-01'), max: new Date('2099-12-31') })
      .map((at) => at.toISOString());
  }
  if (pattern !== undefined) {
    try {
      const limited = fc.stringMatching(new RegExp(pattern)).filter((text) => text.length <= maxLength);
      fc.sample(limited, 1);
      return limited;
    } catch {
      return fc.constantFrom('Because it was of no use', 'acme', 'Europe/Berlin');
    }
  }
  return fc.string({ minLength, maxLength: Math.min(maxLength, minLength + 40), unit: 'grapheme' });
}
