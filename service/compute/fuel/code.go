package fuel

import "slices"

// frame is a block that is open.
type frame struct {
	op          byte
	in, out     []valtype
	height      int  // of the stack where it begins
	unreachable bool // what follows is never reached
	targeted    bool // something jumps to its end
}

// coder validates functions, by the algorithm in the appendix of the WebAssembly specification, and writes them
// with fuel as it goes.
type coder struct {
	*module
	locals []valtype // parameters first
	stack  []valtype
	frames []frame
	loops  int // that are open

	// For the module's effort: basic blocks and targets of br_table, calls, and the squares of each loop's
	// depth among loops.
	blocks, called, nested int64

	// The function so far, and the segment that is open: a run of instructions with one way in, at its first,
	// whose cost is paid there.
	out, segment []byte
	cost, all    int64
	nest         int     // blocks that were open where the segment began
	pending      valtype // the last result may be a NaN that nothing has made canonical yet
	calls        bool

	left, temp, nan32, nan64 uint64 // numbers of scratch locals: the fuel that is left, an i32, an f32, an f64
}

// function reads the body of a function of type t, and returns the body of the rewritten one, which holds until
// the next call.
func (c *coder) function(m *module, t funcType) []byte {
	begin := m.at
	*c = coder{module: m, locals: append(c.locals[:0], t.params...), stack: c.stack[:0], frames: c.frames[:0], out: c.out[:0], segment: c.segment[:0]}
	groups := m.count("groups of locals", maxBody)
	for range groups {
		at := m.at
		n := m.u32()
		typ := m.valtype()
		if uint64(n)+uint64(len(c.locals)) > MaxLocals {
			m.refuse(at, TooLarge, "a function has more than %d locals", MaxLocals)
		}
		for range n {
			c.locals = append(c.locals, typ)
		}
	}
	declared := m.b[begin:m.at]
	// Scratch locals follow the function's own, needed or not, so that their numbers are known.
	own := uint64(len(c.locals))
	c.left, c.temp, c.nan32, c.nan64 = own, own+1, own+2, own+3
	c.cost = int64(len(c.locals) - len(t.params))
	c.frames = append(c.frames, frame{op: opBlock, out: t.results})
	for len(c.frames) > 0 {
		c.instruction()
	}
	c.flush(0)
	c.blocks += c.called / 8
	if m.effort += c.blocks*c.blocks + c.nested; m.effort > maxEffort {
		m.refuse(begin, TooLarge, "functions with so many branches take too long to compile: split them")
	}

	// begin of the rewritten function, and its end, around c.out
	r := reader{b: declared, end: len(declared)}
	r.u32()
	body := appendU(make([]byte, 0, len(c.out)+len(declared)+96), uint64(groups+4))
	body = append(body, declared[r.at:]...)
	body = append(body, 1, byte(i64), 1, byte(i32), 1, byte(f32), 1, byte(f64))
	body = append(body, opBlock, blockEmpty, opBlock)
	switch len(t.results) {
	case 0:
		body = append(body, blockEmpty)
	case 1:
		body = append(body, byte(t.results[0]))
	default:
		body = appendS(body, int64(m.returning(t.results)))
	}
	weight := 1 + (c.all+int64(len(c.locals)))/perFrame
	counts := c.called > 0 || weight > 1
	if counts {
		body = appendS(append(c.get(body, opGlobalGet, m.depth()), opI32Const), weight)
		body = c.get(append(body, opI32Add), opLocalTee, c.temp)
		body = c.get(c.get(body, opGlobalSet, m.depth()), opLocalGet, c.temp)
		body = append(appendS(append(body, opI32Const), MaxDepth), opI32GtS, opBrIf, 1)
	}
	body = c.reload(body)
	body = append(append(body, c.out...), opEnd)
	if counts {
		body = appendS(append(c.get(body, opGlobalGet, m.depth()), opI32Const), weight)
		body = c.get(append(body, opI32Sub), opGlobalSet, m.depth())
	}
	return append(body, opReturn, opEnd, opUnreachable, opEnd)
}

// get appends an instruction with one index.
func (c *coder) get(b []byte, op byte, index uint64) []byte { return appendU(append(b, op), index) }

// reload takes the fuel from the global, which others may have changed.
func (c *coder) reload(b []byte) []byte {
	return c.get(c.get(b, opGlobalGet, c.fuel()), opLocalSet, c.left)
}

