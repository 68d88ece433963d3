package customer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/role"
)

// maxShelves bounds how many models the gateway knows of. Devices may name what they like: of more, those stay
// that came first.
const maxShelves = 512

// shelves are the asks of class model, a book for each model. Devices weigh tokens as they like, so what is
// compared is four times what 10⁶ tokens cost of which three in four are of prompts (mix): of all that is sold
// as words, that is about how they come.
type shelves struct {
	secret [16]byte

	mu sync.RWMutex
	of map[string]*shelf
	by map[types.Key][]string // the models of a device
}

type shelf struct {
	book    *match.Book
	weights map[types.Key]compute.Profile
}

// mix is by what a device's price is multiplied to be compared with others'.
func mix(p compute.Profile) uint64 { return 3*uint64(p.Prompt) + uint64(p.Completion) }

const (
	mostWeight = 10_000
	mostPrice  = 1 << 40
)

// book returns the book of a profile's model, nil if nobody offers it.
func (s *shelves) book(profile string) *match.Book {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if sh := s.of[strings.TrimPrefix(profile, compute.ModelProfile)]; sh != nil {
		return sh.book
	}
	return nil
}

// weights returns how a device weighs a profile's tokens.
func (s *shelves) weights(profile string, device types.Key) (compute.Profile, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sh := s.of[strings.TrimPrefix(profile, compute.ModelProfile)]
	if sh == nil {
		return compute.Profile{}, false
	}
	p, ok := sh.weights[device]
	return p, ok
}

// models lists the models that somebody offers.
func (s *shelves) models() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.of))
}

// devices is how many devices offer any model.
func (s *shelves) devices() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.by)
}

// put takes in what is on offer now, in place of what was.
func (s *shelves) put(offers []role.Offer, passed []role.Passed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := map[string]map[types.Key]bool{}
	s.by = map[types.Key][]string{}
	keep := func(model string, device types.Key) {
		if has[model] == nil {
			has[model] = map[types.Key]bool{}
		}
		has[model][device] = true
		s.by[device] = append(s.by[device], model)
	}
	for i := range offers {
		o := &offers[i]
		ask := &o.Ask.Ask
		terms, err := compute.DecodeTerms(ask.Terms, compute.Model)
		if err != nil || ask.Price > mostPrice {
			continue
		}
		for _, p := range terms.Profiles {
			model := strings.TrimPrefix(p.Name, compute.ModelProfile)
			sh := s.of[model]
			if p.Prompt > mostWeight || p.Completion > mostWeight || sh == nil && len(s.of) >= maxShelves {
				continue
			}
			if sh == nil {
				sh = &shelf{book: match.NewBook(s.secret), weights: map[types.Key]compute.Profile{}}
				s.of[model] = sh
			}
			if !sh.book.Put(match.Ask{
				Device: ask.Device, Owner: o.Owner, Cell: o.Cell, Class: compute.Model, Price: types.Credit(ask.Price * mix(p)), Terms: ask.Hash(), Until: ask.Until, Quality: o.Quality,
			}) {
				continue
			}
			sh.weights[ask.Device] = p
			keep(model, ask.Device)
		}
	}
	for model, sh := range s.of {
		for _, p := range passed {
			if _, known := sh.weights[p.Device]; known && p.Reason == types.Suspended {
				sh.book.Suspend(p.Device, compute.Model)
				keep(model, p.Device)
			}
		}
		gone := func(d types.Key) bool { return !has[model][d] }
		sh.book.Keep(compute.Model, func(d types.Key) bool { return !gone(d) })
		maps.DeleteFunc(sh.weights, func(d types.Key, _ compute.Profile) bool { return gone(d) })
		if len(sh.weights) == 0 {
			delete(s.of, model)
		}
	}
}

// hear takes in what a device has free of its slots, which are the same for all of its models.
func (s *shelves) hear(device types.Key, free uint32, now int64) {
	s.each(device, func(b *match.Book) { b.Hear(device, compute.Model, free, now) })
}

func (s *shelves) each(device types.Key, f func(*match.Book)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, model := range s.by[device] {
		if sh := s.of[model]; sh != nil {
			f(sh.book)
		}
	}
}

// lookModels takes in the asks of class model.
func (c *Customer) lookModels(ctx context.Context) error {
	offers, passed, err := c.market.Offers(ctx, role.Want{Class: compute.Model})
	if err != nil {
		return err
	}
	c.shelves.put(offers, passed)
	for i := range offers {
		if b := offers[i].Beat; b != nil {
			c.heard(*b)
		}
	}
	return nil
}

// ranking returns the book in which a profile's devices are.
func (c *Customer) ranking(profile string) *match.Book {
	if compute.ClassOf(profile) != compute.Model {
		return c.book
	}
	if b := c.shelves.book(profile); b != nil {
		return b
	}
	return match.NewBook(c.shelves.secret) // an empty one
}

// priceOf is what a device that was found is paid per scale.
func (c *Customer) priceOf(profile string, found *match.Found) (uint64, error) {
	if compute.ClassOf(profile) != compute.Model {
		return uint64(found.Price), nil
	}
	p, ok := c.shelves.weights(profile, found.Ask.Device)
	if !ok {
		return 0, types.Refuse(compute.ModelDown, "compute: the device offers %s no more", profile)
	}
	m := mix(p)
	return max(uint64(found.Price)/m, uint64(found.Ask.Price)/m), nil
}
