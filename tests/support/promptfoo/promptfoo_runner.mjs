// Applies promptfoo's own assertions to recorded answers: `node promptfoo_runner.mjs PACKAGE CASES VERDICTS`.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire, register } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packageFolder, casesFile, verdictsFile] = process.argv.slice(2);
// METEOR imports names from the CommonJS package `natural` that Node does not find there: give it a module with them
const natural = createRequire(join(packageFolder, 'package.json')).resolve('natural');
const shim =
  `import natural from ${JSON.stringify(pathToFileURL(natural).href)};` +
  'export const PorterStemmer = natural.PorterStemmer; export const WordNet = natural.WordNet;';
const shimUrl = `data:text/javascript,${encodeURIComponent(shim)}`;
const hook =
  'export const resolve = (name, context, next) => name === "natural" && !context.parentURL.startsWith("data:")' +
  `? { url: ${JSON.stringify(shimUrl)}, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const { default: promptfoo } = await import(pathToFileURL(join(packageFolder, 'dist/src/index.js')).href);
const verdicts = [];
for (const { assertion, answer } of JSON.parse(readFileSync(casesFile, 'utf8'))) {
  const { latencyMs, tools, functions, ...providerResponse } = answer;
  const provider = { id: () => 'echo', config: { tools, functions } };
  try {
    const { pass, score } = await promptfoo.assertions.runAssertion({
      assertion, provider, providerResponse, latencyMs, test: { vars: {} },
    });
    verdicts.push([pass, score]);
  } catch (error) {
    verdicts.push([null, String(error.message).split('\n')[0].slice(0, 120)]);
  }
}
writeFileSync(verdictsFile, JSON.stringify(verdicts));
process.exit(0);
