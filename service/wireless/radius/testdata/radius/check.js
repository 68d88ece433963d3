// Reads {secret, request, reply} on standard input, with packets as hex, and writes what npm's radius decodes of them,
// whether it takes the reply as signed, and a signed Access-Request of its own.
const radius = require('radius')
const all = JSON.parse(require('fs').readFileSync(0, 'utf8'))
const out = all.map(({ secret, request, reply }) => {
  const [req, rep] = [request, reply].map(h => Buffer.from(h, 'hex'))
  const a = radius.decode({ packet: req, secret })
  const b = radius.decode({ packet: rep, secret, no_secret: true })
  return {
    request: { code: a.code, attributes: a.attributes, first: a.raw_attributes[0][0] },
    reply: { code: b.code, attributes: b.attributes, first: b.raw_attributes[0][0] },
    signed: radius.verify_response({ request: req, response: rep, secret }),
    own: radius.encode({ code: 'Access-Request', secret, identifier: 7, add_message_authenticator: true,
      attributes: [['User-Name', 'ada@example.org'], ['User-Password', 'engine']] }).toString('hex'),
  }
})
console.log(JSON.stringify(out))
