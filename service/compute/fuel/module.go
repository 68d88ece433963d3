package fuel

import (
	"bytes"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

type funcType struct{ params, results []valtype }

type globalType struct {
	typ     valtype
	mutable bool
}

// module is what was read of a module, and what is being made of it.
type module struct {
	reader
	types     []funcType
	imports   []call   // what each imported function is
	funcs     []uint32 // type of each function, imported ones first
	tables    []valtype
	memories  int
	globals   []globalType
	elems     []valtype
	datas     int // what the data count section says, or -1
	start     int // the start function, or -1
	main      int // _start, or -1
	declared  []bool
	exports   map[string]bool
	hasMemory bool // exported by its name

	newTypes []byte            // types that were added
	returns  map[string]uint32 // results → the type without parameters that leaves them
	added    int

	typeSection, importSection, tableSection, memorySection, exportSection, elemSection, dataSection []byte
	globalSection                                                                                    []byte
	exported                                                                                         int
	code                                                                                             []byte
	bodies                                                                                           int
	segments                                                                                         int
	work                                                                                             int // operands that may still be looked at
	effort                                                                                           int64
}

// The sections' numbers.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag
)

// order is the place of each section: data count comes before code.
var order = [...]int{secType: 1, secImport: 2, secFunction: 3, secTable: 4, secMemory: 5, secGlobal: 6, secExport: 7, secStart: 8,
	secElement: 9, secDataCount: 10, secCode: 11, secData: 12}

var header = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// Rewrite returns the module with fuel. Its error carries BadModule, ImportDenied, FeatureDenied or TooLarge,
// and says at which byte.
func Rewrite(wasm []byte) (metered []byte, err error) {
	if len(wasm) > MaxModule {
		return nil, types.Refuse(TooLarge, "the module has %d bytes, at most %d", len(wasm), MaxModule)
	}
	defer func() {
		if r := recover(); r != nil {
			refused, ok := r.(refusal)
			if !ok {
				panic(r)
			}
			metered, err = nil, refused.err
		}
	}()
	m := &module{
		reader: reader{b: wasm, end: len(wasm)}, datas: -1, start: -1, main: -1,
		exports: map[string]bool{}, returns: map[string]uint32{}, work: 1<<20 + 16*len(wasm),
	}
	m.read()
	return m.write(), nil
}

// fuel, depth and refused are the numbers of the globals that are added.
func (m *module) fuel() uint64    { return uint64(len(m.globals)) }
func (m *module) depth() uint64   { return uint64(len(m.globals)) + 1 }
func (m *module) refused() uint64 { return uint64(len(m.globals)) + 2 }

// renumbered is the number that function i has when the rewritten module names it: an import's is its wrapper's.
func (m *module) renumbered(i uint32) uint64 {
	if int(i) < len(m.imports) {
		return uint64(len(m.funcs)) + uint64(i)
	}
	return uint64(i)
}

func (m *module) read() {
	if len(m.b) < len(header) || !bytes.Equal(m.b[:len(header)], header) {
		m.bad(0, "no WebAssembly module of version 1")
	}
	m.at = len(header)
	last := 0
	for m.more() {
		at := m.at
		id := m.byte()
		size := m.u32()
		if uint64(size) > uint64(m.end-m.at) {
			m.bad(at, "section %d announces %d bytes, and %d are left", id, size, m.end-m.at)
		}
		end := m.at + int(size)
		switch {
		case id == secTag:
			m.refuse(at, FeatureDenied, "exceptions")
		case id > secTag:
			m.bad(at, "section %d is unknown", id)
		case id != secCustom && order[id] <= last:
			m.bad(at, "section %d is out of order, or there a second time", id)
		case id != secCustom:
			last = order[id]
		}
		whole := m.end
		m.end = end
		m.section(int(id), at)
		if m.at != end {
			m.bad(m.at, "section %d has %d bytes more than it needs", id, end-m.at)
		}
		m.end = whole
	}
	switch at := m.at; {
	case m.bodies != len(m.funcs)-len(m.imports):
		m.bad(at, "%d functions are declared, and %d have a body", len(m.funcs)-len(m.imports), m.bodies)
	case m.datas >= 0 && m.segments != m.datas:
		m.bad(at, "%d data segments are announced, and %d are there", m.datas, m.segments)
	case m.main < 0:
		m.bad(at, "no function _start is exported: the module is no WASI command")
	case !m.hasMemory:
		m.bad(at, `no memory is exported as "memory": the module is no WASI command`)
	}
}

