package oci

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/service/compute"
)

// keeperName is what a keeper is called: it knows itself by it.
const keeperName = "cairn: container"

// The files of a container, in a folder of its own.
const (
	orderFile = "keeper.json" // what the keeper does
	lockFile  = "lock"        // held by the keeper while it lives
	beginFile = "begin"       // runc was started: what it does may have happened
	stdinFile = "stdin"
	usedFile  = "used" // slot·ms, 8 bytes
	endFile   = "end"  // how it ended
	lowerDir  = "files"
)

var streams = [2]string{"stdout", "stderr"}

// task is what a keeper does.
type task struct {
	ID      string `json:"id"`
	Runc    string `json:"runc"`
	State   string `json:"state"`   // of runc
	Bundle  string `json:"bundle"`  // with config.json
	Scratch string `json:"scratch"` // what the container writes to
	Node    string `json:"node"`    // a file that the node holds while it lives
	Slots   uint64 `json:"slots"`
	Limit   uint64 `json:"limit"` // slot·ms
	// Egress is what it may reach; none for nothing.
	Egress []string `json:"egress,omitempty"`
	// Orphan is for how long it runs without its node.
	Orphan time.Duration `json:"orphan"`
}

// verdict is how a container ended, as its keeper writes it down.
type verdict struct {
	Exit   uint32       `json:"exit"`
	Trap   types.Reason `json:"trap,omitempty"`
	Used   uint64       `json:"used"`
	Failed string       `json:"failed,omitempty"` // what runc said; then nothing ran
	Lost   bool         `json:"lost,omitempty"`   // its node was gone for too long
}

// A keeper is this program started again. It must not get as far as main.
func init() {
	if len(os.Args) != 2 || os.Args[0] != keeperName {
		return
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE) // they are the node's to heed
	go func() {
		if err := keep(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}()
	select {}
}

const (
	lookEvery = 20 * time.Millisecond // how often it is looked whether a limit was reached
	nodeEvery = time.Second           // whether the node is there
)

// keep runs a container to its end.
func keep(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, orderFile))
	if err != nil {
		return err
	}
	var t task
	if err := json.Unmarshal(raw, &t); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	fmt.Println("ready") // the node waits for it: from here on it can tell whether the keeper lives
	v := (&keeper{task: t, dir: dir, group: cgroup{t.ID, unified()}}).run()
	raw, err = json.Marshal(v)
	if err != nil {
		return err
	}
	return files.Replace(filepath.Join(dir, endFile), raw, 0o600)
}

type keeper struct {
	task
	dir   string
	group cgroup
	over  [2]atomic.Bool // a stream is longer than it may be
}

func (k *keeper) file(name string) string { return filepath.Join(k.dir, name) }

