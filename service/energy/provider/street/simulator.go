package street

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// Simulator is a street for a network on one machine.
type Simulator struct {
	// Data is a folder with a Recording, "" for the street's own sky and habits. It stays what it was when the
	// street began.
	Data string
}

// Role returns m as a network runs it, with a flag for its Data.
func (m *Simulator) Role() role.Simulator {
	return role.Simulator{Category: types.Energy, Rules: m.Rules, Start: m.Start, Simulates: "meters and inverters", Flags: m.flags}
}

func (m *Simulator) flags(f *flag.FlagSet) {
	f.Func("energy-data", "replay recorded homes out of a `folder` instead of simulating sun and habits (fixed once the home exists)", func(path string) error {
		if info, err := os.Stat(path); path != "" && (err != nil || !info.IsDir()) {
			return fmt.Errorf("%s is no folder", path)
		}
		m.Data = path
		return nil
	})
}

// Rules returns the rules for where the street is.
func (m *Simulator) Rules(start, epoch uint64) []byte {
	cell := energy.LocalCell
	if r, err := m.recording(); err == nil && r != nil {
		cell = r.Cell
	}
	return energy.LocalRules(cell, start, epoch)
}

func (m *Simulator) recording() (*Recording, error) {
	if m.Data == "" {
		return nil, nil
	}
	return ReadRecording(m.Data)
}

// layout is what a street's folder says of it beside its state.
type layout struct {
	Begin     int64    `json:"begin"`     // Unix second of energy time at which all counters were zero
	Data      string   `json:"data"`      // the folder of the recording
	Addresses []string `json:"addresses"` // of the homes, kept from one start to the next
}

const (
	layoutFile = "street.json"
	stateFile  = "registers.json"
	// saveEvery is how often the registers are written down. What a crash loses, the street makes up for.
	saveEvery = 10 * time.Second
	// holdRate is the rate of the energy clock, in seconds a second, above which registers hold still around
	// boundaries: a second of network and scheduling is then more than ten watt-hours of a roof.
	holdRate = 10
	seed     = 5
)

// Start opens the street, where it was if there was one.
func (m *Simulator) Start(dir string, n int, rules []byte, log *slog.Logger) ([]role.Simulated, func(), error) {
	r := energy.DefaultRules()
	if len(rules) > 0 {
		decoded, err := energy.DecodeRules(rules)
		if err != nil {
			return nil, nil, fmt.Errorf("street: %w", err)
		}
		r = decoded
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("street: %w", err)
	}
	clock := r.Clock
	now := func() int64 { return int64(clock.AtMilli(uint64(time.Now().UnixMilli()))) }
	old, err := m.layout(dir, now()/1000)
	if err != nil {
		return nil, nil, err
	}
	recording, err := (&Simulator{old.Data}).recording()
	if err != nil {
		return nil, nil, err
	}
	cfg := Config{
		Homes: Profiles(n), Cell: energy.LocalCell, Altitude: 4, Seed: seed, Begin: old.Begin, Now: now, Hold: clock.Rate > holdRate, Recording: recording,
		Listen: func(home int) (net.Listener, error) {
			if home <= len(old.Addresses) {
				if l, err := net.Listen("tcp", old.Addresses[home-1]); err == nil {
					return l, nil
				}
			}
			return net.Listen("tcp", "127.0.0.1:0") // somebody took it
		},
	}
	if recording != nil {
		cfg.Homes, cfg.Cell, cfg.Altitude = recording.Profiles(n), recording.Cell, recording.Altitude
	}
	s, err := Open(cfg)
	if err != nil {
		return nil, nil, err
	}
	if err := s.resume(filepath.Join(dir, stateFile)); err != nil {
		s.Close()
		return nil, nil, err
	}
	old.Addresses = nil
	devices := make([]role.Simulated, n)
	for i, h := range s.Homes() {
		old.Addresses = append(old.Addresses, h.Address())
		devices[i] = role.Simulated{Name: fmt.Sprintf("home %d", i+1), Cell: cfg.Cell, Settings: h.Settings()}
	}
	if err := replace(filepath.Join(dir, layoutFile), &old); err != nil {
		s.Close()
		return nil, nil, err
	}
	return devices, s.keep(filepath.Join(dir, stateFile), log), nil
}

// layout reads what the folder says, or says what a street is that begins now.
func (m *Simulator) layout(dir string, now int64) (l layout, err error) {
	data := m.Data
	if data != "" {
		if data, err = filepath.Abs(data); err != nil {
			return l, fmt.Errorf("street: %w", err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, layoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return layout{Begin: now, Data: data}, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil {
		return l, fmt.Errorf("street: %s: %w", layoutFile, err)
	}
	if data != "" && data != l.Data {
		return l, fmt.Errorf("street: it began with the data %q, not %q: registers cannot change to another year: choose another home", l.Data, data)
	}
	return l, nil
}

// resume takes over what the street had come to.
func (s *Street) resume(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("street: %w", err)
	}
	return s.Restore(raw)
}

// keep writes the registers down from time to time until the returned function is called, which closes the street.
func (s *Street) keep(path string, log *slog.Logger) (stop func()) {
	quit := make(chan struct{})
	var task sync.WaitGroup
	save := func() {
		if err := replace(path, json.RawMessage(s.Save())); err != nil {
			log.Error("the street's registers are not written down", "error", err)
		}
	}
	task.Go(func() {
		tick := time.NewTicker(saveEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				save()
			case <-quit:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(quit)
		task.Wait()
		s.Close()
		save()
	})
}

// replace writes v as JSON: after a crash the file is the old one or the new one.
func replace(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("street: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".street-*")
	if err != nil {
		return fmt.Errorf("street: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("street: write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("street: %w", err)
	}
	return nil
}
