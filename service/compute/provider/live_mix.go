package provider

import (
	"bytes"
	"context"
	_ "embed"
	"errors"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/guest"
)

// mixModule computes a chain of rounds of processors in a guest: mix/mix.c, which says how it is made.
//
//go:embed mix/mix.wasm
var mixModule []byte

// mixPages is the memory that the module needs, in pages.
const mixPages = 64

// A mixer is an Executor that computes chains of rounds of processors, so that what is measured is what jobs get.
type mixer interface {
	// Mix gives the root of each round of the chain that begins with a seed, as it has it, until ctx ends or each
	// returns an error.
	Mix(ctx context.Context, seed types.Hash, each func(root types.Hash) error) error
	// ReadyMix makes ready what Mix needs.
	ReadyMix(ctx context.Context) error
}

// errChain ends a chain's guest.
var errChain = errors.New("compute: the chain's check is over")

// ReadyMix implements mixer.
func (x *wasm) ReadyMix(ctx context.Context) error {
	_, err := x.pool.Prepare(ctx, mixModule)
	return err
}

// Mix implements mixer.
func (x *wasm) Mix(ctx context.Context, seed types.Hash, each func(root types.Hash) error) error {
	run, err := x.pool.Start(ctx, guest.Job{
		Module: types.Sum(mixModule), Stdin: bytes.NewReader(seed[:]), Size: int64(len(seed)), Fuel: compute.MaxFuel, Pages: mixPages,
		Stdout: &roots{each: each}, Stderr: &roots{each: each},
	})
	if err != nil {
		return err
	}
	select {
	case <-run.Done():
	case <-ctx.Done():
		run.Cancel()
		<-run.Done()
		return ctx.Err()
	}
	_, err = run.Wait()
	return errors.Join(err, errChain)
}

// roots cuts what a guest writes into roots.
type roots struct {
	each func(types.Hash) error
	part []byte
}

func (r *roots) Write(p []byte) (int, error) {
	r.part = append(r.part, p...)
	for len(r.part) >= len(types.Hash{}) {
		if err := r.each(types.Hash(r.part[:len(types.Hash{})])); err != nil {
			return 0, err
		}
		r.part = r.part[len(types.Hash{}):]
	}
	return len(p), nil
}
