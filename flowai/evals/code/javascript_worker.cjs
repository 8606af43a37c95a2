// Child process that runs the JavaScript code of suites, one call at a time. Loads nothing of flowai.
//
// Usage: `node javascript_worker.cjs DESCRIPTOR MAX_RESULT_BYTES`; requests and replies are frames (a mark, a length,
// JSON) on the socket of that descriptor.
'use strict';

const fs = require('node:fs');
const Module = require('node:module');
const net = require('node:net');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const vm = require('node:vm');

const MAGIC = Buffer.from('flo1');
const INLINE_NAME = 'suite-code';
const MAX_STACK_CHARS = 4000;
const HEADER_BYTES = 8;
const MAX_DEPTH = 100;
const MAX_SPLITS = 50;
const FUNCTION_EXPRESSION = /^(async\s+)?(function\b|\([^]*?\)\s*=>|[A-Za-z_$][\w$]*\s*=>)/;
const NOT_A_MODULE = /(require|module|exports|__dirname|__filename) is not defined in ES module scope/;

const maxResultBytes = Number(process.argv[3]);
const socket = new net.Socket({ fd: Number(process.argv[2]), readable: true, writable: true });
process.argv.splice(2);

const inline = new Map();
const modules = new Map();
const providers = new Map();
let current = null;

// inline code has no `require` of its own; this is where it looks for one
Object.defineProperty(process, 'mainModule', {
  value: { require: Module.createRequire(path.join(process.cwd(), 'suite.js')) },
  configurable: true,
  writable: true,
});

class UnusableValueError extends Error {}
class MissingFunctionError extends Error {}

function isObject(value) {
  return typeof value === 'object' && value !== null;
}

// a provider's answer may hold parts of a runtime that refer to themselves; they are no part of the answer
function withoutCycles(value, ancestors = []) {
  if (!isObject(value) || typeof value.toJSON === 'function') return value;
  if (ancestors.includes(value) || ancestors.length > MAX_DEPTH) return undefined;
  const inner = [...ancestors, value];
  if (Array.isArray(value)) return value.map((part) => withoutCycles(part, inner));
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withoutCycles(part, inner)]));
}

function encode(value) {
  if (typeof value === 'function' || typeof value === 'symbol') {
    throw new UnusableValueError(`returned a ${typeof value}`);
  }
  let text;
  try {
    text = JSON.stringify(value, (_key, part) => {
      if (typeof part === 'number' && !Number.isFinite(part)) {
        throw new UnusableValueError('returned NaN or an infinite number');
      }
      return part;
    });
  } catch (error) {
    if (error instanceof UnusableValueError) throw error;
    const message = String(error && error.message);
    if (message.includes('circular')) throw new UnusableValueError('returned a value that contains itself');
    if (error instanceof RangeError) throw new UnusableValueError('returned a value that is nested too deeply or too long');
    throw new UnusableValueError(`returned a value that is not JSON: ${message}`);
  }
  text = text === undefined ? 'null' : text;
  const size = Buffer.byteLength(text);
  if (size > maxResultBytes) {
    const [found, limit] = [size, maxResultBytes].map((count) => count.toLocaleString('en-US'));
    throw new UnusableValueError(`returned ${found} bytes; the limit is ${limit}`);
  }
  return text;
}

function compile(head, code, tail) {
  const options = { filename: INLINE_NAME, lineOffset: -1 };
  if (vm.constants && vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER) {
    options.importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  }
  return vm.runInThisContext(`${head}\n${code}\n${tail}`, options);
}

// declarations and then an expression on one line: the expression is the result; a semicolon may be in a text
function returningLast(head, code) {
  const ends = [...code.matchAll(/;/g)].map((match) => match.index + 1).slice(-MAX_SPLITS);
  return ends.reverse().map((end) => [head, `${code.slice(0, end)} return (${code.slice(end)}\n)`, '})']);
}

// an expression, a function expression, or the body of a function with `return`
function compileInline(source, parameters) {
  const code = source.trim().replace(/;+\s*$/, '');
  const head = `(async function (${parameters.join(', ')}) {`;
  const variants = [[`${head} return (`, code, ');})'], [head, code, '})']];
  if (/^(const|let|var)\s/.test(code) && !/\breturn\b/.test(code)) variants.splice(1, 0, ...returningLast(head, code));
  let first = null;
  for (const [start, text, end] of variants) {
    try {
      const made = compile(start, text, end);
      if (!FUNCTION_EXPRESSION.test(code)) return made;
      return async (...given) => {
        const value = await made(...given);
        return typeof value === 'function' ? value(...given) : value;
      };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      first = error; // the last variant's: a body has the clearest message
    }
  }
  throw first;
}

function loadCommon(file) {
  const made = new Module(file);
  made.filename = file;
  made.paths = Module._nodeModulePaths(path.dirname(file));
  made._compile(fs.readFileSync(file, 'utf8'), file);
  return made.exports;
}

async function loadFile(file) {
  if (!modules.has(file)) {
    try {
      modules.set(file, await import(pathToFileURL(file).href));
    } catch (error) {
      // `.js` files of a folder whose package.json says `module` may be CommonJS nevertheless
      if (!file.endsWith('.js') || !NOT_A_MODULE.test(String(error && error.message))) throw error;
      modules.set(file, { default: loadCommon(file) });
    }
  }
  return modules.get(file);
}

function defaultExport(loaded) {
  const first = loaded.default;
  return (first && first.default) || first || loaded;
}

