// What a customer does with OpenAI's own client: node talk.mjs BASE_URL prints what came, as JSON.
import OpenAI from 'openai'

const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'cairn_test', maxRetries: 0 })
const out = {}
const messages = [{ role: 'user', content: 'four small words here' }]

out.models = []
for await (const m of client.models.list()) out.models.push(m.id)
out.model = (await client.models.retrieve('tiny')).id

const whole = await client.chat.completions.create({ model: 'tiny', messages })
out.whole = [whole.choices[0].message.content, whole.usage.prompt_tokens, whole.usage.completion_tokens]

out.stream = []
out.usage = null
for await (const c of await client.chat.completions.create({ model: 'tiny', messages, stream: true, stream_options: { include_usage: true } })) {
  if (c.choices.length > 0 && c.choices[0].delta.content) out.stream.push(c.choices[0].delta.content)
  if (c.usage) out.usage = [c.usage.prompt_tokens, c.usage.completion_tokens]
}
const run = client.chat.completions.stream({ model: 'tiny', messages })
out.final = (await run.finalChatCompletion()).choices[0].message.content

out.text = (await client.completions.create({ model: 'tiny', prompt: 'a b' })).choices[0].text
const vector = async (more) => Array.from((await client.embeddings.create({ model: 'tiny', input: ['ten bytes!', 'x'], ...more })).data[0].embedding)
out.packed = await vector({})
out.floats = await vector({ encoding_format: 'float' })

const fails = async (f) => {
  try {
    await f()
    return 'it did not fail'
  } catch (e) {
    return [e.constructor.name, e.status ?? null, e.code ?? null]
  }
}
out.missing = await fails(() => client.chat.completions.create({ model: 'none', messages }))
out.bad = await fails(() => client.chat.completions.create({ model: 'tiny' }))
out.dear = await fails(() => client.chat.completions.create({ model: 'tiny', messages }, { headers: { 'X-Cairn-Price': '1' } }))
out.broken = await fails(async () => {
  for await (const _ of await client.chat.completions.create({ model: 'tiny', messages: [{ role: 'user', content: 'break after this' }], stream: true }));
})
console.log(JSON.stringify(out))