// charge appends what takes the fuel that is on the stack as what is left. Inside nest blocks, it leaves the
// function where that is below zero.
func (c *coder) charge(b []byte, nest int) []byte {
	b = c.get(b, opLocalTee, c.left)
	b = c.get(c.get(b, opGlobalSet, c.fuel()), opLocalGet, c.left)
	b = append(b, opI64Const, 0, opI64LtS, opBrIf)
	return appendU(b, uint64(nest)+1)
}

// flush ends the segment, and begins one inside nest blocks.
func (c *coder) flush(nest int) {
	if c.cost > 0 {
		c.out = appendS(append(c.get(c.out, opLocalGet, c.left), opI64Const), c.cost)
		c.out = c.charge(append(c.out, opI64Sub), c.nest)
	}
	c.all += c.cost
	c.out = append(c.out, c.segment...)
	c.segment, c.cost, c.nest = c.segment[:0], 0, nest
	if len(c.out) > maxBody {
		c.refuse(c.at, TooLarge, "a function of more than %d bytes with its fuel", maxBody)
	}
}

// next ends the segment behind the instruction that was just written.
func (c *coder) next() {
	c.blocks++
	c.flush(len(c.frames) - 1)
}

// canonical makes the NaN that may be on top of the stack the one NaN of the profile: positive, quiet, nothing else.
func (c *coder) canonical() {
	s := c.segment
	switch c.pending {
	case f32:
		s = append(c.get(s, opLocalTee, c.nan32), opF32Const, 0, 0, 0xc0, 0x7f)
		s = c.get(c.get(s, opLocalGet, c.nan32), opLocalGet, c.nan32)
		s = append(s, opF32Eq, opSelect)
	case f64:
		s = append(c.get(s, opLocalTee, c.nan64), opF64Const, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f)
		s = c.get(c.get(s, opLocalGet, c.nan64), opLocalGet, c.nan64)
		s = append(s, opF64Eq, opSelect)
	}
	c.segment, c.pending = s, unknown
}

// spend counts operands that are looked at, so that types with many of them cost a module its length.
func (c *coder) spend(n int) {
	if c.work -= n; c.work < 0 {
		c.refuse(c.at, TooLarge, "blocks, branches and calls pass more operands than a module of this length may")
	}
}

func (c *coder) push(ts ...valtype) {
	c.spend(len(ts))
	c.stack = append(c.stack, ts...)
	if len(c.stack) > MaxStack {
		c.refuse(c.at, TooLarge, "a function has more than %d operands at a time", MaxStack)
	}
}

func (c *coder) pop(want valtype) valtype {
	f := &c.frames[len(c.frames)-1]
	if len(c.stack) == f.height {
		if !f.unreachable {
			c.bad(c.at, "an operand is missing")
		}
		return want
	}
	got := c.stack[len(c.stack)-1]
	c.stack = c.stack[:len(c.stack)-1]
	if got != want && got != unknown && want != unknown {
		c.bad(c.at, "an operand is %s, and %s is needed", got, want)
	}
	if got == unknown {
		return want
	}
	return got
}

func (c *coder) popAll(ts []valtype) {
	c.spend(len(ts))
	for _, t := range slices.Backward(ts) {
		c.pop(t)
	}
}

func (c *coder) apply(s signature) {
	for i := len(s.in) - 1; i >= 0; i-- {
		c.pop(letter(s.in[i]))
	}
	for i := range len(s.out) {
		c.push(letter(s.out[i]))
	}
}

// dead says that what follows is never reached.
func (c *coder) dead() {
	f := &c.frames[len(c.frames)-1]
	c.stack, f.unreachable = c.stack[:f.height], true
}

func (c *coder) enter(op byte, in, out []valtype) {
	if len(c.frames) > maxNesting {
		c.refuse(c.at, TooLarge, "more than %d blocks in each other", maxNesting)
	}
	c.popAll(in)
	c.frames = append(c.frames, frame{op: op, in: in, out: out, height: len(c.stack)})
	c.push(in...)
}

func (c *coder) leave() frame {
	f := c.frames[len(c.frames)-1]
	c.popAll(f.out)
	if len(c.stack) != f.height {
		c.bad(c.at, "%d operands are left over", len(c.stack)-f.height)
	}
	c.frames = c.frames[:len(c.frames)-1]
	return f
}

