package node

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// lookEvery is how often a node looks whether its home is still the one that it opened; Status looks too.
const lookEvery = 10 * time.Second

// maxWatched bounds how many files of one folder are watched; further ones are not.
const maxWatched = 64

// watched are files that are open, or will be needed: what is written to one that was removed or replaced is
// lost with the process, and nothing else would say so.
type watched struct {
	mu    sync.Mutex
	files map[string]fs.FileInfo
}

// add has a path watched as it is now. One that is not there yet is not.
func (w *watched) add(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files == nil {
		w.files = map[string]fs.FileInfo{}
	}
	if _, known := w.files[path]; !known && len(w.files) < maxWatched {
		w.files[path] = info
	}
}

// addDir has a folder watched, and the databases in it.
func (w *watched) addDir(dir string) {
	w.add(dir)
	entries, _ := os.ReadDir(dir) // what cannot be read is seen by who needs it
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".db") {
			w.add(filepath.Join(dir, e.Name()))
		}
	}
}

func (w *watched) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.files)
}

// changed lists what is gone or another, by path.
func (w *watched) changed() (list []role.Remark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, was := range w.files {
		now, err := os.Stat(path)
		switch {
		case os.IsNotExist(err):
			list = append(list, homeRemark(types.HomeChanged, "%s was removed while it was in use", path))
		case err != nil:
			list = append(list, homeRemark(types.HomeChanged, "%v", err))
		case !os.SameFile(was, now):
			list = append(list, homeRemark(types.HomeChanged, "%s was replaced while it was in use", path))
		}
	}
	slices.SortFunc(list, func(a, b role.Remark) int { return strings.Compare(a.Text, b.Text) })
	return list
}

func homeRemark(reason types.Reason, format string, args ...any) role.Remark {
	return role.Remark{Reason: reason, Text: fmt.Sprintf(format, args...), Try: role.Info(reason).Try}
}

// remarks says what is wrong with the home.
func (n *Node) remarks() []role.Remark {
	list := n.home.changed()
	if key, err := LoadKey(n.config.Home); err != nil || key.Public() != n.key.Public() {
		path := filepath.Join(n.config.Home, keyFile)
		list = append(list, homeRemark(types.HomeChanged, "%s does not hold this device's key any more: once it stops, nobody can go on as this device", path))
	}
	dirs := []string{n.config.Home}
	for _, r := range n.providers {
		dirs = append(dirs, r.dir)
	}
	return append(list, n.disks.remarks(dirs...)...)
}

// guard looks at the home until ctx ends, and logs what is new.
func (n *Node) guard(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		list := n.remarks()
		for _, r := range n.providers {
			r.files.addDir(r.dir)
			list = append(list, r.files.changed()...)
		}
		seen := map[string]bool{}
		for _, p := range list {
			seen[p.Text] = true
			if !said[p.Text] {
				n.log.Error(p.Text, "reason", p.Reason, "try", p.Try)
			}
		}
		said = seen
	}
}
