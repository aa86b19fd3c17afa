// The official `openai` package for Node against a running gateway: prints what it got as one JSON object.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: "none", maxRetries: 0 });
const model = process.env.MODEL;
const ask = (content) => [{ role: "user", content }];
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const seen = {};

const plain = await client.chat.completions.create({ model, messages: ask("Hello from Node") });
seen.plain = plain.choices[0].message.content;
seen.requestId = plain._request_id;

let text = "";
let usage = null;
const stream = await client.chat.completions.create({
  model,
  messages: ask("Hello from Node"),
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
seen.streamed = text;
seen.usage = usage;

const runner = client.chat.completions.runTools({
  model,
  stream: true,
  messages: ask("Please call get_weather for Rome and get_weather for Oslo"),
  tools: [
    {
      ...weather,
      function: {
        ...weather.function,
        parse: JSON.parse,
        function: ({ city }) => `sunny in ${city}`,
      },
    },
  ],
});
seen.afterTools = await runner.finalContent();

const parsed = await client.chat.completions.parse({
  model,
  messages: ask("Give me a city"),
  response_format: zodResponseFormat(z.object({ name: z.string(), people: z.number() }), "city"),
});
seen.parsed = parsed.choices[0].message.parsed;

try {
  await client.chat.completions.create({ model, messages: ask("[[sim: status=429 retry_after=30]] Fail.") });
} catch (error) {
  seen.rateLimit = { is: error instanceof OpenAI.RateLimitError, code: error.code, after: error.headers.get("retry-after") };
}

try {
  const failing = await client.chat.completions.create({
    model,
    messages: ask("[[sim: error_after_events=6 status=529]] Fail."),
    stream: true,
  });
  for await (const _ of failing);
} catch (error) {
  seen.midStream = { is: error instanceof OpenAI.APIError, code: error.code };
}

seen.models = [];
for await (const entry of client.models.list()) seen.models.push(entry.id);

console.log(JSON.stringify(seen));
