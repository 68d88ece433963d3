package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	wasisys "github.com/tetratelabs/wazero/sys"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/fuel"
)

// childName is what a child is called: it knows itself by it.
const childName = "cairn: guest"

// Names of what is kept of a module, in a folder of its own.
const (
	moduleFile = "module.wasm" // rewritten
	codeFolder = "code"        // what wazero compiled it to
)

// progress is how often a child says how much fuel is used.
const progress = 5 * time.Millisecond

// A child is this program started again. It must not get as far as main, which knows nothing of guests.
func init() { Child() }

// Child does a child's work if this process is one, and never returns then. Programs that link this package
// need not call it: it is called as the package is loaded.
func Child() {
	if len(os.Args) != 1 || os.Args[0] != childName {
		return
	}
	go func() { // this goroutine is bound to a thread while packages are loaded
		c := &child{in: newReader(os.Stdin), out: &writer{w: os.Stdout}}
		if err := c.work(); err != nil {
			c.out.send(kindFailure, []byte(err.Error())[:min(len(err.Error()), 1000)])
			os.Exit(1)
		}
		os.Exit(0)
	}()
	select {}
}

type child struct {
	in  *reader
	out *writer
}

func (c *child) work() error {
	debug.SetGCPercent(-1) // see guest: collection happens in calls of the guest, or not at all
	runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0)))
	if err := c.out.send(kindReady, nil); err != nil {
		return err
	}
	k, b, err := c.in.next()
	if err == io.EOF {
		return nil // not needed any more
	}
	if err != nil || k != kindOrder {
		return fmt.Errorf("guest: no order but message %d: %w", k, err)
	}
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		return fmt.Errorf("guest: reading the order: %w", err)
	}
	switch o.Task {
	case "run":
		return c.run(&o)
	case "compile":
		return c.compile(&o)
	case "probe":
		return c.probe(o.Open)
	}
	return fmt.Errorf("guest: no such task: %q", o.Task)
}

// orphan ends this process when its parent has closed the pipe, or died.
func (c *child) orphan() {
	go func() {
		var b [1]byte
		for {
			if _, err := c.in.r.Read(b[:]); err != nil {
				os.Exit(2)
			}
		}
	}()
}

const features = api.CoreFeaturesV2 &^ api.CoreFeatureSIMD

// runtimeConfig is the same for what compiles and what runs: it is part of what a compiled module is kept under.
func runtimeConfig(dir string) (wazero.RuntimeConfig, error) {
	cache, err := wazero.NewCompilationCacheWithDir(filepath.Join(dir, codeFolder))
	if err != nil {
		return nil, fmt.Errorf("guest: opening compiled modules: %w", err)
	}
	return wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features).WithCompilationCache(cache), nil
}

// compile rewrites a module, and leaves it and its code in the order's folder.
func (c *child) compile(o *order) error {
	debug.SetGCPercent(100)
	var module bytes.Buffer
	if err := c.in.content(func(p []byte) error { module.Write(p); return nil }); err != nil {
		return fmt.Errorf("guest: receiving the module: %w", err)
	}
	c.orphan()
	if err := restrict(limits{memory: 8 << 30, cpu: 600, files: 64, write: 4 << 30}); err != nil {
		return err
	}
	if _, err := fence(nil, []string{o.Dir}); err != nil {
		return err
	}
	if _, err := seal(true); err != nil {
		return err
	}
	metered, err := fuel.Rewrite(module.Bytes())
	if reason := types.ReasonOf(err); reason != "" {
		return c.out.json(kindRefusal, refusal{string(reason), err.Error()})
	} else if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.Dir, moduleFile), metered, 0o600); err != nil {
		return fmt.Errorf("guest: keeping the module: %w", err)
	}
	ctx := context.Background()
	config, err := runtimeConfig(o.Dir)
	if err != nil {
		return err
	}
	if _, err := wazero.NewRuntimeWithConfig(ctx, config).CompileModule(ctx, metered); err != nil {
		return fmt.Errorf("guest: compiling: %w", err)
	}
	return c.out.json(kindResult, report{})
}

// probe says what is missing, and what succeeds that must not. Left open, much does: that shows that the
// attempts are worth something.
func (c *child) probe(open bool) (err error) {
	lacks := []Lack{}
	if !open {
		if lacks, err = c.close(limits{memory: 1 << 30, cpu: 60, files: 16}); err != nil {
			return err
		}
	}
	return c.out.json(kindResult, append(lacks, attempt()...))
}

// close takes from this process all that a guest does not need.
func (c *child) close(l limits) (lacks []Lack, err error) {
	if err := restrict(l); err != nil {
		return nil, err
	}
	lacks, err = fence(nil, nil)
	if err != nil {
		return nil, err
	}
	more, err := seal(false)
	return append(lacks, more...), err
}

// errOutput ends a guest that has written all it may.
var errOutput = errors.New("guest: the stream is as long as it may become")

// stream sends what a guest writes.
type stream struct {
	c    *child
	kind kind
	left int
}

func (s *stream) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxFrame, s.left)
		if n == 0 {
			panic(errOutput) // wazero makes an error of it, which ends the guest
		}
		if err := s.c.out.send(s.kind, rest[:n]); err != nil {
			os.Exit(2)
		}
		s.left -= n
		rest = rest[n:]
	}
	return len(p), nil
}

// full reads as much as is asked for, or all that is left: how much comes must not depend on what the host has
// at that moment.
type full struct{ b []byte }