// label reads a branch's target, and returns what the branch takes along.
func (c *coder) label() []valtype {
	f := &c.frames[len(c.frames)-1-int(c.index("label", len(c.frames)))]
	f.targeted = true
	if f.op == opLoop {
		return f.in
	}
	return f.out
}

var single = map[valtype][]valtype{i32: {i32}, i64: {i64}, f32: {f32}, f64: {f64}, funcref: {funcref}, externref: {externref}}

func (c *coder) blockType() (in, out []valtype) {
	at := c.at
	switch b := c.peek(); {
	case b == blockEmpty:
		c.at++
		return nil, nil
	case b >= 0x40 && b < 0x80:
		return nil, single[c.valtype()]
	}
	i := c.signed(33)
	if i < 0 || i >= int64(len(c.types)) {
		c.bad(at, "type %d of %d", i, len(c.types))
	}
	t := c.types[i]
	return t.params, t.results
}

// instruction reads one, checks it, and appends it to the segment.
func (c *coder) instruction() {
	at := c.at
	op := c.byte()
	c.cost++
	keep := true // as it stands
	switch {
	case op >= opI32Eqz && op <= 0xc4:
		if c.pending != unknown && hidesNaN(op) {
			c.pending = unknown
		}
		c.apply(simple[op])
		c.emit(at)
		c.pending = makesNaN(op)
		return
	case op >= opLocalGet && op <= opGlobalSet:
		c.variable(op, at)
		if op == opLocalGet || op == opGlobalGet {
			c.operand(at)
			return
		}
	case op >= opI32Load && op <= opI64Store32:
		a := accesses[op-opI32Load]
		c.needMemory(at)
		if align := c.u32(); align > a.align {
			if align >= 64 && align < 128 {
				c.refuse(at, FeatureDenied, "several memories")
			}
			c.bad(at, "an alignment of 2^%d", align)
		}
		c.u32()
		c.apply(a.signature)
	case op >= opI32Const && op <= opF64Const:
		c.literal(op)
		c.operand(at)
		return
	case op == opPrefix:
		keep = c.prefixed(at)
	case op <= opReturn || op == opCall || op == opCallIndirect:
		c.control(op, at)
		return
	default:
		keep = c.other(op, at)
	}
	if keep {
		c.emit(at)
	}
}

// emit appends the bytes from at on.
func (c *coder) emit(at int) {
	if c.pending != unknown {
		c.canonical()
	}
	c.segment = append(c.segment, c.b[at:c.at]...)
}

// operand is emit for instructions that only push: what is below may wait if the next takes both.
func (c *coder) operand(at int) {
	if c.pending != unknown && hidesBoth(c.peek()) {
		c.pending = unknown
	}
	c.emit(at)
}

func (c *coder) literal(op byte) {
	switch op {
	case opI32Const:
		c.signed(32)
		c.push(i32)
	case opI64Const:
		c.signed(64)
		c.push(i64)
	case opF32Const:
		c.bytes(4)
		c.push(f32)
	case opF64Const:
		c.bytes(8)
		c.push(f64)
	}
}

func (c *coder) variable(op byte, at int) {
	if op == opGlobalGet || op == opGlobalSet {
		g := c.globals[c.index("global", len(c.globals))]
		if op == opGlobalGet {
			c.push(g.typ)
			return
		}
		if !g.mutable {
			c.bad(at, "a constant global is set")
		}
		c.pop(g.typ)
		return
	}
	t := c.locals[c.index("local", len(c.locals))]
	if op != opLocalGet {
		c.pop(t)
	}
	if op != opLocalSet {
		c.push(t)
	}
}

func (c *coder) needMemory(at int) {
	if c.memories == 0 {
		c.bad(at, "there is no memory")
	}
}

func (c *coder) zero(what string) {
	if at := c.at; c.byte() != 0 {
		c.refuse(at, FeatureDenied, "%s", what)
	}
}

