package manifest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

const (
	followEvery = time.Hour       // asks for a newer manifest
	followSoon  = 5 * time.Minute // after a failure
)

// Published returns where of where is a URL, "" if it is a file: only what is published can be asked for again.
func Published(where string) string {
	if strings.Contains(where, "://") {
		return where
	}
	return ""
}

// Follow keeps the manifest of a home up to the one that is published at a URL, until ctx ends: it asks now,
// and then about every hour. changed is called with each newer one, also with one that somebody else kept in
// the home meanwhile. One that another key signed is not taken, and the log says so. Without a URL only the
// home is looked at.
func Follow(ctx context.Context, home, url string, log *slog.Logger, changed func(*Manifest)) {
	follow(ctx, home, url, log, changed, followEvery, followSoon)
}

func follow(ctx context.Context, home, url string, log *slog.Logger, changed func(*Manifest), every, soon time.Duration) {
	var last types.Signature
	if kept, err := Load(home); err == nil {
		last = kept.Signature
	}
	said := ""
	for {
		wait := every
		if err := refresh(ctx, home, url); err != nil {
			wait = soon
			if text := err.Error(); text != said && ctx.Err() == nil {
				log.Warn("no newer manifest is to be had; the one in the home stays", "from", url, "error", err)
				said = text
			}
		} else {
			said = ""
		}
		if kept, err := Load(home); err == nil && kept.Signature != last {
			last = kept.Signature
			log.Info("the home has a newer manifest", "published", time.Unix(int64(kept.Manifest.Published), 0).UTC(), "buses", kept.Manifest.Buses)
			changed(&kept.Manifest)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait - rand.N(wait/8+1)): // not all at once
		}
	}
}

// refresh keeps what is published at a URL, if it is newer.
func refresh(ctx context.Context, home, url string) error {
	if url == "" {
		return nil
	}
	s, err := Fetch(ctx, url)
	if err == nil {
		err = Keep(home, s, types.Key{})
	}
	if types.ReasonOf(err) == types.StaleManifest {
		return nil // whoever publishes is behind what the home was given
	}
	return err
}

// Buses is where a bus is, for whoever stays on it while manifests change.
type Buses struct {
	own []string // named beside the manifest, tried too
	log *slog.Logger

	mu   sync.Mutex
	now  Manifest
	link bus.Bus // of the last who dialled
}

// NewBuses begins with a manifest.
func NewBuses(m *Manifest, log *slog.Logger, own ...string) *Buses {
	b := &Buses{own: own, log: log}
	b.Set(m)
	return b
}

// Dial logs a key on to the bus, which moves with the manifest until somebody dials anew.
func (b *Buses) Dial(ctx context.Context, key types.PrivateKey) (bus.Bus, error) {
	b.mu.Lock()
	config := b.now.Bus()
	b.mu.Unlock()
	link, err := bus.Dial(ctx, config, key, b.log)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.link = link
	if !slices.Equal(config.URLs, b.now.Buses) { // a newer one came meanwhile
		b.move()
	}
	return link, nil
}

// Set goes on with a newer manifest. Other certificates (bus_ca) count for those who dial from then on.
func (b *Buses) Set(m *Manifest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.now.Buses
	b.now = Manifest{Buses: slices.Clone(b.own), BusCA: m.BusCA}
	for _, server := range m.Buses {
		if !slices.Contains(b.now.Buses, server) {
			b.now.Buses = append(b.now.Buses, server)
		}
	}
	if !slices.Equal(before, b.now.Buses) {
		b.move()
	}
}

// move tells who is on the bus. The lock is held.
func (b *Buses) move() {
	if b.link == nil {
		return
	}
	if err := bus.Move(b.link, b.now.Buses); err != nil {
		b.log.Warn("the bus stays where it was", "error", err)
	}
}
