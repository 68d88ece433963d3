package guest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/fuel"
)

// ErrChild says that a child ended without saying how: killed, out of memory or time, or by a mistake of ours.
// It says nothing about the job.
var ErrChild = errors.New("guest: the process ended before its job")

// ErrClosed says that the pool is closed.
var ErrClosed = errors.New("guest: the pool is closed")

const (
	defaultCache = 2 << 30
	startTime    = time.Minute // for a child to be ready; it takes some milliseconds
)

// Pool keeps children started, and compiled modules on disk.
type Pool struct {
	dir     string
	limit   int64
	spare   int
	jobs    chan struct{} // a place for each job that runs
	compile chan struct{}
	fork    chan func()
	quit    chan struct{}

	mu      sync.Mutex
	idle    []*process
	starts  int // children that are being started
	all     map[*process]bool
	modules map[types.Hash]*module
	bytes   int64
	made    uint64
	clock   int64 // counts uses, to tell which module was used last
	closed  bool
}

// module is a compiled module on disk, or one that is being made.
type module struct {
	size  int64
	used  int64
	runs  int
	ready chan struct{} // closed when it is made, or was not
	err   error
}

// Open opens a pool. Modules that another version made are removed.
func Open(c Config) (*Pool, error) {
	name := fmt.Sprintf("%d-%s-%s", fuel.Version, engine(), runtime.GOARCH)
	p := &Pool{
		dir: filepath.Join(c.Dir, name), limit: c.Cache, spare: max(1, c.Spare), jobs: make(chan struct{}, c.Jobs), compile: make(chan struct{}, 1),
		fork: make(chan func()), quit: make(chan struct{}), all: map[*process]bool{}, modules: map[types.Hash]*module{},
	}
	if p.limit == 0 {
		p.limit = defaultCache
	}
	if c.Jobs == 0 {
		p.jobs = make(chan struct{}, runtime.NumCPU())
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("guest: keeping modules: %w", err)
	}
	old, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("guest: keeping modules: %w", err)
	}
	for _, e := range old {
		if e.Name() != name {
			os.RemoveAll(filepath.Join(c.Dir, e.Name()))
		}
	}
	if err := p.scan(); err != nil {
		return nil, err
	}
	// A child dies with the thread that started it: all are started by one that lives as long as the pool.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for {
			select {
			case f := <-p.fork:
				f()
			case <-p.quit:
				return
			}
		}
	}()
	p.mu.Lock()
	p.refill()
	p.mu.Unlock()
	return p, nil
}

// engine is the version of wazero that this program is built with.
func engine() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				return d.Version
			}
		}
	}
	return "unknown"
}

// scan finds the modules that are there.
func (p *Pool) scan() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("guest: reading the modules: %w", err)
	}
	for _, e := range entries {
		b, err := hex.DecodeString(e.Name())
		if err != nil || len(b) != len(types.Hash{}) {
			os.RemoveAll(filepath.Join(p.dir, e.Name())) // was not finished
			continue
		}
		m := &module{size: sizeOf(filepath.Join(p.dir, e.Name())), ready: make(chan struct{})}
		close(m.ready)
		p.modules[types.Hash(b)] = m
		p.bytes += m.size
	}
	return nil
}

func sizeOf(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if i, err := d.Info(); err == nil {
				n += i.Size()
			}
		}
		return nil
	})
	return n
}

func (p *Pool) path(h types.Hash) string { return filepath.Join(p.dir, hex.EncodeToString(h[:])) }

// Close ends every child, with what it runs.
func (p *Pool) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	all := p.all
	p.all, p.idle = map[*process]bool{}, nil
	p.mu.Unlock()
	for c := range all {
		c.kill()
		<-c.done
	}
	close(p.quit)
}

// Prepare rewrites and compiles a module, unless that was done before, and returns the name by which jobs name
// it: its SHA-256. A module that breaks the profile's rules is refused with BadModule, ImportDenied,
// FeatureDenied or TooLarge.
func (p *Pool) Prepare(ctx context.Context, wasm []byte) (types.Hash, error) {
	h := types.Sum(wasm)
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return h, ErrClosed
		}
		m, ok := p.modules[h]
		if !ok {
			m = &module{ready: make(chan struct{})}
			p.modules[h] = m
			p.mu.Unlock()
			return h, p.make(ctx, h, m, wasm)
		}
		p.mu.Unlock()
		select {
		case <-m.ready:
		case <-ctx.Done():
			return h, ctx.Err()
		}
		if m.err == nil || types.ReasonOf(m.err) != "" {
			return h, m.err
		}
		// Whoever began it gave up, or its child ended: try again.
	}
}

