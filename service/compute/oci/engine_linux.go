package oci

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/service/compute"
)

// Engine runs containers.
type Engine struct {
	dir   string // images and jobs
	run   string // what is gone with the machine's memory: mounts, and what runc keeps
	runc  string
	most  uint64   // bytes of unpacked images
	node  *os.File // held while this process lives
	group bool     // cgroups are of version 2
	away  time.Duration
	reach []string // what containers may reach

	unpacking sync.Mutex // one image at a time

	mu    sync.Mutex // guards what follows
	trees map[types.Hash]*tree
	using map[types.Hash]types.Hash // order → image
}

// tree is an image that is unpacked.
type tree struct {
	Size   uint64 `json:"size"`
	Config Config `json:"config"`
	used   time.Time
	refs   int
}

const (
	treeDir  = "tree"
	metaFile = "image.json"
	runDir   = "/run/cairn-oci"
)

// Open returns what runs containers, with its files below dir, of which unpacked images take at most so many
// bytes: or says what the machine lacks. Containers may reach what egress says.
func Open(ctx context.Context, dir string, images uint64, egress ...compute.Reach) (*Engine, []Lack, error) {
	lacks, runc := lacking()
	if len(lacks) > 0 {
		return nil, lacks, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("oci: %w", err)
	}
	name := types.Sum([]byte(dir))
	e := &Engine{dir: dir, runc: runc, run: filepath.Join(runDir, hex.EncodeToString(name[:6])), most: images, group: unified(), away: Orphan, reach: compute.Egress(egress),
		trees: map[types.Hash]*tree{}, using: map[types.Hash]types.Hash{}}
	if err := e.open(); err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	if err := e.try(ctx); err != nil {
		return nil, []Lack{{"runc", "a container could not be run here: " + err.Error()}}, e.Close()
	}
	return e, nil, nil
}

// lacking lists what can be seen to be missing without running anything, and says where runc is.
func lacking() (list []Lack, runc string) {
	lack := func(name, format string, args ...any) { list = append(list, Lack{name, fmt.Sprintf(format, args...)}) }
	runc, err := exec.LookPath("runc")
	if err != nil {
		lack("runc", "runc is not installed (Debian's package runc); it runs the containers")
	}
	if os.Geteuid() != 0 {
		lack("root", "this program does not run as root, which sets up containers' limits; inside, jobs are nobody")
	}
	if raw, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err != nil || strings.TrimSpace(string(raw)) == "0" {
		lack("userns", "the kernel has no user namespaces, which keep root in a container from being root outside")
	}
	if raw, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(raw), "\toverlay\n") {
		if exec.Command("modprobe", "overlay").Run() != nil {
			lack("overlay", "the kernel has no overlayfs, which keeps images as they are")
		}
	}
	if m := missing(); len(m) > 0 {
		lack("cgroup", "the cgroup controllers %s can't be used; without them a container could take all of the machine", strings.Join(m, ", "))
	}
	return list, runc
}

func (e *Engine) open() error {
	for _, d := range []string{e.dir, filepath.Join(e.dir, "images"), filepath.Join(e.dir, "jobs"), filepath.Join(e.run, "state")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("oci: %w", err)
		}
	}
	for _, d := range []string{runDir, e.run} { // root in a container has to find its way to what it runs from
		if err := os.Chmod(d, 0o711); err != nil {
			return fmt.Errorf("oci: %w", err)
		}
	}
	for _, name := range []string{"images", "jobs"} { // short paths, without what mount options give a meaning to
		link := filepath.Join(e.run, name)
		_ = os.Remove(link) // of before
		if err := os.Symlink(filepath.Join(e.dir, name), link); err != nil {
			return fmt.Errorf("oci: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(e.dir, "node"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	e.node = f
	for end := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) { // a keeper looks at it for a moment now and then
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("oci: %s is in use: %w", e.dir, err)
		}
	}
	list, err := os.ReadDir(filepath.Join(e.dir, "images"))
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	for _, d := range list {
		path := filepath.Join(e.dir, "images", d.Name())
		t := &tree{used: time.Now()}
		h, err := types.ParseHash(d.Name())
		if err == nil {
			var raw []byte
			if raw, err = os.ReadFile(filepath.Join(path, metaFile)); err == nil {
				err = json.Unmarshal(raw, t)
			}
		}
		if err != nil { // half of one
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("oci: %w", err)
			}
			continue
		}
		e.trees[h] = t
	}
	return nil
}

