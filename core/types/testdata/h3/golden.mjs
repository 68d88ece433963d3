// Writes cells.json: what h3-js says about random cells and points. `go generate` in core/types runs it.
// The random numbers have a fixed seed, so the file changes only when this script or h3-js does.
import { writeFileSync } from 'node:fs'
import * as h3 from 'h3-js'

let state = 1n
function random() { // splitmix64, as a fraction of 1
  state = (state + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn
  let z = state
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn
  return Number((z ^ (z >> 31n)) >> 11n) / 2 ** 53
}
const below = n => Math.floor(random() * n)

// A cell from its parts, valid or not. The unused digits are 7.
function index(base, digits, { mode = 1, reserved = 0, res = digits.length, high = 0 } = {}) {
  let x = BigInt(high) << 63n | BigInt(mode) << 59n | BigInt(reserved) << 56n | BigInt(res) << 52n | BigInt(base) << 45n
  for (let r = 1; r <= 15; r++) x |= BigInt(digits[r - 1] ?? 7) << BigInt(3 * (15 - r))
  return x.toString(16)
}
const pentagons = h3.getPentagons(0).map(h3.getBaseCellNumber)

function randomCell(res, base = below(122)) {
  for (;;) {
    const zeros = random() < 0.3 ? below(res + 1) : 0 // near the base cell's centre, where pentagons are odd
    const c = index(base, Array.from({ length: res }, (_, r) => r < zeros ? 0 : below(7)))
    if (h3.isValidCell(c)) return c
  }
}

const cells = new Set(h3.getRes0Cells())
for (let res = 1; res <= 15; res++) {
  for (const c of h3.getPentagons(res)) cells.add(c)
  for (let n = 0; n < 72; n++) cells.add(randomCell(res))
  for (let n = 0; n < 36; n++) cells.add(randomCell(res, pentagons[n % 12]))
}
// Both levels of children of every pentagon: each of the five faces, and each border between them.
for (const p of h3.getPentagons(0)) for (const c of h3.cellToChildren(p, 1)) cells.add(c)
// Where the gap around a pentagon closes, cells of one child lie on both sides.
for (const p of pentagons) for (let d = 0; d < 7; d++) for (const e of [1, 5]) for (const zeros of [[], [0]]) cells.add(index(p, [...zeros, 4, e, d]))
for (const c of h3.cellToChildren(h3.getPentagons(0)[3], 3)) if (random() < 0.4) cells.add(c)

const valid = [...cells].map(c => {
  const res = h3.getResolution(c)
  const up = below(res + 1)
  const [lat, lng] = h3.cellToLatLng(c)
  return [c, res, h3.getBaseCellNumber(c), h3.isPentagon(c) ? 1 : 0, up, h3.cellToParent(c, up), lat, lng]
})

const maybe = []
const put = c => maybe.push([c, h3.isValidCell(c) ? 1 : 0])
for (const p of pentagons) for (let d = 0; d < 8; d++) for (const zeros of [0, 1, 7, 14]) put(index(p, [...Array(zeros).fill(0), d]))
for (const p of [4, 16, 117]) for (let d = 0; d < 8; d++) put(index(p, [0, d, 1, 1]))
for (let base = 118; base < 128; base++) put(index(base, [1, 2, 3]))
for (let n = 0; n < 16; n++) put(index(20, [3, 4], { mode: n }))
for (let n = 0; n < 8; n++) put(index(20, [3, 4], { reserved: n }))
for (let n = 0; n < 16; n++) put(index(20, [3, 4, 0, 6], { res: n }))
put(index(20, [3, 4], { high: 1 }))
put(index(20, [3, 7, 4]))
for (let n = 0; n < 40; n++) put(index(below(122), Array.from({ length: below(16) }, () => below(8))))

const points = []
for (let n = 0; n < 400; n++) {
  const lat = Math.asin(2 * random() - 1) * 180 / Math.PI, lng = random() * 360 - 180
  points.push([lat, lng, h3.latLngToCell(lat, lng, n % 16)])
}
for (const p of pentagons) for (let turn = 0; turn < 360; turn += 4) { // around pentagons, at a distance like their size
  const res = below(16)
  const [plat, plng] = h3.cellToLatLng(h3.getPentagons(res).find(c => h3.getBaseCellNumber(c) === p))
  const size = 25 / Math.sqrt(7) ** res * random(), angle = (turn + 4 * random()) * Math.PI / 180
  const lat = plat + size * Math.cos(angle)
  const lng = plng + size * Math.sin(angle) / Math.cos(plat * Math.PI / 180)
  if (Math.abs(lat) < 89.9) points.push([lat, lng, h3.latLngToCell(lat, lng, res)])
}

const rows = list => '[\n' + list.map(r => '  ' + JSON.stringify(r)).join(',\n') + '\n ]'
writeFileSync(new URL('cells.json', import.meta.url), `{
 "about": "h3-js 4.5.0. cells: index, resolution, base cell, pentagon, a coarser resolution, parent there, latitude and longitude of the centre in degrees. maybe: index, validity. points: latitude, longitude, cell.",
 "cells": ${rows(valid)},
 "maybe": ${rows(maybe)},
 "points": ${rows(points)}
}
`)
