// Calls the gateway at the address of the first argument with the official clients, and prints the results as JSON.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [address, scenario] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${address}/v1`, apiKey: "unused", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: address, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const parameters = { type: "object", properties: { a: { type: "integer" } } };
const functions = ["add", "sub"].map((name) => ({ type: "function", name, parameters, strict: null }));
const tools = ["add", "sub"].map((name) => ({ name, input_schema: parameters }));
const forMessages = { model: "chat", max_tokens: 9, messages };

async function texts() {
  const chat = await openai.chat.completions.create({ model: "chat", messages });
  const response = await openai.responses.create({ model: "chat", input: "hi" });
  const events = [];
  for await (const event of await openai.responses.create({ model: "chat", input: "hi", stream: true })) {
    events.push(event.type);
  }
  const responseStream = openai.responses.stream({ model: "chat", input: "hi" });
  const message = await anthropic.messages.create(forMessages);
  const messageStream = anthropic.messages.stream(forMessages);
  return {
    chat: chat.choices[0].message.content,
    response: response.output_text,
    responseEvents: events,
    responseStream: (await responseStream.finalResponse()).output_text,
    message: message.content[0].text,
    messageStream: await messageStream.finalText(),
    messageUsage: (await messageStream.finalMessage()).usage.output_tokens,
  };
}

async function calls() {
  const response = await openai.responses.stream({ model: "chat", input: "hi", tools: functions }).finalResponse();
  const message = await anthropic.messages.stream({ ...forMessages, tools }).finalMessage();
  await openai.responses.create({
    model: "chat",
    tools: functions,
    input: [
      ...messages,
      ...response.output,
      ...response.output.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: "1" })),
    ],
  });
  const results = message.content.map((use) => ({ type: "tool_result", tool_use_id: use.id, content: "1" }));
  await anthropic.messages.create({
    ...forMessages,
    tools,
    messages: [...messages, { role: "assistant", content: message.content }, { role: "user", content: results }],
  });
  return {
    response: response.output.map((call) => [call.call_id, call.name, JSON.parse(call.arguments)]),
    message: message.content.map((use) => [use.id, use.name, use.input]),
  };
}

async function failures() {
  const seen = [];
  for (const call of [
    () => openai.responses.create({ model: "chat", input: "hi" }),
    async () => {
      for await (const _ of await openai.responses.create({ model: "chat", input: "hi", stream: true }));
    },
    () => anthropic.messages.create(forMessages),
    async () => {
      for await (const _ of await anthropic.messages.create({ ...forMessages, stream: true }));
    },
  ]) {
    try {
      await call();
      seen.push("no error");
    } catch (error) {
      seen.push({ kind: error.constructor.name, message: error.message });
    }
  }
  return seen;
}

console.log(JSON.stringify(await { texts, calls, failures }[scenario]()));