// Close lets go of everything. Containers go on for Orphan, for an engine that is opened again.
func (e *Engine) Close() error {
	if e.node == nil {
		return nil
	}
	err := e.node.Close()
	if left, e2 := filepath.Glob(filepath.Join(e.run, "c*")); e2 == nil && len(left) == 0 {
		err = errors.Join(err, os.RemoveAll(e.run))
	}
	return err
}

// Forget closes the engine, and ends and removes all of its containers.
func (e *Engine) Forget() error {
	return errors.Join(e.Sweep(func(types.Hash) bool { return false }), e.Close(), os.RemoveAll(e.run))
}

// try runs a program of a few bytes as jobs are run.
func (e *Engine) try(ctx context.Context) error {
	j := &Job{Order: types.Sum([]byte(time.Now().String())), Image: types.Sum([]byte("cairn: probe")), Stdin: compute.Nothing, Memory: 64 << 20, Slots: 1, Limit: 10_000,
		Open: func(types.Hash) (io.ReadCloser, uint64, error) { return io.NopCloser(strings.NewReader("")), 0, nil }}
	dir := filepath.Join(e.dir, "images", j.Image.String())
	if err := os.MkdirAll(filepath.Join(dir, treeDir), 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, treeDir, "probe")
	if err := os.WriteFile(path, probe(), 0o755); err != nil {
		return err
	}
	for _, p := range []string{path, filepath.Join(dir, treeDir)} {
		if err := errors.Join(os.Chmod(p, 0o755), os.Lchown(p, shift, shift)); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.trees[j.Image] = &tree{Config: Config{Entrypoint: []string{"/probe"}}, used: time.Now()}
	e.mu.Unlock()
	end, err := e.Run(ctx, j, io.Discard, io.Discard, unmetered{})
	err = errors.Join(err, e.Release(j.Order))
	e.mu.Lock()
	delete(e.trees, j.Image)
	e.mu.Unlock()
	if err = errors.Join(err, os.RemoveAll(dir)); err == nil && end.Exit != probeExit {
		err = fmt.Errorf("it ended with %d %s, not %d", end.Exit, end.Trap, probeExit)
	}
	return err
}

type unmetered struct{}

func (unmetered) Used(uint64)                        {}
func (unmetered) Allowed() (uint64, <-chan struct{}) { return 1 << 62, nil }

// read returns all of something small that a job names.
func read(open Opener, h types.Hash, most uint64) ([]byte, error) {
	f, size, err := open(h)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	if size > most {
		return nil, types.Refuse(compute.TooLarge, "oci: %v of %d bytes", h, size)
	}
	raw, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	if types.Sum(raw) != h {
		return nil, types.Refuse(compute.DigestMismatch, "oci: what came as %v", h)
	}
	return raw, nil
}

// Prepare has an image unpacked. An error with a reason is the customer's.
func (e *Engine) Prepare(ctx context.Context, image types.Hash, open Opener) error {
	if e.touch(image) {
		return nil
	}
	e.unpacking.Lock()
	defer e.unpacking.Unlock()
	if e.touch(image) {
		return nil
	}
	raw, err := read(open, image, MaxManifest)
	if err != nil {
		return err
	}
	img, err := Parse(raw)
	if err != nil {
		return err
	}
	if raw, err = read(open, img.Config.Hash, MaxManifest); err != nil {
		return err
	}
	c, err := ParseConfig(raw, len(img.Layers))
	if err != nil {
		return err
	}
	whole := filepath.Join(e.dir, "images", image.String())
	part := whole + ".new"
	defer os.RemoveAll(part) // it has another name by then, if all went well
	if err := os.RemoveAll(part); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	size, err := unpack(ctx, filepath.Join(part, treeDir), shift, min(MaxTree, e.most), img, c, open)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return types.Refuse(compute.NoSpace, "oci: %v", err)
	case err != nil:
		return err
	}
	t := &tree{Size: size, Config: *c, used: time.Now()}
	if err := e.room(t.Size); err != nil {
		return err
	}
	meta, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	err = os.WriteFile(filepath.Join(part, metaFile), meta, 0o600)
	if d, e := os.Open(part); err == nil && e == nil { // a tree is whole, or not there
		err = errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
	}
	if err = errors.Join(err, os.Rename(part, whole)); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trees[image] = t
	return nil
}