func (m *module) section(id, at int) {
	begin := m.at
	switch id {
	case secCustom:
		m.name()
		m.at = m.end
	case secType:
		m.readTypes()
		m.typeSection = items(m.b[begin:m.end])
	case secImport:
		m.readImports()
		m.importSection = m.b[begin:m.end]
	case secFunction:
		n := m.count("functions", maxFunctions)
		m.funcs = append(make([]uint32, 0, len(m.funcs)+n), m.funcs...)
		for range n {
			m.funcs = append(m.funcs, m.index("type", len(m.types)))
		}
	case secTable:
		m.readTables()
	case secMemory:
		if n := m.count("memories", maxSegments); n > 1 {
			m.refuse(begin, FeatureDenied, "%d memories", n)
		} else if m.memories = n; n == 1 {
			m.readMemory()
		}
		m.memorySection = m.b[begin:m.end]
	case secGlobal:
		m.readGlobals()
	case secExport:
		m.readExports()
	case secStart:
		f := m.index("function", len(m.funcs))
		if t := m.types[m.funcs[f]]; len(t.params)+len(t.results) > 0 {
			m.bad(begin, "the start function takes or returns something")
		}
		m.start = int(f)
	case secElement:
		m.readElements()
	case secDataCount:
		m.datas = int(m.u32())
	case secCode:
		m.readCode()
	case secData:
		m.readData()
		m.dataSection = m.b[begin:m.end]
	}
}

// items is a vector's bytes behind its count, which was read before.
func items(b []byte) []byte {
	r := reader{b: b, end: len(b)}
	r.u32()
	return b[r.at:]
}

func (m *module) valtype() valtype {
	at := m.at
	switch t := valtype(m.byte()); t {
	case i32, i64, f32, f64, funcref, externref:
		return t
	case v128:
		m.refuse(at, FeatureDenied, "SIMD")
	case 0x63, 0x64, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x71, 0x72, 0x73, 0x74:
		m.refuse(at, FeatureDenied, "typed references, garbage collection or exceptions")
	}
	m.bad(at, "an unknown type of value")
	return unknown
}

func (m *module) valtypes(what string) []valtype {
	n := m.count(what, maxArity)
	ts := make([]valtype, n)
	for i := range ts {
		ts[i] = m.valtype()
	}
	return ts
}

func (m *module) readTypes() {
	n := m.count("types", maxTypes)
	m.types = make([]funcType, 0, n)
	for range n {
		at := m.at
		switch b := m.byte(); {
		case b >= 0x4d && b <= 0x5f:
			m.refuse(at, FeatureDenied, "types of garbage collection")
		case b != 0x60:
			m.bad(at, "no function type")
		}
		m.types = append(m.types, funcType{m.valtypes("parameters"), m.valtypes("results")})
	}
}

func (m *module) readImports() {
	for range m.count("imports", maxImports) {
		at := m.at
		from, name := m.name(), m.name()
		kind := m.byte()
		if from != wasi {
			m.refuse(at, ImportDenied, "%.80q of %.80q: only %s may be imported from", name, from, wasi)
		}
		c, known := calls[name]
		if kind != 0 || !known {
			m.refuse(at, ImportDenied, "%.80q: %s has no such function", name, wasi)
		}
		t := m.index("type", len(m.types))
		if !c.fits(m.types[t]) {
			m.refuse(at, ImportDenied, "%s has other parameters or results", name)
		}
		m.imports, m.funcs = append(m.imports, c), append(m.funcs, t)
	}
}