function listNames(loaded) {
  const exported = defaultExport(loaded);
  const names = [...Object.keys(loaded), ...(typeof exported === 'object' ? Object.keys(exported) : [])];
  return [...new Set(names)].filter((name) => name !== 'default').map((name) => `\`${name}\``).join(', ') || 'none';
}

async function exportOf(file, name) {
  const loaded = await loadFile(file);
  const exported = defaultExport(loaded);
  if (!name) return { exported, loaded };
  const found = [exported, loaded].map((holder) => holder && holder[name]).find((value) => value !== undefined);
  if (found === undefined) {
    throw new MissingFunctionError(`no export \`${name}\` in ${path.basename(file)}; it has ${listNames(loaded)}`);
  }
  return { exported: found, loaded };
}

async function functionOf(request) {
  if (request.file === null) {
    if (request.source === null) return () => null;
    const key = JSON.stringify([request.source, request.parameters]);
    if (!inline.has(key)) inline.set(key, compileInline(request.source, request.parameters));
    return inline.get(key);
  }
  const { exported, loaded } = await exportOf(request.file, request.function);
  if (request.provider !== null) return providerOf(exported, request);
  if (typeof exported === 'function') return exported;
  if (request.may_be_value) return () => exported;
  const file = path.basename(request.file);
  throw new MissingFunctionError(`${file} must export a function; it has ${listNames(loaded)}`);
}

function providerOf(exported, request) {
  const key = JSON.stringify([request.file, request.function, request.provider]);
  if (!providers.has(key)) {
    let target = exported;
    if (typeof exported === 'function') {
      const isClass = /^class\b/.test(Function.prototype.toString.call(exported));
      const makes = isClass || (exported.prototype && typeof exported.prototype.callApi === 'function');
      target = makes ? new exported(request.provider) : { callApi: exported };
    }
    providers.set(key, target);
  }
  const target = providers.get(key);
  if (!target || typeof target[request.method] !== 'function') {
    throw new MissingFunctionError(`${path.basename(request.file)} has no \`${request.method}\``);
  }
  return async (prompt, context, options) => {
    const signal = new AbortController().signal;
    return withoutCycles(await target[request.method](prompt, withHelpers(context), { ...options, abortSignal: signal }));
  };
}

// promptfoo gives providers a log, filters and a cache of answers; these are a process's own
const cached = new Map();
const log = (...parts) => console.error(...parts);
const logger = { debug: log, info: log, warn: log, error: log };
function withHelpers(context) {
  const cache = {
    get: async (key) => cached.get(key),
    set: async (key, value) => void cached.set(key, value),
    has: async (key) => cached.has(key),
  };
  return { ...context, logger, filters: {}, getCache: () => cache };
}

function lineOf(error, request) {
  const file = request.file === null ? INLINE_NAME : request.file;
  const stack = String((error && error.stack) || '');
  for (const row of stack.split('\n')) {
    const at = row.indexOf(file);
    const found = at === -1 ? null : /^:(\d+)/.exec(row.slice(at + file.length));
    if (found) return Number(found[1]);
  }
  return null;
}

function describe(error, request) {
  let kind = 'raised';
  if (error instanceof UnusableValueError) kind = 'nonsense';
  if (error instanceof MissingFunctionError) kind = 'missing';
  const isError = error instanceof Error || (error && typeof error.message === 'string');
  const name = isError ? `${error.name || 'Error'}: ${error.message}` : `threw ${String(error)}`;
  return {
    kind,
    message: kind === 'raised' ? name : error.message,
    line: lineOf(error, request),
    traceback: String((kind === 'raised' && isError && error.stack) || '').slice(0, MAX_STACK_CHARS),
    is_out_of_memory: false,
  };
}

function send(head, body) {
  const usage = process.cpuUsage();
  const cpu = (usage.user + usage.system) / 1e6;
  const payload = Buffer.from(`{"id":${JSON.stringify(head)},"cpu_s":${cpu}${body}}`);
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32BE(payload.length, 4);
  socket.write(header);
  socket.write(payload);
}

function sendError(request, error, isLast) {
  send(request.id, `,"error":${JSON.stringify(describe(error, request))},"is_last":${isLast}`);
}

async function handle(request) {
  current = request;
  try {
    if (request.op === 'load') {
      if (request.file !== null) await loadFile(request.file);
      send(request.id, '');
    } else {
      const found = await functionOf(request);
      if (request.has_logger) {
        const property = { value: logger, enumerable: false, configurable: true };
        request.arguments.filter(isObject).forEach((given) => Object.defineProperty(given, 'logger', property));
      }
      send(request.id, `,"value":${encode(await found(...request.arguments))}`);
    }
  } catch (error) {
    sendError(request, error, false);
  }
  current = null;
}

process.on('uncaughtException', (error) => {
  console.error(error);
  if (current !== null) sendError(current, error, true);
  current = null;
  socket.end(() => process.exit(1));
});
process.on('unhandledRejection', (error) => console.error(error));

let received = [];
let size = 0;
let expected = null;
socket.on('data', (part) => {
  received.push(part);
  size += part.length;
  if (expected === null) {
    if (size < HEADER_BYTES) return;
    received = [Buffer.concat(received)];
    expected = HEADER_BYTES + received[0].readUInt32BE(4);
  }
  if (size < expected) return;
  const whole = Buffer.concat(received);
  received = [];
  size = 0;
  expected = null;
  handle(JSON.parse(whole.subarray(HEADER_BYTES).toString('utf8')));
});
socket.on('end', () => process.exit(0));
socket.on('error', () => process.exit(0));