func (e *Engine) touch(image types.Hash) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.trees[image]
	if t != nil {
		t.used = time.Now()
	}
	return t != nil
}

// room makes room for an image of so many bytes: what was not used for longest goes.
func (e *Engine) room(size uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		var sum uint64
		var old types.Hash
		var least *tree
		for h, t := range e.trees {
			sum += t.Size
			if t.refs == 0 && (least == nil || t.used.Before(least.used)) {
				old, least = h, t
			}
		}
		if sum+size <= e.most {
			return nil
		}
		if least == nil {
			return types.Refuse(compute.NoSpace, "oci: an image of %d bytes unpacked, beside %d of %d", size, sum, e.most)
		}
		delete(e.trees, old)
		if err := os.RemoveAll(filepath.Join(e.dir, "images", old.String())); err != nil {
			return fmt.Errorf("oci: %w", err)
		}
	}
}

// Meter says how far a container may go, and is told how far it is.
type Meter interface {
	Used(units uint64)
	Allowed() (units uint64, more <-chan struct{})
}

// Lost is the reason of a container that did not outlive its node, or its keeper.
var errLost = types.Refuse(compute.DeviceLost, "oci: the container was lost when the device was restarted")

func name(order types.Hash) string            { return "c" + hex.EncodeToString(order[:12]) }
func (e *Engine) job(order types.Hash) string { return filepath.Join(e.dir, "jobs", order.String()) }

// Run runs a container to its end, or finds one that an engine of before has begun. Where ctx ends with a
// reason, the container is ended; without one this process ends, and the container goes on.
func (e *Engine) Run(ctx context.Context, j *Job, stdout, stderr io.Writer, m Meter) (*Ended, error) {
	dir := e.job(j.Order)
	_, err := os.Stat(filepath.Join(dir, beginFile))
	if err != nil {
		if err := e.Release(j.Order); err != nil { // half of one
			return nil, err
		}
	}
	e.hold(j)
	if err != nil {
		if err := e.start(j); err != nil {
			return nil, err
		}
	}
	return e.follow(ctx, j, dir, [2]io.Writer{stdout, stderr}, m)
}

// hold keeps a job's image.
func (e *Engine) hold(j *Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, held := e.using[j.Order]; !held && e.trees[j.Image] != nil {
		e.using[j.Order] = j.Image
		e.trees[j.Image].refs++
	}
}