// Stats is what a pool has at present.
type Stats struct {
	Children, Idle int
	Modules        int
	Bytes          int64  // of modules
	Made           uint64 // modules since it was opened
}

// Stats returns them.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Children: len(p.all), Idle: len(p.idle), Modules: len(p.modules), Bytes: p.bytes, Made: p.made}
}

// Prepared says whether a module is ready to run.
func (p *Pool) Prepared(h types.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.modules[h]
	return ok && m.done()
}

func (m *module) done() bool {
	select {
	case <-m.ready:
		return m.err == nil
	default:
		return false
	}
}

// make makes a module by a child, in a folder of its own that gets its name when it is whole.
func (p *Pool) make(ctx context.Context, h types.Hash, m *module, wasm []byte) (err error) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if m.err = err; err != nil {
			delete(p.modules, h)
		} else {
			p.bytes += m.size
			p.made++
			p.clock++
			m.used = p.clock
			p.evict()
		}
		close(m.ready)
	}()
	if len(wasm) > fuel.MaxModule {
		return types.Refuse(compute.TooLarge, "the module has %d bytes, at most %d", len(wasm), fuel.MaxModule)
	}
	select {
	case p.compile <- struct{}{}:
		defer func() { <-p.compile }()
	case <-ctx.Done():
		return ctx.Err()
	}
	tmp, err := os.MkdirTemp(p.dir, "new-")
	if err != nil {
		return fmt.Errorf("guest: keeping a module: %w", err)
	}
	defer os.RemoveAll(tmp)
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer p.release(c)
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	err = c.in.json(kindOrder, order{Task: "compile", Dir: tmp})
	if err == nil {
		err = c.in.data(strings.NewReader(string(wasm)), int64(len(wasm)))
	}
	if err != nil {
		return c.lost(ctx, err)
	}
	k, b, err := c.out.next()
	switch {
	case err != nil:
		return c.lost(ctx, err)
	case k == kindRefusal:
		return refused(b)
	case k != kindResult:
		return fmt.Errorf("%w: %s", ErrChild, printable(b))
	}
	m.size = sizeOf(tmp)
	if err := os.Rename(tmp, p.path(h)); err != nil {
		return fmt.Errorf("guest: keeping a module: %w", err)
	}
	return nil
}

// refusedError is a refusal that a child made.
type refusedError struct {
	reason types.Reason
	text   string
}

func (e *refusedError) Error() string { return e.text }
func (e *refusedError) Unwrap() error { return e.reason }

func refused(b []byte) error {
	var r refusal
	known := []types.Reason{compute.BadModule, compute.ImportDenied, compute.FeatureDenied, compute.TooLarge}
	if err := json.Unmarshal(b, &r); err != nil || !slices.Contains(known, types.Reason(r.Reason)) {
		return fmt.Errorf("%w: %s", ErrChild, printable(b))
	}
	return &refusedError{types.Reason(r.Reason), printable([]byte(r.Text))}
}

// printable is what a child said, for a log.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(string(b[:min(len(b), 1000)]), "?"))
}

// evict removes what was used longest ago, until the rest is within the limit. What runs stays.
func (p *Pool) evict() {
	for p.bytes > p.limit {
		var oldest *module
		var name types.Hash
		for h, m := range p.modules {
			if m.done() && m.runs == 0 && (oldest == nil || m.used < oldest.used) {
				oldest, name = m, h
			}
		}
		if oldest == nil {
			return
		}
		os.RemoveAll(p.path(name))
		delete(p.modules, name)
		p.bytes -= oldest.size
	}
}

// pin holds a module while a job runs.
func (p *Pool) pin(h types.Hash) (unpin func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.modules[h]
	if !ok || !m.done() {
		return nil, types.Refuse(compute.InputMissing, "guest: module %s is not prepared", h)
	}
	m.runs++
	p.clock++
	m.used = p.clock
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		m.runs--
		p.evict()
	}, nil
}

