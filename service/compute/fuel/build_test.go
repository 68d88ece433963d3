package fuel

// wasm is a module that tests put together.
type wasm struct {
	types   []string // as in "ii>i"
	imports []string // WASI functions, with their type's number behind a space
	funcs   []fn
	tables  [][]byte
	memory  []byte // limits; nil: one page
	none    bool   // no memory at all
	globals [][]byte
	exports [][]byte
	start   []byte
	elems   [][]byte
	datas   [][]byte
	counted bool   // with a data count section
	raw     []byte // sections before the others
}

// fn is a function: the number of its type, its locals, its instructions without the last end.
type fn struct {
	typ    int
	locals []byte // groups, with their number
	code   []byte
}

func vec(parts ...[]byte) []byte {
	out := appendU(nil, uint64(len(parts)))
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func sec(id byte, content []byte) []byte { return append([]byte{id}, appendBytes(nil, content)...) }

func cat(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func typeOf(s string) []byte {
	out, n := []byte{0x60}, []byte{}
	for i := range len(s) {
		if s[i] == '>' {
			out = appendBytes(out, n)
			n = nil
			continue
		}
		switch s[i] {
		case 'F':
			n = append(n, byte(funcref))
		case 'E':
			n = append(n, byte(externref))
		default:
			n = append(n, byte(letter(s[i])))
		}
	}
	return appendBytes(out, n)
}

// bytes encodes it. Function 0 behind the imports is exported as _start, memory 0 as memory.
func (w wasm) bytes() []byte {
	out := cat(header, w.raw)
	var types, imports, funcs, bodies [][]byte
	for _, t := range w.types {
		types = append(types, typeOf(t))
	}
	for _, s := range w.imports {
		name, typ := s[:len(s)-2], s[len(s)-1]-'0'
		imports = append(imports, cat(appendBytes(nil, []byte(wasi)), appendBytes(nil, []byte(name)), []byte{0, typ}))
	}
	for _, f := range w.funcs {
		funcs = append(funcs, appendU(nil, uint64(f.typ)))
		locals := f.locals
		if locals == nil {
			locals = []byte{0}
		}
		bodies = append(bodies, appendBytes(nil, cat(locals, f.code, []byte{opEnd})))
	}
	out = append(out, sec(secType, vec(types...))...)
	if len(imports) > 0 {
		out = append(out, sec(secImport, vec(imports...))...)
	}
	out = append(out, sec(secFunction, vec(funcs...))...)
	if len(w.tables) > 0 {
		out = append(out, sec(secTable, vec(w.tables...))...)
	}
	exports := append([][]byte{export("_start", 0, len(w.imports))}, w.exports...)
	if !w.none {
		memory := w.memory
		if memory == nil {
			memory = []byte{0, 1}
		}
		out = append(out, sec(secMemory, vec(memory))...)
		exports = append(exports, export("memory", 2, 0))
	}
	if len(w.globals) > 0 {
		out = append(out, sec(secGlobal, vec(w.globals...))...)
	}
	out = append(out, sec(secExport, vec(exports...))...)
	if w.start != nil {
		out = append(out, sec(secStart, w.start)...)
	}
	if len(w.elems) > 0 {
		out = append(out, sec(secElement, vec(w.elems...))...)
	}
	if w.counted {
		out = append(out, sec(secDataCount, appendU(nil, uint64(len(w.datas))))...)
	}
	out = append(out, sec(secCode, vec(bodies...))...)
	if len(w.datas) > 0 {
		out = append(out, sec(secData, vec(w.datas...))...)
	}
	return out
}

func export(name string, kind byte, index int) []byte {
	return appendU(append(appendBytes(nil, []byte(name)), kind), uint64(index))
}

// i32c and the like push a constant.
func i32c(v int32) []byte { return appendS([]byte{opI32Const}, int64(v)) }
func i64c(v int64) []byte { return appendS([]byte{opI64Const}, v) }

func op(code byte, index ...uint64) []byte {
	b := []byte{code}
	for _, i := range index {
		b = appendU(b, i)
	}
	return b
}

// simplest is a module whose _start is code, without results.
func simplest(code ...[]byte) wasm {
	return wasm{types: []string{">"}, funcs: []fn{{code: cat(code...)}}}
}