// limits reads the least and the most of a table or memory.
func (m *module) limits(what string, limit uint32) (low, high uint32, bounded bool) {
	at := m.at
	switch flag := m.byte(); {
	case flag > 7:
		m.bad(at, "unknown limits of a %s", what)
	case flag&2 != 0:
		m.refuse(at, FeatureDenied, "shared memory: threads")
	case flag&4 != 0:
		m.refuse(at, FeatureDenied, "64-bit memory")
	case flag == 1:
		bounded = true
	}
	if low = m.u32(); low > limit {
		m.refuse(at, TooLarge, "a %s of %d, at most %d", what, low, limit)
	}
	high = limit
	if bounded {
		if high = m.u32(); high < low {
			m.bad(at, "a %s of at least %d and at most %d", what, low, high)
		}
	}
	return low, high, bounded
}

// readTables bounds what each table may grow to.
func (m *module) readTables() {
	n := m.count("tables", maxTables)
	m.tableSection = appendU(nil, uint64(n))
	for range n {
		at := m.at
		if m.peek() == 0x40 {
			m.refuse(at, FeatureDenied, "a table with a first value")
		}
		t := m.valtype()
		if !t.ref() {
			m.bad(at, "a table of %s", t)
		}
		low, high, _ := m.limits("table", maxTable)
		m.tables = append(m.tables, t)
		m.tableSection = appendU(append(m.tableSection, byte(t), 1), uint64(low))
		m.tableSection = appendU(m.tableSection, uint64(min(high, maxTable)))
	}
}

func (m *module) readMemory() {
	at := m.at
	if _, high, bounded := m.limits("memory", MaxPages); bounded && high > MaxPages {
		m.bad(at, "a memory of up to %d pages, at most %d", high, MaxPages)
	}
}

// constant reads an expression that a module is set up with. It appends it to out, with functions by their new
// numbers.
func (m *module) constant(want valtype, out []byte) []byte {
	at := m.at
	var got valtype
	switch op := m.byte(); op {
	case opI32Const:
		m.signed(32)
		got, out = i32, append(out, m.b[at:m.at]...)
	case opI64Const:
		m.signed(64)
		got, out = i64, append(out, m.b[at:m.at]...)
	case opF32Const:
		m.bytes(4)
		got, out = f32, append(out, m.b[at:m.at]...)
	case opF64Const:
		m.bytes(8)
		got, out = f64, append(out, m.b[at:m.at]...)
	case opRefNull:
		if got = m.valtype(); !got.ref() {
			m.bad(at, "a null of %s", got)
		}
		out = append(out, m.b[at:m.at]...)
	case opRefFunc:
		f := m.index("function", len(m.funcs))
		m.declare(f)
		got, out = funcref, appendU(append(out, op), m.renumbered(f))
	case opGlobalGet:
		m.bad(at, "an expression reads a global that is not imported")
	case 0xfd:
		m.refuse(at, FeatureDenied, "SIMD")
	default:
		m.bad(at, "instruction 0x%02x in a constant expression", op)
	}
	if got != want {
		m.bad(at, "an expression gives %s, and %s is needed", got, want)
	}
	switch end := m.at; m.byte() {
	case opEnd:
	case opI32Add, opI32Sub, 0x6c, 0x7c, opI64Sub, opI64Mul, opI32Const, opI64Const:
		m.refuse(end, FeatureDenied, "an expression of several instructions")
	default:
		m.bad(end, "an expression of several instructions")
	}
	return append(out, opEnd)
}

func (m *module) declare(f uint32) {
	if m.declared == nil {
		m.declared = make([]bool, len(m.funcs))
	}
	m.declared[f] = true
}

func (m *module) readGlobals() {
	n := m.count("globals", maxGlobals)
	for range n {
		t := m.valtype()
		at := m.at
		mut := m.byte()
		if mut > 1 {
			m.bad(at, "a global is neither constant nor mutable")
		}
		m.globalSection = m.constant(t, append(m.globalSection, byte(t), mut))
		m.globals = append(m.globals, globalType{t, mut == 1})
	}
}