// process is a child.
type process struct {
	cmd  *exec.Cmd
	in   *writer
	out  *reader
	pipe io.Closer
	said *tail
	done chan struct{} // closed when it has ended
	err  error         // how, once it has

	mu     sync.Mutex
	killed bool
}

// tail keeps the beginning of what a child writes to stderr: a crash of the runtime says there what it was.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[:min(len(p), 1000-len(t.b))]...)
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return printable(t.b)
}

// start starts a child and waits until it is ready.
func (p *Pool) start(ctx context.Context) (*process, error) {
	c := &process{said: &tail{}, done: make(chan struct{})}
	c.cmd = &exec.Cmd{Path: "/proc/self/exe", Args: []string{childName}, Env: []string{}, Dir: "/", Stderr: c.said, SysProcAttr: attributes(), WaitDelay: time.Second}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("guest: starting a process: %w", err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("guest: starting a process: %w", err)
	}
	c.cmd.Stdout = outWrite
	started := make(chan error, 1)
	select {
	case p.fork <- func() { started <- c.cmd.Start() }:
		err = <-started
	case <-p.quit:
		err = ErrClosed
	}
	outWrite.Close()
	if err != nil {
		outRead.Close()
		return nil, fmt.Errorf("guest: starting a process: %w", err)
	}
	c.in, c.out, c.pipe = &writer{w: in}, newReader(outRead), outRead
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.all[c] = true
	}
	p.mu.Unlock()
	if closed {
		c.kill()
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	stop := context.AfterFunc(ctx, c.kill)
	k, b, err := c.out.next()
	if !stop() || err != nil || k != kindReady {
		err = c.lost(ctx, err)
		p.release(c)
		return nil, fmt.Errorf("%w %s", err, printable(b))
	}
	return c, nil
}

// kill ends the process at once.
func (c *process) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.killed {
		c.killed = true
		c.cmd.Process.Kill()
	}
}

// lost says why a process cannot be talked to.
func (c *process) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.kill()
	<-c.done
	return fmt.Errorf("%w: %v (%v) %s", ErrChild, err, c.err, c.said)
}

// release ends a process that is not needed any more.
func (p *Pool) release(c *process) {
	c.kill()
	<-c.done
	c.pipe.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, c)
}

// take returns a child that is ready: a spare one, or one that is started now.
func (p *Pool) take(ctx context.Context) (*process, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, ErrClosed
		}
		if len(p.idle) == 0 {
			p.refill()
			p.mu.Unlock()
			return p.start(ctx)
		}
		c := p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
		p.refill()
		p.mu.Unlock()
		select {
		case <-c.done:
			p.release(c) // somebody ended it
			continue
		default:
			return c, nil
		}
	}
}

// refill starts as many as are missing. p.mu is held.
func (p *Pool) refill() {
	for !p.closed && len(p.idle)+p.starts < p.spare {
		p.starts++
		go func() {
			c, err := p.start(context.Background())
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.starts--; err != nil {
				return // the next job tries again
			}
			if p.closed {
				return
			}
			p.idle = append(p.idle, c)
		}()
	}
}

// Probe starts a child, closes it as for a guest, lets it try what must not succeed, and returns what this
// machine lacks. Nothing: all holds.
func Probe(ctx context.Context) ([]Lack, error) { return probe(ctx, false) }

func probe(ctx context.Context, open bool) ([]Lack, error) {
	dir, err := os.MkdirTemp("", "cairn-probe-")
	if err != nil {
		return nil, fmt.Errorf("guest: probe: %w", err)
	}
	defer os.RemoveAll(dir)
	p, err := Open(Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	c, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	defer p.release(c)
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	if err := c.in.json(kindOrder, order{Task: "probe", Open: open}); err != nil {
		return nil, c.lost(ctx, err)
	}
	k, b, err := c.out.next()
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	var lacks []Lack
	if k != kindResult || json.Unmarshal(b, &lacks) != nil {
		return nil, fmt.Errorf("%w: %s", ErrChild, printable(b))
	}
	return lacks, nil
}
