package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// module returns the module that a message or a method belongs to: the one whose protobuf package its name
// begins with.
func (s *state) module(name string) (Module, error) {
	for pkg, m := range s.modules {
		if strings.HasPrefix(name, pkg+".") {
			return m, nil
		}
	}
	return nil, fmt.Errorf("ledger: no module has %s", name)
}

// Query implements Querier.
func (m *Memory) Query(_ context.Context, method string, request, answer any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	module, err := m.state.module(method)
	if err != nil {
		return err
	}
	return module.Query(asOf{m, m.state, uint64(len(m.blocks))}, method, request, answer)
}

// asOf implements State. Its Memory is locked.
type asOf struct {
	m      *Memory
	s      *state
	height uint64
}

func (v asOf) Time() uint64 { return uint64(v.m.time(v.height).Unix()) }

func (v asOf) Epoch() types.Epoch { return v.m.epochOf(v.height) }

func (v asOf) Device(key types.Key) (Device, bool) {
	d, ok := v.s.devices[key]
	return d.Device, ok
}

func (v asOf) Final(e types.Epoch, region types.Region) (*tally.Header, bool) {
	r, ok := v.s.headers[place{region, e}]
	return r.header, ok && r.Status == Final
}