func (f *full) Read(p []byte) (int, error) {
	n := copy(p, f.b)
	if f.b = f.b[n:]; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// linear is a guest's memory, at one place from the beginning.
type linear struct {
	space []byte
	most  uint64
}

func (l *linear) Reallocate(size uint64) []byte {
	if size > l.most {
		return nil
	}
	return l.space[:size:size]
}

func (l *linear) Free() {}

func (c *child) run(o *order) error {
	ctx := context.Background()
	var stdin []byte
	if o.Stdin > 0 {
		stdin = make([]byte, 0, o.Stdin)
	}
	if err := c.in.content(func(p []byte) error { stdin = append(stdin, p...); return nil }); err != nil {
		return fmt.Errorf("guest: receiving stdin: %w", err)
	}
	calls := 0
	files := newMemory(func() {
		// Garbage is collected here only, while the guest waits: a collection beside it would wait for the
		// guest, and everything else for the collection.
		if calls++; calls%4096 == 0 {
			runtime.GC()
		}
	})
	for _, f := range o.Files {
		if err := c.file(files, f); err != nil {
			return err
		}
	}
	c.orphan()

	config, err := runtimeConfig(o.Dir)
	if err != nil {
		return err
	}
	r := wazero.NewRuntimeWithConfig(ctx, config)
	module, err := os.ReadFile(filepath.Join(o.Dir, moduleFile))
	if err != nil {
		return fmt.Errorf("guest: reading the module: %w", err)
	}
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		return fmt.Errorf("guest: loading the module: %w", err)
	}
	if compiled.ExportedMemories()["memory"].Min() > o.Pages {
		return c.finish(files, report{Trapped: true, Memory: true, Left: int64(o.Fuel)})
	}
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	mc := wazero.NewModuleConfig().WithStartFunctions().WithArgs(o.Args...).
		WithStdin(&full{stdin}).WithStdout(&stream{c, kindStdout, MaxStream}).WithStderr(&stream{c, kindStderr, MaxStream}).
		WithRandSource(newRandom()).
		WithFSConfig(wazero.NewFSConfig().(sysfs.FSConfig).WithSysFSMount(files, "/"))
	for _, e := range o.Env {
		name, value, _ := cut(e)
		mc = mc.WithEnv(name, value)
	}
	var failed error
	memory := experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		l := &linear{most: min(most, uint64(o.Pages)<<16)}
		if l.space, failed = reserve(max(l.most, 1)); failed != nil {
			l.space = make([]byte, l.most)
		}
		return l
	}))
	mod, err := r.InstantiateModule(memory, compiled, mc)
	if err = errors.Join(err, failed); err != nil {
		var code *wasisys.ExitError
		if errors.As(err, &code) {
			return err
		}
		// A segment of data or elements that does not fit traps before anything runs.
		return c.finish(files, report{Trapped: true, Text: err.Error(), Left: int64(o.Fuel)})
	}
	left := mod.ExportedGlobal(fuel.Fuel).(api.MutableGlobal)
	refused := mod.ExportedGlobal(fuel.Refused)
	left.Set(o.Fuel)
	main := mod.ExportedFunction("_start")

	// Beside the guest's memory: files, stacks of 100 MB that may double while they grow, tables, and what the
	// runtime needs.
	if _, err := c.close(limits{memory: MaxBytes + 1<<30, cpu: 10 + o.Fuel/50_000_000, files: 16}); err != nil {
		return err
	}
	over, silent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(silent)
		c.report(left, o.Fuel, over)
	}()
	_, err = main.Call(ctx)
	close(over)
	<-silent // nothing comes among the files that follow

	out := report{Left: int64(left.Get()), Refused: uint32(refused.Get()) > 0}
	var exit *wasisys.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		out.Exit = exit.ExitCode()
	case errors.Is(err, errOutput):
		out.Trapped, out.Output = true, true
	default:
		out.Trapped, out.Text = true, err.Error()[:min(len(err.Error()), 1000)]
	}
	return c.finish(files, out)
}

// cut splits NAME=value.
func cut(e string) (name, value string, ok bool) {
	for i := range len(e) {
		if e[i] == '=' {
			return e[:i], e[i+1:], true
		}
	}
	return e, "", false
}

// report says how much fuel is used, until the guest's run is over.
func (c *child) report(left api.Global, limit uint64, over <-chan struct{}) {
	var last uint64
	tick := time.NewTicker(progress)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		used := limit - left.Get()
		if used == last || used > limit {
			continue
		}
		last = used
		var b [8]byte
		for i := range b {
			b[i] = byte(used >> (8 * i))
		}
		if c.out.send(kindFuel, b[:]) != nil {
			os.Exit(2)
		}
	}
}

// file receives a file of the input.
func (c *child) file(m *memory, f leftFile) error {
	n, ok := m.add(f.Path, f.Size)
	if !ok {
		return fmt.Errorf("guest: no room for %q of %d bytes", f.Path, f.Size)
	}
	at := int64(0)
	err := c.in.content(func(p []byte) error {
		if at+int64(len(p)) > f.Size {
			return fmt.Errorf("guest: %q is longer than %d bytes", f.Path, f.Size)
		}
		n.write(p, at)
		at += int64(len(p))
		return nil
	})
	if err == nil && at != f.Size {
		err = fmt.Errorf("guest: %q has %d bytes, not %d", f.Path, at, f.Size)
	}
	n.input = f.Path
	return err
}

// finish sends the files that are left, and how it ended.
func (c *child) finish(m *memory, r report) error {
	buf := make([]byte, maxFrame)
	err := m.all(func(path string, n *node) error {
		same := n.input == path
		if err := c.out.json(kindFile, leftFile{path, n.size, same}); err != nil || same {
			return err
		}
		for at := int64(0); at < n.size; {
			k := n.read(buf, at)
			if err := c.out.send(kindData, buf[:k]); err != nil {
				return err
			}
			at += int64(k)
		}
		return c.out.send(kindEnd, nil)
	})
	if err != nil {
		return err
	}
	return c.out.json(kindResult, r)
}
