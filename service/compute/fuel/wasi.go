package fuel

// wasi is the one module that may be imported from.
const wasi = "wasi_snapshot_preview1"

// call describes a WASI function: its parameters (i: i32, l: i64), what it moves, and where it says so.
type call struct {
	params string
	flat   int64   // fuel beside CostCall
	bytes  []moved // known before the call
	bounds []bound
	wrote  int  // the parameter that points at a count of bytes once the call succeeded, or -1
	exits  bool // returns nothing, and not at all
}

// moved is a parameter that counts items of some bytes each.
type moved struct {
	param int
	size  int64
}

// bound is a parameter that a call may not give more than most, lest the host need memory for it: the call
// returns errno at once.
type bound struct {
	param int
	most  int64
	errno byte
}

// What bounds return, as WASI numbers it.
const (
	errBadf        = 8
	errInval       = 28
	errNameTooLong = 37
)

func plain(params string) call { return call{params: params, wrote: -1} }

func path(params string, lengths ...int) call {
	c := plain(params)
	for _, l := range lengths {
		c.bytes = append(c.bytes, moved{l, 1})
		c.bounds = append(c.bounds, bound{l, MaxPath, errNameTooLong})
	}
	return c
}

// vector moves a list of buffers, of 8 bytes each itself.
func vector(params string, list, wrote int) call {
	return call{params: params, bytes: []moved{{list, 8}}, bounds: []bound{{list, MaxList, errInval}}, wrote: wrote}
}

var calls = map[string]call{
	"args_get":                {params: "ii", flat: costArgs, wrote: -1},
	"args_sizes_get":          plain("ii"),
	"environ_get":             {params: "ii", flat: costArgs, wrote: -1},
	"environ_sizes_get":       plain("ii"),
	"clock_res_get":           plain("ii"),
	"clock_time_get":          plain("ili"),
	"fd_advise":               plain("illi"),
	"fd_allocate":             plain("ill"),
	"fd_close":                plain("i"),
	"fd_datasync":             plain("i"),
	"fd_fdstat_get":           plain("ii"),
	"fd_fdstat_set_flags":     plain("ii"),
	"fd_fdstat_set_rights":    plain("ill"),
	"fd_filestat_get":         plain("ii"),
	"fd_filestat_set_size":    plain("il"),
	"fd_filestat_set_times":   plain("illi"),
	"fd_pread":                vector("iiili", 2, 4),
	"fd_prestat_get":          plain("ii"),
	"fd_prestat_dir_name":     path("iii", 2),
	"fd_pwrite":               vector("iiili", 2, 4),
	"fd_read":                 vector("iiii", 2, 3),
	"fd_readdir":              {params: "iiili", wrote: 4},
	"fd_renumber":             {params: "ii", bounds: []bound{{1, MaxFile, errBadf}}, wrote: -1},
	"fd_seek":                 plain("ilii"),
	"fd_sync":                 plain("i"),
	"fd_tell":                 plain("ii"),
	"fd_write":                vector("iiii", 2, 3),
	"path_create_directory":   path("iii", 2),
	"path_filestat_get":       path("iiiii", 3),
	"path_filestat_set_times": path("iiiilli", 3),
	"path_link":               path("iiiiiii", 3, 6),
	"path_open":               path("iiiiillii", 3),
	"path_readlink":           {params: "iiiiii", bytes: []moved{{2, 1}}, bounds: []bound{{2, MaxPath, errNameTooLong}}, wrote: 5},
	"path_remove_directory":   path("iii", 2),
	"path_rename":             path("iiiiii", 2, 5),
	"path_symlink":            path("iiiii", 1, 4),
	"path_unlink_file":        path("iii", 2),
	"poll_oneoff":             {params: "iiii", bytes: []moved{{2, 80}}, bounds: []bound{{2, MaxList, errInval}}, wrote: -1}, // 48 in, 32 out
	"proc_exit":               {params: "i", wrote: -1, exits: true},
	"proc_raise":              plain("i"),
	"random_get":              {params: "ii", bytes: []moved{{1, 1}}, wrote: -1},
	"sched_yield":             plain(""),
	"sock_accept":             plain("iii"),
	"sock_recv":               vector("iiiiii", 2, 4),
	"sock_send":               vector("iiiii", 2, 4),
	"sock_shutdown":           plain("ii"),
}

func (c call) fits(t funcType) bool {
	if len(t.params) != len(c.params) || len(t.results) != 1 && !c.exits || c.exits && len(t.results) != 0 {
		return false
	}
	for i, p := range []byte(c.params) {
		if want := letter(p); byte(t.params[i]) != byte(want) {
			return false
		}
	}
	return c.exits || t.results[0] == i32
}

// wrapper is the body of the function that stands for an import wherever the module names it: it pays, calls,
// and pays for the bytes that the call says it moved.
func (m *module) wrapper(imp int, c call) []byte {
	var b []byte
	result := uint64(len(c.params))
	if c.exits {
		b = append(b, 0)
	} else {
		b = append(b, 1, 1, byte(i32))
	}
	b = m.getFuel(b)
	b = appendS(append(b, opI64Const), CostCall+c.flat)
	b = append(b, opI64Sub)
	for _, mv := range c.bytes {
		b = appendU(append(b, opLocalGet), uint64(mv.param))
		b = append(b, opI64ExtendU)
		if mv.size > 1 {
			b = append(appendS(append(b, opI64Const), mv.size), opI64Mul)
		}
		b = append(b, opI64Const, 3, opI64ShrU, opI64Sub)
	}
	b = m.settle(b)
	for _, bd := range c.bounds {
		b = appendS(append(appendU(append(b, opLocalGet), uint64(bd.param)), opI32Const), bd.most)
		b = append(b, opI32GtU, opIf, blockEmpty, opI32Const, bd.errno, opReturn, opEnd)
	}
	for i := range len(c.params) {
		b = appendU(append(b, opLocalGet), uint64(i))
	}
	b = appendU(append(b, opCall), uint64(imp))
	if c.exits {
		return append(b, opEnd)
	}
	if c.wrote >= 0 {
		b = appendU(append(b, opLocalTee), result)
		b = append(b, opI32Eqz, opIf, blockEmpty)
		b = m.getFuel(b)
		b = appendU(append(b, opLocalGet), uint64(c.wrote))
		b = append(b, opI32Load, 0, 0, opI64ExtendU, opI64Const, 3, opI64ShrU, opI64Sub)
		b = append(m.settle(b), opEnd)
		b = appendU(append(b, opLocalGet), result)
	}
	return append(b, opEnd)
}

func (m *module) getFuel(b []byte) []byte { return appendU(append(b, opGlobalGet), m.fuel()) }

// settle stores what is on the stack as the fuel that is left, and traps where that is below zero.
func (m *module) settle(b []byte) []byte {
	b = appendU(append(b, opGlobalSet), m.fuel())
	b = m.getFuel(b)
	return append(b, opI64Const, 0, opI64LtS, opIf, blockEmpty, opUnreachable, opEnd)
}
