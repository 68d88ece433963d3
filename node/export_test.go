package node

import "time"

func (d *desk) set(now func() time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = now
}

func (d *desk) free() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.verifiers.taken == 0 && d.others.taken == 0
}

func (d *desk) asking() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lookups > 0
}
