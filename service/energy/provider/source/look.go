package source

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Look is what a meter says when it is set up.
type Look struct {
	Reading  *Reading
	Channels []Channel // of a device that has several; nil for one that has not, or says no power
}

// Channel is a channel of a device, and what flows through it.
type Channel struct {
	Number uint8
	Watts  int64
}

const (
	maxChannels = 8
	lookFor     = 15 * time.Second // for a meter that is asked, or speaks every second or ten …
	listenFor   = 65 * time.Second // … and for one that speaks every minute
	lookAgain   = time.Second
	lookErrors  = 3 // in a row, after which a meter is given up
)

// TakeALook reads a meter once for its owner: until all registers of its role are there, or for as long as that
// can take.
func TakeALook(ctx context.Context, c Config) (*Look, error) {
	src, err := Open(c)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	s := src.(*mapped)
	limit := lookFor
	if s.m.Protocol == "mqtt" {
		limit = listenFor
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var look *Look
	for failed := 0; ctx.Err() == nil && failed < lookErrors; {
		r, e := s.Read(ctx)
		if e != nil {
			if failed++; ctx.Err() == nil {
				err = e
				wait(ctx, lookAgain)
			}
			continue
		}
		failed = 0
		look = &Look{Reading: r, Channels: s.channels()}
		if len(r.Sent) == 0 || s.m.Protocol == "sunspec" { // which says all at once
			return look, nil
		}
		wait(ctx, lookAgain)
	}
	if look != nil {
		return look, nil
	}
	if err == nil {
		err = errors.New("nothing came from it")
	}
	return nil, err
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// channels lists what flows through each channel, as of the last reading.
func (s *mapped) channels() (list []Channel) {
	numbers := false
	for _, path := range s.m.Power.Path {
		numbers = numbers || strings.Contains(path, numbered)
	}
	for n := uint8(0); numbers && n < maxChannels; n++ {
		if counters, _ := s.m.Power.find(s.last, nil, &choice{channel: &n}, 0); counters != nil {
			list = append(list, Channel{n, watts(counters)})
		}
	}
	if len(list) < 2 {
		return nil
	}
	return list
}

// watts adds powers up.
func watts(list []Counter) (sum int64) {
	for _, c := range list {
		if n, ok := c.Value.Times(c.Scale); ok {
			if w, ok := n.Floor(0); ok {
				sum += w
			}
		}
	}
	return sum
}