// start begins a container.
func (e *Engine) start(j *Job) error {
	e.mu.Lock()
	t := e.trees[j.Image]
	e.mu.Unlock()
	if t == nil {
		return fmt.Errorf("oci: image %v is not unpacked", j.Image)
	}
	dir, bundle, id := e.job(j.Order), filepath.Join(e.run, name(j.Order)), name(j.Order)
	scratch, rootfs := filepath.Join(bundle, "scratch"), filepath.Join(bundle, "rootfs")
	for _, d := range []string{filepath.Join(dir, lowerDir), scratch, rootfs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("oci: %w", err)
		}
	}
	if err := errors.Join(os.Chmod(bundle, 0o711), e.inputs(j, dir)); err != nil {
		return err
	}
	if len(e.reach) > 0 { // what the image and the job say of it counts more
		config := t.Config
		config.Env = append(slices.Clone(proxyEnv), config.Env...)
		t = &tree{Config: config}
	}
	s, err := spec(id, filepath.Join(e.dir, "images", j.Image.String(), treeDir), &t.Config, j)
	if err != nil {
		return err
	}
	s.Root.Path = rootfs
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	k, err := json.Marshal(&task{ID: id, Runc: e.runc, State: filepath.Join(e.run, "state"), Bundle: bundle, Scratch: scratch, Node: e.node.Name(), Slots: uint64(j.Slots),
		Limit: j.Limit, Egress: e.reach, Orphan: e.away})
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	err = unix.Mount("tmpfs", scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,nr_inodes=65536,mode=711", j.Memory/2))
	if err == nil {
		upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
		err = errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o700), os.Chown(upper, shift, shift))
		lower := filepath.Join(e.run, "images", j.Image.String(), treeDir)
		if len(j.Files) > 0 {
			lower = filepath.Join(e.run, "jobs", j.Order.String(), lowerDir) + ":" + lower
		}
		if err == nil {
			err = unix.Mount("overlay", rootfs, "overlay", unix.MS_NOSUID|unix.MS_NODEV, "lowerdir="+lower+",upperdir="+upper+",workdir="+work)
		}
	}
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o600), files.Replace(filepath.Join(dir, orderFile), k, 0o600),
			files.Replace(filepath.Join(dir, beginFile), nil, 0o600))
	}
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	return spawn(dir)
}

// inputs lays out what a container reads.
func (e *Engine) inputs(j *Job, dir string) error {
	in, _, err := j.Open(j.Stdin)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, stdinFile))
	if err == nil {
		_, err = io.Copy(f, in)
		err = errors.Join(err, f.Close())
	}
	if err = errors.Join(err, in.Close()); err != nil {
		return fmt.Errorf("oci: standard input: %w", err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, lowerDir))
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	defer root.Close()
	u := &unpacker{root: root, shift: shift, left: compute.MaxInputs}
	if err := errors.Join(root.Chmod(".", 0o755), root.Lchown(".", shift, shift)); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	for _, file := range j.Files {
		path, err := u.resolve(file.Path)
		if err != nil {
			return err
		}
		r, _, err := j.Open(file.Hash)
		if err != nil {
			return err
		}
		if err := errors.Join(u.file(path, r), r.Close(), root.Lchown(path, shift, shift), root.Chmod(path, 0o644)); err != nil {
			return fmt.Errorf("oci: file %s: %w", file.Path, err)
		}
	}
	return nil
}

const (
	followFirst = 2 * time.Millisecond // how often a container is looked after at first
	followThen  = 10 * time.Millisecond
	killWait    = 10 * time.Second
)

// follow sees a container to its end.
func (e *Engine) follow(ctx context.Context, j *Job, dir string, out [2]io.Writer, m Meter) (*Ended, error) {
	group := cgroup{name(j.Order), e.group}
	var files [2]*os.File
	defer func() {
		for _, f := range files {
			if f != nil {
				_ = f.Close() // only read
			}
		}
	}()
	copyAll := func() error {
		for i, name := range streams {
			if files[i] == nil {
				f, err := os.Open(filepath.Join(dir, name))
				if errors.Is(err, fs.ErrNotExist) {
					continue
				} else if err != nil {
					return fmt.Errorf("oci: %w", err)
				}
				files[i] = f
			}
			if _, err := io.Copy(out[i], files[i]); err != nil {
				return fmt.Errorf("oci: %s: %w", name, err)
			}
		}
		return nil
	}
	used := func() uint64 {
		raw, err := os.ReadFile(filepath.Join(dir, usedFile))
		if err != nil || len(raw) != 8 {
			return 0
		}
		return binary.BigEndian.Uint64(raw)
	}
	began, said, stopped := time.Now(), uint64(0), group.frozen()
	stop := ctx.Done()
	var deadline <-chan time.Time
	var gone time.Time
	tick := time.NewTicker(followFirst)
	defer tick.Stop()
	for slow := false; ; {
		if !slow && time.Since(began) > 200*time.Millisecond {
			slow = true
			tick.Reset(followThen)
		}
		raw, err := os.ReadFile(filepath.Join(dir, endFile))
		if err := copyAll(); err != nil {
			return nil, err
		}
		u := used()
		if u != said {
			said = u
			m.Used(u)
		}
		if err == nil {
			if stop == nil { // it was ended from here
				return nil, context.Cause(ctx)
			}
			return ended(raw)
		}
		if allowed, _ := m.Allowed(); stop != nil && (u >= allowed) != stopped {
			stopped = !stopped
			if err := group.freeze(stopped); err != nil {
				return nil, err
			}
		}
		if free(filepath.Join(dir, lockFile)) { // its keeper is gone: it may have written the end a moment ago
			if gone.IsZero() {
				gone = time.Now()
			} else if time.Since(gone) > 100*time.Millisecond {
				return nil, errors.Join(errLost, e.clean(name(j.Order)))
			}
		}
		select {
		case <-tick.C:
		case <-stop:
			if types.ReasonOf(context.Cause(ctx)) == "" {
				return nil, ctx.Err() // this process ends
			}
			stop, deadline = nil, time.After(killWait)
			e.kill(name(j.Order))
			_ = group.freeze(false) // one that is frozen does not die
		case <-deadline:
			return nil, errors.Join(context.Cause(ctx), e.clean(name(j.Order)))
		}
	}
}

