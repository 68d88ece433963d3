// Walks the SunSpec models of a Modbus unit with modbus-serial, and prints what it finds as JSON: node read.mjs HOST PORT UNIT.
import ModbusRTU from "modbus-serial";

const [host, port, unit] = process.argv.slice(2);
const client = new ModbusRTU.default();
await client.connectTCP(host, { port: Number(port) });
client.setID(Number(unit));
client.setTimeout(10000);

// read returns n registers as bytes: as many requests as it takes.
async function read(at, n) {
  const parts = [];
  for (let done = 0; done < n; done += 125) {
    parts.push((await client.readHoldingRegisters(at + done, Math.min(125, n - done))).buffer);
  }
  return Buffer.concat(parts);
}

const text = (b, at, n) => b.toString("latin1", 2 * at, 2 * (at + n)).replace(/\0+$/, "");
const out = { base: -1, models: [] };
for (const base of [40000, 0, 50000]) {
  try {
    if ((await read(base, 2)).toString("latin1") === "SunS") {
      out.base = base;
      break;
    }
  } catch (e) {
    if (e.modbusCode !== 2) throw e;
  }
}
for (let at = out.base + 2; ; ) {
  const head = await read(at, 2);
  const id = head.readUInt16BE(0);
  const length = head.readUInt16BE(2);
  if (id === 0xffff) break;
  const b = await read(at, length + 2);
  const model = { id, length, words: [] };
  for (let i = 0; i < b.length; i += 2) model.words.push(b.readUInt16BE(i));
  const u16 = (i) => b.readUInt16BE(2 * i);
  const i16 = (i) => b.readInt16BE(2 * i);
  switch (id) {
    case 1:
      model.values = { Mn: text(b, 2, 16), Md: text(b, 18, 16), SN: text(b, 50, 16) };
      break;
    case 103:
      model.values = { W: i16(14), W_SF: i16(15), Hz: u16(16), WH: b.readUInt32BE(48), WH_SF: i16(26), St: u16(38) };
      break;
    case 120:
      model.values = { DERTyp: u16(2), WRtg: u16(3), WRtg_SF: i16(4) };
      break;
    case 203:
      model.values = { W: i16(18), W_SF: i16(22), TotWhExp: b.readUInt32BE(76), TotWhImp: b.readUInt32BE(92), TotWh_SF: i16(54) };
      break;
    case 701:
      model.values = { W: i16(10), W_SF: i16(116), TotWhInj: Number(b.readBigUInt64BE(38)), TotWh_SF: i16(120), InvSt: u16(4) };
      break;
  }
  out.models.push(model);
  at += 2 + length;
}
console.log(JSON.stringify(out));
client.close(() => {});