func (k *keeper) run() verdict {
	// What runc starts and leaves is ours to wait for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return verdict{Failed: err.Error()}
	}
	stdin, err := os.Open(k.file(stdinFile))
	if err != nil {
		return verdict{Failed: err.Error()}
	}
	defer stdin.Close()
	door, err := k.openDoor()
	if err != nil {
		return verdict{Failed: err.Error()}
	}
	defer door.Close()
	var copies sync.WaitGroup
	var ends [2]*os.File
	for i, name := range streams {
		r, w, err := os.Pipe()
		if err != nil {
			return verdict{Failed: err.Error()}
		}
		out, err := os.OpenFile(k.file(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return verdict{Failed: err.Error()}
		}
		ends[i] = w
		copies.Go(func() {
			defer r.Close()
			n, _ := io.Copy(out, io.LimitReader(r, MaxOutput)) // a disk that is full shows in the length
			_ = out.Close()
			if n == MaxOutput {
				var one [1]byte
				if m, _ := r.Read(one[:]); m > 0 {
					k.over[i].Store(true)
				}
			}
			_, _ = io.Copy(io.Discard, r)
		})
	}
	pid := filepath.Join(k.Bundle, "pid")
	said := filepath.Join(k.Bundle, "log")
	runc := func(verb ...string) error {
		cmd := exec.Command(k.Runc, append([]string{"--root", k.State, "--log", said, "--log-format", "json"}, verb...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, ends[0], ends[1]
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		return cmd.Run()
	}
	first := func() (init int) {
		if raw, e := os.ReadFile(pid); e == nil {
			init, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
		}
		return init
	}
	if len(k.Egress) == 0 {
		err = runc("run", "--detach", "--bundle", k.Bundle, "--pid-file", pid, k.ID)
	} else if err = runc("create", "--bundle", k.Bundle, "--pid-file", pid, k.ID); err == nil {
		var shut func()
		if shut, err = k.egress(first()); err == nil { // the proxy is there when the program begins
			defer shut()
			err = runc("start", k.ID)
		}
	}
	begun, init := time.Now(), first()
	_ = ends[0].Close()
	_ = ends[1].Close()
	if err != nil || init <= 1 {
		k.remove()
		copies.Wait()
		return verdict{Failed: fmt.Sprintf("%v: %s", err, lastError(said))}
	}
	if ns, err := namespace(init); err == nil {
		defer ns.Close()
		go serveDoor(door, ns)
	} else { // it has ended by now
		_ = door.Close()
	}
	v := k.watch(init, begun)
	copies.Wait()
	if v.Trap == "" && (k.over[0].Load() || k.over[1].Load()) {
		v.Trap = compute.TrapOutput
	}
	k.remove()
	return v
}

// watch waits for a container's end, and brings it about at a limit.
func (k *keeper) watch(init int, begun time.Time) (v verdict) {
	type end struct {
		status unix.WaitStatus
		at     time.Time
	}
	ended := make(chan end, 1)
	go func() {
		var s unix.WaitStatus
		for {
			if _, err := unix.Wait4(init, &s, 0, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		ended <- end{s, time.Now()}
	}()
	used, err := os.OpenFile(k.file(usedFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		k.kill(init)
		<-ended
		return verdict{Failed: err.Error()}
	}
	defer used.Close()
	last, ran, node := begun, time.Duration(0), time.Now()
	seen := node
	count := func(now time.Time) {
		ran += now.Sub(last)
		last = now
		v.Used = min(uint64(ran.Milliseconds())*k.Slots, k.Limit)
		_, _ = used.WriteAt(binary.BigEndian.AppendUint64(nil, v.Used), 0) // read by the node while this runs
	}
	over := func() types.Reason {
		switch {
		case k.group.starved():
			return compute.TrapMemory
		case k.group.crowded():
			return compute.TrapProcesses
		case full(k.Scratch):
			return compute.TrapDisk
		case k.over[0].Load() || k.over[1].Load():
			return compute.TrapOutput
		case v.Used >= k.Limit:
			return compute.TrapTime
		}
		return ""
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case e := <-ended:
			if k.group.frozen() {
				e.at = last
			}
			count(e.at)
			v.Used = max(v.Used, 1)
			v.Exit = uint32(e.status.ExitStatus())
			if e.status.Signaled() {
				v.Exit = 128 + uint32(e.status.Signal())
			}
			if why := over(); v.Trap == "" && !v.Lost && v.Exit != 0 && why != compute.TrapTime {
				v.Trap = why
			}
			if v.Trap != "" {
				v.Exit = 0
			}
			return v
		case now := <-tick.C:
			if now = time.Now(); k.group.frozen() {
				last = now
			}
			count(now)
			if v.Trap == "" {
				v.Trap = over()
			}
			if now.Sub(seen) > nodeEvery {
				if seen = now; !free(k.Node) {
					node = now
				}
				v.Lost = v.Lost || v.Trap == "" && now.Sub(node) > k.Orphan
			}
			if v.Trap != "" || v.Lost {
				k.kill(init)
			}
		}
	}
}

// kill ends a container: with its first process go all others. One that is frozen is thawed for that.
func (k *keeper) kill(init int) {
	_ = unix.Kill(init, unix.SIGKILL) // may be gone
	_ = k.group.freeze(false)
}

func (k *keeper) remove() {
	_ = exec.Command(k.Runc, "--root", k.State, "delete", "--force", k.ID).Run() // the node looks after what is left
}

// free reports whether nobody holds a file.
func free(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
}

// lastError is the last error that runc wrote into its log.
func lastError(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "no log"
	}
	text := ""
	for _, line := range strings.Split(string(raw), "\n") {
		var l struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &l) == nil && (l.Level == "error" || l.Level == "fatal") {
			text = l.Msg
		}
	}
	return text
}

// spawn starts a keeper, and returns when it is sure to be found alive.
func spawn(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	cmd := &exec.Cmd{Path: self, Args: []string{keeperName, dir}, Env: []string{"PATH=" + os.Getenv("PATH")}, Dir: "/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("oci: keeper: %w", err)
	}
	var word [6]byte
	_, err = io.ReadFull(out, word[:])
	go func() { _ = cmd.Wait() }() // what it has to say is in its files
	if err != nil {
		return fmt.Errorf("oci: the keeper of a container does not begin: %w", err)
	}
	return nil
}