// other are instructions that move values, and memory.size and memory.grow. It says whether the bytes may be kept.
func (c *coder) other(op byte, at int) bool {
	switch op {
	case opDrop:
		c.pop(unknown)
	case opSelect:
		c.pop(i32)
		a := c.pop(unknown)
		b := c.pop(a)
		if a == unknown {
			a = b
		}
		if a.ref() || b.ref() {
			c.bad(at, "select of references without their type")
		}
		c.push(a)
	case opSelectT:
		if n := c.u32(); n != 1 {
			c.bad(at, "select of %d types", n)
		}
		t := c.valtype()
		c.pop(i32)
		c.pop(t)
		c.pop(t)
		c.push(t)
	case opTableGet:
		t := c.tables[c.index("table", len(c.tables))]
		c.pop(i32)
		c.push(t)
	case opTableSet:
		c.pop(c.tables[c.index("table", len(c.tables))])
		c.pop(i32)
	case opMemorySize:
		c.needMemory(at)
		c.zero("several memories")
		c.push(i32)
	case opMemoryGrow:
		c.needMemory(at)
		c.zero("several memories")
		c.apply(signature{"i", "i"})
		c.bulk(CostPage, 0)
		c.emit(at)
		// Count what was refused, so that what ends for lack of memory can be told from other traps.
		s := c.get(c.get(c.segment, opLocalTee, c.temp), opGlobalGet, c.refused())
		s = append(c.get(s, opLocalGet, c.temp), opI32Const, 0x7f, opI32Eq, opI32Add) // -1
		c.segment = c.get(s, opGlobalSet, c.refused())
		return false
	case opRefNull:
		t := c.valtype()
		if !t.ref() {
			c.bad(at, "a null of %s", t)
		}
		c.push(t)
	case opRefIsNull:
		if t := c.pop(unknown); t != unknown && !t.ref() {
			c.bad(at, "ref.is_null of %s", t)
		}
		c.push(i32)
	case opRefFunc:
		f := c.index("function", len(c.funcs))
		if !c.declared[f] {
			c.bad(at, "ref.func of a function that nothing declares")
		}
		c.push(funcref)
		c.canonical()
		c.segment = c.get(c.segment, op, c.renumbered(f))
		return false
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		c.refuse(at, FeatureDenied, "exceptions")
	case 0x12, 0x13:
		c.refuse(at, FeatureDenied, "tail calls")
	case 0x14, 0x15, 0xd3, 0xd4, 0xd5, 0xd6, 0xfb:
		c.refuse(at, FeatureDenied, "typed references or garbage collection")
	case 0xfd:
		c.refuse(at, FeatureDenied, "SIMD")
	case 0xfe:
		c.refuse(at, FeatureDenied, "threads")
	default:
		c.bad(at, "unknown instruction 0x%02x", op)
	}
	return true
}

// bulk charges for an operation whose length is on top of the stack, before it: the length times by, shifted right.
func (c *coder) bulk(by int64, shift byte) {
	c.canonical()
	s := c.get(c.segment, opLocalSet, c.temp)
	s = c.get(c.get(s, opLocalGet, c.left), opLocalGet, c.temp)
	s = append(s, opI64ExtendU)
	if by != 1 {
		s = append(appendS(append(s, opI64Const), by), opI64Mul)
	}
	if shift > 0 {
		s = append(s, opI64Const, shift, opI64ShrU)
	}
	s = c.charge(append(s, opI64Sub), len(c.frames)-1)
	c.segment = c.get(s, opLocalGet, c.temp)
}

// prefixed are the instructions behind 0xfc.
func (c *coder) prefixed(at int) bool {
	op := c.u32()
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		c.pending = unknown // a truncation shows nothing of a NaN
		c.apply(saturating[op])
		return true
	case 8, 9: // memory.init, data.drop
		if c.datas < 0 {
			c.bad(at, "the module does not announce its data segments")
		}
		c.index("data segment", c.datas)
		if op == 9 {
			return true
		}
		c.needMemory(at)
		c.zero("several memories")
		c.apply(signature{"iii", ""})
		c.bulk(1, 3)
	case 10, 11: // memory.copy, memory.fill
		c.needMemory(at)
		c.zero("several memories")
		if op == 10 {
			c.zero("several memories")
		}
		c.apply(signature{"iii", ""})
		c.bulk(1, 3)
	case 12, 13: // table.init, elem.drop
		elem := c.index("element segment", len(c.elems))
		if op == 13 {
			return true
		}
		if t := c.tables[c.index("table", len(c.tables))]; t != c.elems[elem] {
			c.bad(at, "elements of %s in a table of %s", c.elems[elem], t)
		}
		c.apply(signature{"iii", ""})
		c.bulk(1, 0)
	case 14: // table.copy
		to, from := c.index("table", len(c.tables)), c.index("table", len(c.tables))
		if c.tables[to] != c.tables[from] {
			c.bad(at, "tables of different types")
		}
		c.apply(signature{"iii", ""})
		c.bulk(1, 0)
	case 15: // table.grow
		t := c.tables[c.index("table", len(c.tables))]
		c.pop(i32)
		c.pop(t)
		c.push(i32)
		c.bulk(1, 0)
	case 16: // table.size
		c.index("table", len(c.tables))
		c.push(i32)
	case 17: // table.fill
		t := c.tables[c.index("table", len(c.tables))]
		c.pop(i32)
		c.pop(t)
		c.pop(i32)
		c.bulk(1, 0)
	default:
		if op <= 22 {
			c.refuse(at, FeatureDenied, "wide arithmetic or memory.discard")
		}
		c.bad(at, "unknown instruction 0xfc %d", op)
	}
	return true
}

