//go:build !linux

package oci

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// Engine runs containers: on Linux only.
type Engine struct{}

// Meter says how far a container may go, and is told how far it is.
type Meter interface {
	Used(units uint64)
	Allowed() (units uint64, more <-chan struct{})
}

// Open says that the machine can't run containers.
func Open(context.Context, string, uint64, ...compute.Reach) (*Engine, []Lack, error) {
	return nil, []Lack{{"linux", "containers need Linux"}}, nil
}

// Close does nothing.
func (*Engine) Close() error { return nil }

// Forget does nothing.
func (*Engine) Forget() error { return nil }

// Prepare is never called: there is no Engine.
func (*Engine) Prepare(context.Context, types.Hash, Opener) error { return errors.ErrUnsupported }

// Run is never called.
func (*Engine) Run(context.Context, *Job, io.Writer, io.Writer, Meter) (*Ended, error) {
	return nil, errors.ErrUnsupported
}

// Release is never called.
func (*Engine) Release(types.Hash) error { return nil }

// Sweep is never called.
func (*Engine) Sweep(func(types.Hash) bool) error { return nil }

// Dial is never called.
func (*Engine) Dial(context.Context, types.Hash, uint16) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}
