// Package cuda computes the rounds of package mac on a graphics card, through the CUDA driver API and without
// C: the driver's library is opened while the program runs, so that it is built and tested where there is no
// card.
//
// kernel.cu has what runs there: it makes both factors of a seed, their product, and the hash of each of its
// rows, so that 32 bytes of each row leave the card. Products are made of dp4a, which cards have had since
// 2016; tensor cores would be faster. kernel.ptx is what clang makes of it; the driver compiles that for its
// card. In the tests a processor runs the same lines. A card is used only after it has come to what this
// processor comes to (Open).
//
// Whoever links this package is linked dynamically. So devices do not: they start the program cairn-card
// (package card), which a driver that fails takes down alone.
package cuda

import (
	"bytes"
	_ "embed"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
)

//go:generate clang -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_61 -Xclang -target-feature -Xclang +ptx60 -O3 -S -o kernel.ptx kernel.cu

//go:embed kernel.ptx
var kernels []byte

// What cards have to have: dp4a came with compute capability 6.1.
const (
	attributeMajor = 75
	attributeMinor = 76
	leastMajor     = 6
	leastMinor     = 1
)

// block is how many threads of a kernel make a block.
const block = 256

// Card is one graphics card. Its methods are safe for concurrent use; rounds are computed one after the other.
type Card struct {
	Name   string
	Memory uint64 // bytes that were free as it was opened

	driver                 *driver
	device                 int32
	context                uintptr
	fill, multiply, hashes uintptr

	mu                    sync.Mutex // guards what follows, and the card
	n                     int        // the order that the memory is for; 0: there is none
	keys, a, b, c, digest uint64     // addresses on the card
	hashed                []byte
}

