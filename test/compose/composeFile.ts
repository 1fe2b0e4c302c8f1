import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const PROJECT = fileURLToPath(new URL('../..', import.meta.url));

export interface ComposeService {
  image: string;
  environment: Record<string, string>;
  /** As the container gets it: `$$` is `$`. */
  command: string[];
  /** Service by service, what is waited for. */
  dependsOn: Record<string, string>;
  ports: string[];
  restart: string | undefined;
  hasHealthcheck: boolean;
}

/**
 * docker-compose.yml as far as the tests need it. Not a YAML parser: it reads the one way in which our own file is
 * written (two spaces, no anchors, no comments behind a value) and throws at anything else.
 */
export function readCompose(): Record<string, ComposeService> {
  const file = readProjectFile('docker-compose.yml');
  return Object.fromEntries(
    Object.entries(sections(section(file, 'services'), '  ')).map(([name, body]) => [name, readService(name, body)]),
  );
}

export function readProjectFile(path: string): string {
  return readFileSync(`${PROJECT}${path}`, 'utf8');
}

/** `${NAME:?…}` and `${NAME:-default}`, the two forms that the file uses. */
export function interpolate(text: string, values: Record<string, string>): string {
  return text.replace(/\$\{([A-Z_]+):([?-])([^}]*)\}/g, (_, name, kind, rest) => {
    const value = values[name];
    if (value) return value;
    if (kind === '?') throw new Error(`${name} has no value: ${rest}`);
    return rest;
  });
}

export function variablesOf(text: string): { name: string; isRequired: boolean }[] {
  return [...text.matchAll(/\$\{([A-Z_]+):([?-])/g)].map(([, name, kind]) => ({
    name: name!,
    isRequired: kind === '?',
  }));
}

/** NAME=value lines. */
export function readEnvFile(path: string): Record<string, string> {
  return Object.fromEntries(
    [...readProjectFile(path).matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name!, value!]),
  );
}

function readService(name: string, body: string): ComposeService {
  const parts = sections(body, '    ');
  const image = parts.image?.trim();
  if (!image) throw new Error(`docker-compose.yml: ${name} has no image.`);
  return {
    image,
    environment: Object.fromEntries(
      Object.entries(sections(parts.environment ?? '', '      ')).map(([key, value]) => [key, unquote(value.trim())]),
    ),
    command: readCommand(parts.command ?? ''),
    dependsOn: Object.fromEntries(
      Object.entries(sections(parts.depends_on ?? '', '      ')).map(([key, value]) => [
        key,
        /condition: (\w+)/.exec(value)?.[1] ?? '',
      ]),
    ),
    ports: [...(parts.ports ?? '').matchAll(/^ {6}- (.*)$/gm)].map(([, port]) => port!),
    restart: parts.restart?.trim(),
    hasHealthcheck: parts.healthcheck !== undefined,
  };
}

function readCommand(text: string): string[] {
  if (text.trim().startsWith('[')) return JSON.parse(text);
  const script = /^\s*- \|\n([\s\S]*)$/.exec(text)?.[1];
  return script === undefined ? [] : [script.replace(/^ {8}/gm, '').replaceAll('$$', '$')];
}

function section(file: string, name: string): string {
  const body = sections(file, '')[name];
  if (body === undefined) throw new Error(`docker-compose.yml has no ${name}.`);
  return body;
}

/** The keys that stand at this indentation, each with what stands behind and below it. */
function sections(text: string, indentation: string): Record<string, string> {
  const found: Record<string, string> = {};
  let key: string | undefined;
  for (const line of text.split('\n')) {
    const [, name, rest] = new RegExp(`^${indentation}([\\w.-]+):(.*)$`).exec(line) ?? [];
    if (name !== undefined) {
      key = name;
      found[name] = rest!;
    } else if (line.startsWith(`${indentation} `)) {
      if (key === undefined) throw new Error(`docker-compose.yml: "${line}" belongs to nothing.`);
      found[key] += `\n${line}`;
    } else if (line.trim() !== '' && !line.trim().startsWith('#')) {
      throw new Error(`docker-compose.yml: "${line}" is not understood.`);
    }
  }
  return found;
}

function unquote(value: string): string {
  return value.startsWith('"') ? JSON.parse(value) : value;
}
