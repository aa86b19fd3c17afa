// The Vercel AI SDK against a running gateway: prints what it got as one JSON object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "gateway",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider(process.env.MODEL);
const seen = {};

const plain = await generateText({ model, prompt: "Hello from Vercel", maxRetries: 0 });
seen.plain = plain.text;
seen.finishReason = plain.finishReason;

const streamed = streamText({ model, prompt: "Hello from Vercel", maxRetries: 0 });
seen.streamed = "";
for await (const part of streamed.textStream) seen.streamed += part;
seen.usage = await streamed.usage;

const tools = {
  get_weather: tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sunny in ${city}`,
  }),
};
const called = streamText({
  model,
  prompt: "Please call get_weather for Rome and get_weather for Oslo",
  tools,
  stopWhen: stepCountIs(3),
  maxRetries: 0,
});
seen.afterTools = await called.text;
seen.steps = (await called.steps).length;

const structured = await generateText({
  model,
  prompt: "Give me a city",
  output: Output.object({ schema: z.object({ name: z.string(), people: z.number() }) }),
  maxRetries: 0,
});
seen.parsed = structured.output;

const thinking = await generateText({
  model,
  prompt: "Think about it",
  providerOptions: { gateway: { reasoningEffort: "low" } },
  maxRetries: 0,
});
seen.reasoning = thinking.reasoningText ?? null;

try {
  await generateText({ model, prompt: "[[sim: status=429 retry_after=30]] Fail.", maxRetries: 0 });
} catch (error) {
  seen.rateLimit = { is: APICallError.isInstance(error), status: error.statusCode, retryable: error.isRetryable };
}

console.log(JSON.stringify(seen));