// Open opens a card of a driver's library (Library), by its number there, and has it compute a round of which
// this processor computes the same: a card that comes to something else is refused. ErrNoDriver is part of the
// error where there is no such library.
func Open(library string, index int) (*Card, error) {
	d, err := load(library)
	if err != nil {
		return nil, err
	}
	c := &Card{driver: d}
	if err := c.open(index); err != nil {
		return nil, err
	}
	seed := types.Sum([]byte("cairn/mac: is this card right?"))
	got, shown, err := c.Compute(seed, mac.MinOrder, 7)
	want := mac.Compute(seed, mac.MinOrder)
	if err == nil && !(slices.Equal(got, want.Leaves()) && bytes.Equal(shown[0], want.Row(7))) {
		err = fmt.Errorf("cuda: %s computes something else than this processor: its driver or the card is not in order", c.Name)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Card) open(index int) error {
	d := c.driver
	if err := d.err("start the driver", d.init(0)); err != nil {
		return err
	}
	var n, major, minor int32
	if err := d.err("count the cards", d.deviceCount(&n)); err != nil {
		return err
	}
	if index < 0 || index >= int(n) {
		return fmt.Errorf("cuda: card %d: there are %d, counted from 0", index, n)
	}
	if err := d.err("find the card", d.deviceGet(&c.device, int32(index))); err != nil {
		return err
	}
	name := make([]byte, 128)
	if err := d.err("read the card's name", d.deviceName(&name[0], int32(len(name)), c.device)); err != nil {
		return err
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	c.Name = string(name)
	if err := d.err("read the card's version", max(d.deviceAttribute(&major, attributeMajor, c.device), d.deviceAttribute(&minor, attributeMinor, c.device))); err != nil {
		return err
	}
	if major < leastMajor || major == leastMajor && minor < leastMinor {
		return fmt.Errorf("cuda: %s has compute capability %d.%d, and %d.%d is needed", c.Name, major, minor, leastMajor, leastMinor)
	}
	if err := d.err("take the card", d.retain(&c.context, c.device)); err != nil {
		return err
	}
	leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	var module uintptr
	image := append(bytes.Clone(kernels), 0)
	if err := d.err("load the kernels", d.loadModule(&module, &image[0])); err != nil {
		return err
	}
	for name, f := range map[string]*uintptr{"cairn_fill": &c.fill, "cairn_multiply": &c.multiply, "cairn_hash": &c.hashes} {
		if err := d.err("find the kernel "+name, d.function(f, module, name)); err != nil {
			return err
		}
	}
	var total uint64
	return d.err("read the card's memory", d.memInfo(&c.Memory, &total))
}

// enter makes the card that of this thread, until leave is called: the driver keeps it by thread.
func (c *Card) enter() (leave func(), err error) {
	runtime.LockOSThread()
	if err := c.driver.err("enter the card", c.driver.setCurrent(c.context)); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return runtime.UnlockOSThread, nil
}

// Compute computes a round and returns SHA-256 of each row of the product, as mac.Product.Leaves does: a step
// commits to the root of the plain tree over them. It also returns some rows, as they are shown. The card needs
// 6·n² bytes and a little.
func (c *Card) Compute(seed types.Hash, n int, rows ...int) ([]types.Hash, [][]byte, error) {
	if !mac.Valid(n) || len(rows) > 0 && (slices.Min(rows) < 0 || slices.Max(rows) >= n) {
		return nil, nil, fmt.Errorf("cuda: rows %v of a product of order %d", rows, n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	leave, err := c.enter()
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	if err := c.reserve(n); err != nil {
		return nil, nil, err
	}
	keys := make([]byte, 0, 2*n*32)
	for _, m := range []mac.Matrix{mac.A, mac.B} {
		for i := range n {
			k := mac.RowKey(seed, m, i)
			keys = append(keys, k[:]...)
		}
	}
	d, order := c.driver, uint32(n)
	if err := d.err("copy to the card", d.toDevice(c.keys, unsafe.Pointer(&keys[0]), uint64(len(keys)))); err != nil {
		return nil, nil, err
	}
	for _, k := range []struct {
		name    string
		f       uintptr
		threads int
		args    []unsafe.Pointer
	}{
		{"fill", c.fill, 2 * n, []unsafe.Pointer{unsafe.Pointer(&c.keys), unsafe.Pointer(&c.a), unsafe.Pointer(&c.b), unsafe.Pointer(&order)}},
		{"multiply", c.multiply, n / 8 * n / 8, []unsafe.Pointer{unsafe.Pointer(&c.a), unsafe.Pointer(&c.b), unsafe.Pointer(&c.c), unsafe.Pointer(&order)}},
		{"hash", c.hashes, n, []unsafe.Pointer{unsafe.Pointer(&c.c), unsafe.Pointer(&c.digest), unsafe.Pointer(&order)}},
	} {
		if err := d.err(k.name, d.launch(k.f, uint32((k.threads+block-1)/block), 1, 1, block, 1, 1, 0, 0, &k.args[0], 0)); err != nil {
			return nil, nil, err
		}
	}
	if err := d.err("compute", d.synchronize()); err != nil {
		return nil, nil, err
	}
	if err := d.err("copy from the card", d.toHost(unsafe.Pointer(&c.hashed[0]), c.digest, uint64(len(c.hashed)))); err != nil {
		return nil, nil, err
	}
	leaves := make([]types.Hash, n)
	for i := range leaves {
		leaves[i] = types.Hash(c.hashed[32*i:][:32])
	}
	var shown [][]byte
	for _, i := range rows {
		row := make([]byte, 4*n)
		if err := d.err("copy from the card", d.toHost(unsafe.Pointer(&row[0]), c.c+uint64(i)*uint64(4*n), uint64(4*n))); err != nil {
			return nil, nil, err
		}
		shown = append(shown, row)
	}
	return leaves, shown, nil
}

// reserve has the card's memory for an order, and for no other. mu is held, and the card entered.
func (c *Card) reserve(n int) error {
	if c.n == n {
		return nil
	}
	c.drop()
	square := uint64(n) * uint64(n)
	for _, m := range []struct {
		at   *uint64
		size uint64
	}{{&c.keys, uint64(2 * n * 32)}, {&c.a, square}, {&c.b, square}, {&c.c, 4 * square}, {&c.digest, uint64(n * 32)}} {
		if err := c.driver.err(fmt.Sprintf("%d bytes of the card's memory", m.size), c.driver.alloc(m.at, m.size)); err != nil {
			*m.at = 0
			c.drop()
			return err
		}
	}
	c.n, c.hashed = n, make([]byte, n*32)
	return nil
}

// drop gives the card's memory back. mu is held, and the card entered.
func (c *Card) drop() {
	for _, at := range []*uint64{&c.keys, &c.a, &c.b, &c.c, &c.digest} {
		if *at != 0 {
			c.driver.free(*at)
			*at = 0
		}
	}
	c.n = 0
}

// Close gives the card back.
func (c *Card) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.context == 0 {
		return
	}
	if leave, err := c.enter(); err == nil {
		c.drop()
		leave()
	}
	c.driver.release(c.device)
	c.context = 0
}
