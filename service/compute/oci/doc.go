// Package oci runs jobs of profile oci/1: an image's program in a container of its own, by runc.
//
// # What holds a container
//
// A user namespace whose root is nobody outside; its own processes, mounts, names and network (none but
// loopback); no capabilities, no new privileges, the default seccomp profile of Docker, masked paths; cgroups
// for memory, processes, CPU and devices. The image lies below an overlay, which nobody writes to; what the
// container writes goes to a tmpfs of half of its memory, and counts as memory.
//
// # Who does what
//
// Each container has a keeper: this program started again (keeper.go), which outlives the node. It starts runc,
// copies what the container writes into files, counts the time that it runs, ends it at a limit, and writes
// down how it ended. The node (engine.go) reads these files, and freezes the container where it has not been
// paid for. A node that is started again finds keeper and files, and goes on. A container without a node is
// ended after Orphan.
//
// Each has a door (door.go): a socket of its keeper's, by which the node gets connections to servers in it. There is
// no other way in. Where the owner lets containers reach something, each has a proxy (egress.go): the only way out.
//
//	image.go   manifest and configuration       unpack.go  layers into a folder
//	spec.go    what runc is told                cgroup.go  limits that were reached, freezing
//
// # What a machine may lack
//
// Open runs a program of twelve bytes in a container as jobs run in it, and says what keeps it from that: no
// runc, not root, no user namespaces, a controller that is missing. Then there is no Engine.
package oci

import (
	"io"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// Bounds of a container.
const (
	MaxOutput = 16 << 20 // bytes of each stream
	MaxTree   = 8 << 30  // bytes of an image that is unpacked
	maxPids   = 256      // processes and threads for each slot
	maxEntry  = 250_000  // files of an image
	// Orphan is for how long a container runs on whose node is gone.
	Orphan = 30 * time.Second
)

// Lack is something that a machine does not have to run containers with.
type Lack struct{ Name, Text string }

// Open opens something that a job names by its hash.
type Opener func(types.Hash) (io.ReadCloser, uint64, error)

// Job is what a container runs.
type Job struct {
	Order  types.Hash // names the container
	Image  types.Hash // of its manifest, which Prepare has unpacked
	Args   []string   // in place of the image's own command, if any
	Env    []string   // NAME=value, beside the image's own
	Stdin  types.Hash
	Files  compute.Files // that it finds below /
	Memory uint64        // bytes
	Slots  uint32
	Limit  uint64 // slot·ms
	Open   Opener
}

// Ended is how a container ended.
type Ended struct {
	Exit uint32
	Trap types.Reason // the limit that ended it
	Used uint64       // slot·ms
}
