// Runs rewritten modules in V8, with Node.js's own WASI: stdin has a list of jobs, stdout gets a line for each. What the profile fixes and WASI
// leaves open is put in its place: the clocks, the random bytes, and that the streams are block devices.
const fs = require("fs"), crypto = require("crypto"), {WASI} = require("node:wasi");
const jobs = JSON.parse(fs.readFileSync(0, "utf8"));
for (const j of jobs) {
  fs.writeFileSync(j.dir + "/stdin", j.stdin);
  const fds = ["stdin", "stdout", "stderr"].map((n, i) => fs.openSync(j.dir + "/" + n, i ? "w+" : "r"));
  fs.mkdirSync(j.dir + "/root", {recursive: true});
  const wasi = new WASI({version: "preview1", args: j.args, env: j.env || {}, preopens: {"/": j.dir + "/root"}, returnOnExit: true,
    stdin: fds[0], stdout: fds[1], stderr: fds[2]});
  const w = {...wasi.wasiImport};
  let e, wall = 1640995200000000000n, mono = 0n, counter = 0n, pool = Buffer.alloc(0);
  const view = () => new DataView(e.memory.buffer);
  w.clock_time_get = (id, precision, at) => {
    if (id > 1) return 28;
    view().setBigUint64(at >>> 0, id ? mono : wall, true);
    if (id) mono += 1000000n; else wall += 1000000n;
    return 0;
  };
  w.random_get = (at, n) => {
    while (pool.length < (n >>> 0)) {
      const b = Buffer.alloc(8);
      b.writeBigUInt64LE(counter++);
      pool = Buffer.concat([pool, crypto.createHash("sha256").update("cairn/wasm/1").update(b).digest()]);
    }
    new Uint8Array(e.memory.buffer).set(pool.subarray(0, n >>> 0), at >>> 0);
    pool = pool.subarray(n >>> 0);
    return 0;
  };
  const fdstat = w.fd_fdstat_get;
  w.fd_fdstat_get = (fd, at) => {
    const errno = fdstat(fd, at);
    if (errno === 0 && fd < 3) view().setUint8(at, 1);
    return errno;
  };
  const setFlags = w.fd_fdstat_set_flags; // there are no non-blocking files
  w.fd_fdstat_set_flags = (fd, flags) => flags & 4 ? 52 : setFlags(fd, flags);
  // Files: times are zero, folders have no size and are read in the order of names, beginning with . and ..
  const still = at => {
    for (const field of [40, 48, 56]) view().setBigUint64(at + field, 0n, true);
    view().setBigUint64(at + 24, 1n, true);
    if (view().getUint8(at + 16) === 3) view().setBigUint64(at + 32, 0n, true);
  };
  for (const [name, result] of [["fd_filestat_get", 1], ["path_filestat_get", 4]]) {
    const call = w[name];
    w[name] = (...a) => { const errno = call(...a); if (errno === 0 && a[0] > 2) still(a[result]); return errno; };
  }
  const folders = {3: j.dir + "/root"}, open = w.path_open;
  w.path_open = (...a) => {
    const errno = open(...a);
    if (errno === 0) folders[view().getUint32(a[8], true)] = folders[a[0]] + "/" + Buffer.from(e.memory.buffer, a[2], a[3]).toString();
    return errno;
  };
  w.fd_readdir = (fd, at, size, cookie, used) => {
    const folder = folders[fd], parts = [];
    [".", "..", ...fs.readdirSync(folder).sort()].forEach((name, i) => {
      if (i < cookie) return;
      const head = Buffer.alloc(24);
      head.writeBigUInt64LE(BigInt(i + 1), 0);
      head.writeBigUInt64LE(BigInt(i + 1), 8);
      head.writeUInt32LE(Buffer.byteLength(name), 16);
      head.writeUInt8(i < 2 || fs.statSync(folder + "/" + name).isDirectory() ? 3 : 4, 20);
      parts.push(head, Buffer.from(name));
    });
    const all = Buffer.concat(parts).subarray(0, size >>> 0);
    new Uint8Array(e.memory.buffer).set(all, at >>> 0);
    view().setUint32(used, all.length, true);
    return 0;
  };
  w.poll_oneoff = (inp, out, n, count) => { // sleeps take no time
    for (let i = 0; i < n; i++) {
      if (view().getUint8(inp + 48 * i + 8) !== 0) return 52;
      view().setBigUint64(out + 32 * i, view().getBigUint64(inp + 48 * i, true), true);
      for (let k = 8; k < 32; k += 8) view().setBigUint64(out + 32 * i + k, 0n, true);
    }
    view().setUint32(count, n, true);
    return 0;
  };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(j.module)), {wasi_snapshot_preview1: w});
  e = instance.exports;
  const fuel = BigInt(j.fuel), start = process.cpuUsage(), counts = e["cairn:fuel"] || {value: 0n};
  counts.value = fuel;
  let exit = 0, trap = false;
  try { exit = wasi.start(instance); } catch (err) { if (!(err instanceof WebAssembly.RuntimeError)) throw err; trap = true; }
  const {user, system} = process.cpuUsage(start), ns = 1000 * (user + system);
  fds.forEach(fd => fs.closeSync(fd));
  const left = counts.value;
  console.log(JSON.stringify({exit, trap, fuel: Number(left < 0n ? fuel : fuel - left), ns,
    stdout: fs.readFileSync(j.dir + "/stdout", "latin1"), stderr: fs.readFileSync(j.dir + "/stderr", "latin1")}));
}