// ended reads how a container ended.
func ended(raw []byte) (*Ended, error) {
	var v verdict
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	switch {
	case v.Lost:
		return nil, errLost
	case v.Failed != "" && (strings.Contains(v.Failed, "executable file not found") || strings.Contains(v.Failed, "exec: ") || strings.Contains(v.Failed, "exec /") ||
		strings.Contains(v.Failed, "chdir to cwd")):
		return nil, bad("its program can't be started: %s", v.Failed)
	case v.Failed != "":
		return nil, fmt.Errorf("oci: runc: %s", v.Failed)
	}
	return &Ended{Exit: v.Exit, Trap: v.Trap, Used: v.Used}, nil
}

// kill has a container's first process end, and so all others.
func (e *Engine) kill(id string) {
	_ = exec.Command(e.runc, "--root", filepath.Join(e.run, "state"), "kill", id, "KILL").Run() // it may have ended
}

// clean removes a container and its mounts.
func (e *Engine) clean(id string) error {
	bundle := filepath.Join(e.run, id)
	if _, err := os.Stat(filepath.Join(e.run, "state", id)); err == nil {
		group := cgroup{id, e.group}
		e.kill(id)
		_ = group.freeze(false)
		_ = exec.Command(e.runc, "--root", filepath.Join(e.run, "state"), "delete", "--force", id).Run() // what is left shows below
	}
	for _, m := range []string{"rootfs", "scratch"} {
		if err := unix.Unmount(filepath.Join(bundle, m), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("oci: unmount: %w", err)
		}
	}
	if err := os.RemoveAll(bundle); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	return nil
}

// Release forgets a job that has ended.
func (e *Engine) Release(order types.Hash) error {
	err := e.clean(name(order))
	for end := time.Now().Add(killWait); !free(filepath.Join(e.job(order), lockFile)) && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // its keeper may be about to write down the end
	}
	if e := os.RemoveAll(e.job(order)); e != nil {
		err = errors.Join(err, fmt.Errorf("oci: %w", e))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if image, held := e.using[order]; held {
		delete(e.using, order)
		if t := e.trees[image]; t != nil {
			t.refs--
		}
	}
	return err
}

// Sweep forgets all jobs but those that live.
func (e *Engine) Sweep(live func(order types.Hash) bool) error {
	list, err := os.ReadDir(filepath.Join(e.dir, "jobs"))
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	keep := map[string]bool{}
	var errs []error
	for _, d := range list {
		order, err := types.ParseHash(d.Name())
		if err == nil && live(order) {
			keep[name(order)] = true
			continue
		}
		errs = append(errs, e.Release(order), os.RemoveAll(filepath.Join(e.dir, "jobs", d.Name())))
	}
	if list, err = os.ReadDir(e.run); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	for _, d := range list {
		if strings.HasPrefix(d.Name(), "c") && !keep[d.Name()] {
			errs = append(errs, e.clean(d.Name()))
		}
	}
	return errors.Join(errs...)
}