// control are the instructions that end a segment, and calls.
func (c *coder) control(op byte, at int) {
	switch op {
	case opUnreachable:
		c.dead()
		c.emit(at)
		c.next()
	case opNop:
		c.emit(at)
	case opBlock, opLoop, opIf:
		if op != opIf {
			c.cost--
		}
		in, out := c.blockType()
		if op == opIf {
			c.pop(i32)
		}
		c.enter(op, in, out)
		if op == opLoop {
			c.loops++
			c.nested += int64(c.loops) * int64(c.loops)
		}
		c.emit(at)
		if op != opBlock {
			c.next()
		}
	case opElse:
		c.cost--
		f := c.leave()
		if f.op != opIf {
			c.bad(at, "else without if")
		}
		c.frames = append(c.frames, frame{op: opElse, in: f.in, out: f.out, height: len(c.stack), targeted: true})
		c.push(f.in...)
		c.emit(at)
		c.next()
	case opEnd:
		c.cost--
		f := c.leave()
		if f.op == opLoop {
			c.loops--
		}
		if f.op == opIf && !slices.Equal(f.in, f.out) {
			c.bad(at, "if without else leaves other operands than it takes")
		}
		if len(c.frames) == 0 {
			c.canonical()
			return // the function's own: what surrounds it ends it
		}
		c.push(f.out...)
		c.emit(at)
		if f.op == opIf || f.op == opElse || f.op == opBlock && f.targeted {
			c.next()
		}
	case opBr:
		c.popAll(c.label())
		c.dead()
		c.emit(at)
		c.next()
	case opBrIf:
		ts := c.label()
		c.pop(i32)
		c.popAll(ts)
		c.push(ts...)
		c.emit(at)
		c.next()
	case opBrTable:
		c.brTable(at)
	case opReturn:
		c.popAll(c.frames[0].out)
		c.frames[0].targeted = true
		c.canonical()
		c.segment = appendU(append(c.segment, opBr), uint64(len(c.frames)-1))
		c.dead()
		c.next()
	case opCall:
		f := c.index("function", len(c.funcs))
		t := c.types[c.funcs[f]]
		c.popAll(t.params)
		c.push(t.results...)
		c.canonical()
		c.segment = c.reload(c.get(c.segment, op, c.renumbered(f)))
		c.called++
	case opCallIndirect:
		t := c.types[c.index("type", len(c.types))]
		if c.tables[c.index("table", len(c.tables))] != funcref {
			c.bad(at, "a call through a table of other things than functions")
		}
		c.pop(i32)
		c.popAll(t.params)
		c.push(t.results...)
		c.emit(at)
		c.segment = c.reload(c.segment)
		c.called++
	default:
		c.other(op, at)
	}
}

func (c *coder) brTable(at int) {
	n := c.count("targets", maxTargets)
	c.pop(i32)
	first := c.at
	for range n {
		c.u32()
	}
	want := c.label() // the default
	last := c.at
	c.at = first
	for range n {
		ts := c.label()
		if len(ts) != len(want) {
			c.bad(at, "targets of br_table take different numbers of operands")
		}
		height := len(c.stack)
		c.popAll(ts)
		c.stack = c.stack[:height] // each target takes what is on the stack
	}
	c.at = last
	c.blocks += int64(n)
	c.popAll(want)
	c.dead()
	c.emit(at)
	c.next()
}
