import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';
import pg from 'pg';

/**
 * A stand-in for PgBouncer in transaction mode: many clients share few connections to the server, and each has one only for as long
 * as a transaction lasts. Whatever a session would keep (settings above all) is there for the next client, whoever he is. Prepared
 * statements are followed from connection to connection, as PgBouncer does since 1.21.
 */
export async function startTransactionPooler(databaseUrl: string, { servers: count }: { servers: number }) {
  const servers = await Promise.all(Array.from({ length: count }, () => connectServer(databaseUrl)));
  const idle = [...servers];
  const waiting: ((server: Server) => void)[] = [];
  const clients = new Set<Socket>();

  const take = (): Promise<Server> => {
    const server = idle.shift();
    return server === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(server);
  };
  const giveBack = (server: Server): void => {
    const next = waiting.shift();
    if (next === undefined) idle.push(server);
    else next(server);
  };

  const listener = createServer((socket) => {
    clients.add(socket);
    socket.on('error', () => {}).on('close', () => clients.delete(socket));
    serveClient(socket, take, giveBack);
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String((listener.address() as AddressInfo).port);
  return {
    url: url.href,
    /** How many transactions each connection has carried. */
    carried: () => servers.map(({ carried }) => carried),
    close: async () => {
      for (const socket of clients) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
      await Promise.all(servers.map(({ client }) => client.end()));
    },
  };
}

interface Message {
  type: string;
  bytes: Buffer;
}

interface Server {
  client: pg.Client;
  /** Sends what a client sent up to its Sync, and answers all that comes back, ReadyForQuery last. */
  exchange(messages: readonly Buffer[]): Promise<Message[]>;
  prepared: Set<string>;
  carried: number;
}

/** Signed in by the driver; from then on its socket is ours. */
async function connectServer(url: string): Promise<Server> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const socket: Socket = (client as unknown as { connection: { stream: Socket } }).connection.stream;
  const ofDriver = socket.listeners('data') as ((chunk: Buffer) => void)[];
  let answered: ((messages: Message[]) => void) | null = null;
  let answers: Message[] = [];
  const split = createSplitter((message) => {
    answers.push(message);
    if (message.type !== 'Z') return;
    const all = answers;
    answers = [];
    answered!(all);
  });
  socket.removeAllListeners('data').on('data', split);
  const end = client.end.bind(client);
  client.end = (async () => {
    socket.removeAllListeners('data');
    for (const listener of ofDriver) socket.on('data', listener);
    await end();
  }) as typeof client.end;
  return {
    client,
    prepared: new Set(),
    carried: 0,
    exchange: (messages) =>
      new Promise((resolve) => {
        answered = resolve;
        socket.write(Buffer.concat(messages));
      }),
  };
}

function serveClient(socket: Socket, take: () => Promise<Server>, giveBack: (server: Server) => void): void {
  /** By the client's name for it: what it would prepare. */
  const statements = new Map<string, Buffer>();
  let mine: Server | null = null;
  let group: Message[] = [];
  let queue = Promise.resolve();
  let isStarted = false;
  let startup: Buffer = Buffer.alloc(0);

  const split = createSplitter((message) => {
    if (message.type === 'X') socket.end();
    group.push(message);
    if (message.type !== 'S' && message.type !== 'Q') return;
    const whole = group;
    group = [];
    queue = queue.then(() => run(whole));
  });

  async function run(messages: readonly Message[]): Promise<void> {
    mine ??= await take();
    const { sent, synthesized, swallowed } = prepare(messages, mine, statements);
    const answers = await mine.exchange(sent);
    let toSwallow = swallowed;
    const forwarded = answers.filter(({ type }) => type !== '1' || toSwallow-- <= 0).map(({ bytes }) => bytes);
    socket.write(Buffer.concat([...Array.from({ length: synthesized }, () => PARSE_COMPLETE), ...forwarded]));
    // 'I': no transaction is open, so the next one may be another client's.
    if (answers.at(-1)!.bytes[5] === 'I'.charCodeAt(0)) {
      mine.carried += 1;
      giveBack(mine);
      mine = null;
    }
  }

  socket.on('data', (chunk: Buffer) => {
    if (isStarted) return split(chunk);
    startup = Buffer.concat([startup, chunk]);
    if (startup.length < 4 || startup.length < startup.readInt32BE(0)) return;
    isStarted = true;
    socket.write(Buffer.concat([message('R', Buffer.alloc(4)), message('Z', Buffer.from('I'))]));
  });
}

const PARSE_COMPLETE = message('1', Buffer.alloc(0));

/** Names statements by what they say, and sees to it that those a client believes to be prepared are so on this connection. */
function prepare(messages: readonly Message[], server: Server, statements: Map<string, Buffer>) {
  const sent: Buffer[] = [];
  let [synthesized, swallowed] = [0, 0];
  for (const { type, bytes } of messages) {
    if (type === 'P') {
      const [name, rest] = cutName(bytes.subarray(5));
      if (name === '') sent.push(bytes);
      else {
        statements.set(name, rest);
        if (server.prepared.has(name)) synthesized += 1;
        else sent.push(bytes);
        server.prepared.add(name);
      }
    } else if (type === 'B') {
      const [, afterPortal] = cutName(bytes.subarray(5));
      const [name] = cutName(afterPortal);
      if (name !== '' && !server.prepared.has(name)) {
        sent.push(message('P', Buffer.concat([Buffer.from(`${name}\0`), statements.get(name)!])));
        server.prepared.add(name);
        swallowed += 1;
      }
      sent.push(bytes);
    } else sent.push(bytes);
  }
  return { sent, synthesized, swallowed };
}

function cutName(bytes: Buffer): [string, Buffer] {
  const end = bytes.indexOf(0);
  return [bytes.toString('utf8', 0, end), bytes.subarray(end + 1)];
}

function message(type: string, payload: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeInt32BE(payload.length + 4, 1);
  return Buffer.concat([head, payload]);
}

/** Cuts a stream of bytes into the protocol's messages. */
function createSplitter(onMessage: (message: Message) => void): (chunk: Buffer) => void {
  let left: Buffer = Buffer.alloc(0);
  return (chunk) => {
    left = left.length === 0 ? chunk : Buffer.concat([left, chunk]);
    while (left.length >= 5) {
      const size = left.readInt32BE(1) + 1;
      if (left.length < size) return;
      onMessage({ type: String.fromCharCode(left[0]!), bytes: left.subarray(0, size) });
      left = left.subarray(size);
    }
  };
}
