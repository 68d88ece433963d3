package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// lockFile names, in a home that is in use, the process that uses it.
const lockFile = "lock"

// ErrNotRunning says that nothing runs in a home.
var ErrNotRunning = fmt.Errorf("nothing runs here: %w", types.NotRunning)

// lockPatience is how long a home is waited for that another process has: one that was killed may take a moment to end,
// and who only looks whether a home is in use has it for an instant.
const lockPatience = 2 * time.Second

// Lock takes a home for this process until release, and makes it where there is none. A second process is
// refused with home_busy; the lock goes with the process, however it ends.
func Lock(home string) (release func(), err error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, types.Refuse(types.HomeUnwritable, "home: %v", err)
	}
	f, err := os.OpenFile(filepath.Join(home, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, types.Refuse(types.HomeUnwritable, "home: %v", err)
	}
	taken := flock(f)
	for end := time.Now().Add(lockPatience); taken != nil && time.Now().Before(end); taken = flock(f) {
		time.Sleep(20 * time.Millisecond)
	}
	if taken != nil {
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		f.Close()
		return nil, types.Refuse(types.HomeBusy, "home %s: process %s runs in it", home, strings.TrimSpace(string(pid[:n])))
	}
	err = errors.Join(f.Truncate(0), f.Sync())
	if _, werr := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil || werr != nil {
		f.Close()
		return nil, types.Refuse(types.HomeUnwritable, "home: %v", errors.Join(err, werr))
	}
	return func() { f.Close() }, nil
}

// Running returns the process that runs in a home, or ErrNotRunning.
func Running(home string) (pid int, err error) {
	f, err := os.OpenFile(filepath.Join(home, lockFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s: %w", home, ErrNotRunning)
	}
	if err != nil {
		return 0, fmt.Errorf("home: %w", err)
	}
	defer f.Close()
	if flock(f) == nil {
		return 0, fmt.Errorf("%s: %w", home, ErrNotRunning)
	}
	text := make([]byte, 20)
	n, _ := f.Read(text)
	pid, err = strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("home %s: it is in use, but its lock names no process", home)
	}
	return pid, nil
}
