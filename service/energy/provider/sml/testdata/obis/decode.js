// Reads a file in hexadecimal from standard input and prints what smartmeter-obis makes of it.
const SmlProtocol = require('smartmeter-obis/lib/protocols/SmlProtocol');
const hex = require('fs').readFileSync(0, 'utf8').trim();
const out = {};
const p = new SmlProtocol({debug: 0, protocolSmlIgnoreInvalidCRC: false}, (err, result) => {
  if (err) throw err;
  for (const id in result) {
    const v = result[id].getValue(0);
    if (typeof v.value === 'number') out[id] = v.value;
  }
});
p.handleMessage(Buffer.from(hex, 'hex'));
console.log(JSON.stringify(out));