func (m *module) readExports() {
	n := m.count("exports", maxExports)
	for range n {
		at := m.at
		name := m.name()
		switch {
		case m.exports[name]:
			m.bad(at, "%.80q is exported twice", name)
		case strings.HasPrefix(name, prefix):
			m.bad(at, "%.80q: names beginning with %s are not the module's to give", name, prefix)
		}
		m.exports[name] = true
		kind := m.byte()
		out := appendBytes(m.exportSection, []byte(name))
		var index uint64
		switch kind {
		case 0:
			f := m.index("function", len(m.funcs))
			m.declare(f)
			index = m.renumbered(f)
			if t := m.types[m.funcs[f]]; name == "_start" {
				if len(t.params)+len(t.results) > 0 {
					m.bad(at, "_start takes or returns something")
				}
				m.main = int(f)
			}
		case 1:
			index = uint64(m.index("table", len(m.tables)))
		case 2:
			index = uint64(m.index("memory", m.memories))
			m.hasMemory = m.hasMemory || name == "memory"
		case 3:
			index = uint64(m.index("global", len(m.globals)))
		case 4:
			m.refuse(at, FeatureDenied, "exceptions")
		default:
			m.bad(at, "%.80q exports an unknown kind of thing", name)
		}
		m.exportSection = appendU(append(out, kind), index)
		m.exported++
	}
}

func (m *module) readElements() {
	n := m.count("element segments", maxSegments)
	out := appendU(nil, uint64(n))
	for range n {
		at := m.at
		flag := m.u32()
		if flag > 7 {
			m.bad(at, "unknown kind of element segment")
		}
		active, typed, exprs := flag&1 == 0, flag&3 != 0, flag&4 != 0
		out = appendU(out, uint64(flag))
		table, typ := uint32(0), funcref
		if active {
			if flag&2 != 0 {
				table = m.index("table", len(m.tables))
				out = appendU(out, uint64(table))
			} else if len(m.tables) == 0 {
				m.bad(at, "elements of a table that is not there")
			}
			out = m.constant(i32, out)
		}
		if typed {
			kind := m.at
			if exprs {
				if typ = m.valtype(); !typ.ref() {
					m.bad(kind, "elements of %s", typ)
				}
			} else if m.byte() != 0 {
				m.bad(kind, "elements of an unknown kind")
			}
			out = append(out, m.b[kind])
		}
		if active && m.tables[table] != typ {
			m.bad(at, "elements of %s in a table of %s", typ, m.tables[table])
		}
		k := m.count("elements", maxTable)
		out = appendU(out, uint64(k))
		for range k {
			if exprs {
				out = m.constant(typ, out)
				continue
			}
			f := m.index("function", len(m.funcs))
			m.declare(f)
			out = appendU(out, m.renumbered(f))
		}
		m.elems = append(m.elems, typ)
	}
	m.elemSection = out
}

func (m *module) readData() {
	at := m.at
	m.segments = m.count("data segments", maxSegments)
	for range m.segments {
		flag := m.u32()
		switch {
		case flag > 2:
			m.bad(at, "unknown kind of data segment")
		case flag == 2:
			m.index("memory", m.memories)
		case flag == 0 && m.memories == 0:
			m.bad(at, "data of a memory that is not there")
		}
		if flag != 1 {
			m.constant(i32, nil)
		}
		m.bytes(m.u32())
	}
}

func (m *module) readCode() {
	n := m.count("bodies", maxFunctions)
	if n != len(m.funcs)-len(m.imports) {
		m.bad(m.at, "%d functions are declared, and %d have a body", len(m.funcs)-len(m.imports), n)
	}
	m.bodies = n
	if m.declared == nil {
		m.declared = make([]bool, len(m.funcs))
	}
	var c coder
	for i := range n {
		at := m.at
		size := m.u32()
		if size > maxBody {
			m.refuse(at, TooLarge, "a function of %d bytes, at most %d", size, maxBody)
		}
		if uint64(size) > uint64(m.end-m.at) {
			m.bad(at, "a function announces %d bytes, and %d are left", size, m.end-m.at)
		}
		whole := m.end
		m.end = m.at + int(size)
		body := c.function(m, m.types[m.funcs[len(m.imports)+i]])
		if len(body) > maxBody {
			m.refuse(at, TooLarge, "a function of %d bytes with its fuel, at most %d", len(body), maxBody)
		}
		if m.at != m.end {
			m.bad(m.at, "a function has %d bytes more than it needs", m.end-m.at)
		}
		m.end = whole
		if m.code = appendBytes(m.code, body); len(m.code) > MaxOutput {
			m.refuse(at, TooLarge, "the module has more than %d bytes with its fuel", MaxOutput)
		}
	}
}

