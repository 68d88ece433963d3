package node

import (
	"fmt"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/service/role"
)

// roomFor is how long what was seen of a disk holds.
const roomFor = time.Second

// disks tells how much room the disks of a few folders have.
type disks struct {
	limits disk.Limits
	look   func(dir string) (free uint64, err error)

	mu   sync.Mutex
	seen map[string]*room // by folder
}

// room is what was seen of one.
type room struct {
	at          time.Time
	short, full bool // below the limits, and until there is a tenth more
}

// of looks at a folder's disk. What cannot be looked at says nothing of its disk.
func (d *disks) of(dir string) room {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[string]*room{}
	}
	r := d.seen[dir]
	if r == nil {
		r = new(room)
		d.seen[dir] = r
	}
	if now := time.Now(); now.Sub(r.at) >= roomFor {
		r.at = now
		if free, err := d.look(dir); err == nil {
			r.short, r.full = below(free, d.limits.Warn, r.short), below(free, d.limits.Stop, r.full)
		}
	}
	return *r
}

func below(free, limit uint64, was bool) bool {
	if was {
		limit += limit / 10
	}
	return free < limit
}

// full returns the first of the folders whose disk is nearly full, "" for none.
func (d *disks) full(dirs ...string) string {
	for _, dir := range dirs {
		if d.of(dir).full {
			return dir
		}
	}
	return ""
}

// remarks says which of the folders' disks get full, or are. Folders on one disk are named once.
func (d *disks) remarks(dirs ...string) []role.Remark {
	for _, dir := range dirs {
		switch r := d.of(dir); {
		case r.full:
			return []role.Remark{homeRemark(types.DiskFull, "the disk of %s has less than %s left: what is held is proven and served, and nothing new is taken on",
				dir, disk.Size(d.limits.Stop))}
		case r.short:
			return []role.Remark{homeRemark(types.DiskFull, "%s", fmt.Sprintf("the disk of %s gets full, with less than %s left: at %s nothing new will be taken on",
				dir, disk.Size(d.limits.Warn), disk.Size(d.limits.Stop)))}
		}
	}
	return nil
}