// returning is the number of the type that takes nothing and leaves results, which is added where it is not
// there yet.
func (m *module) returning(results []valtype) uint32 {
	key := string(bytesOf(results))
	i, ok := m.returns[key]
	if !ok {
		i = uint32(len(m.types) + m.added)
		m.returns[key] = i
		m.added++
		m.newTypes = appendBytes(append(m.newTypes, 0x60, 0), bytesOf(results))
	}
	return i
}

func bytesOf(ts []valtype) []byte {
	b := make([]byte, len(ts))
	for i, t := range ts {
		b[i] = byte(t)
	}
	return b
}

// write puts the rewritten module together.
func (m *module) write() []byte {
	out := make([]byte, 0, len(m.code)+len(m.dataSection)+len(m.elemSection)+len(m.exportSection)+1<<16)
	out = append(out, header...)
	section := func(id byte, parts ...[]byte) {
		n := 0
		for _, p := range parts {
			n += len(p)
		}
		if n == 0 {
			return
		}
		out = appendU(append(out, id), uint64(n))
		for _, p := range parts {
			out = append(out, p...)
		}
	}
	count := func(n int) []byte { return appendU(nil, uint64(n)) }

	wrappers := len(m.imports)
	functions, code := count(m.bodies+wrappers), count(m.bodies+wrappers)
	exports := m.exportSection
	if m.start >= 0 {
		// What ran when the module was made runs when it is called, with fuel.
		functions, code = count(m.bodies+wrappers+1), count(m.bodies+wrappers+1)
	}
	for _, t := range m.funcs[len(m.imports):] {
		functions = appendU(functions, uint64(t))
	}
	for i, c := range m.imports {
		functions = appendU(functions, uint64(m.funcs[i]))
		m.code = appendBytes(m.code, m.wrapper(i, c))
	}
	if m.start >= 0 {
		functions = appendU(functions, uint64(m.funcs[m.main]))
		m.code = appendBytes(m.code, m.starter())
		exports = m.exportStarter(exports)
		m.exported++
	}
	for i, name := range []string{Fuel, Depth, Refused} {
		exports = appendU(append(appendBytes(exports, []byte(name)), 3), m.fuel()+uint64(i))
	}

	section(secType, count(len(m.types)+m.added), m.typeSection, m.newTypes)
	section(secImport, m.importSection)
	section(secFunction, functions)
	section(secTable, m.tableSection)
	section(secMemory, m.memorySection)
	section(secGlobal, count(len(m.globals)+3), m.globalSection,
		[]byte{byte(i64), 1, opI64Const, 0, opEnd, byte(i32), 1, opI32Const, 0, opEnd, byte(i32), 1, opI32Const, 0, opEnd})
	section(secExport, count(m.exported+3), exports)
	section(secElement, m.elemSection)
	if m.datas >= 0 {
		section(secDataCount, count(m.datas))
	}
	section(secCode, code, m.code)
	section(secData, m.dataSection)
	return out
}

// starter is the body of a function that calls the start function, then _start. Both are of type () → (), and
// so is it.
func (m *module) starter() []byte {
	b := appendU([]byte{0, opCall}, m.renumbered(uint32(m.start)))
	return append(appendU(append(b, opCall), m.renumbered(uint32(m.main))), opEnd)
}

// exportStarter gives the starter the name _start, and the function that had it another: what is exported may
// be referred to.
func (m *module) exportStarter(exports []byte) []byte {
	r := reader{b: exports, end: len(exports)}
	out := make([]byte, 0, len(exports)+32)
	for r.more() {
		at := r.at
		name := string(r.bytes(r.u32()))
		kind := r.byte()
		f := r.u32()
		if name != "_start" {
			out = append(out, exports[at:r.at]...)
			continue
		}
		out = appendU(append(appendBytes(out, []byte(name)), kind), uint64(len(m.funcs)+len(m.imports)))
		out = appendU(append(appendBytes(out, []byte(prefix+"main")), kind), uint64(f))
	}
	return out
}
