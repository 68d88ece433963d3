package provider

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cairn-network/cairn/service/energy/provider/source"
)

// Bounds of a scan.
const (
	scanFor    = 20 * time.Second
	scanners   = 64 // addresses that are asked at a time
	maxScanned = 4 * 254
	dialFor    = 500 * time.Millisecond
	askFor     = 2 * time.Second
	maxUnits   = 3 // unit numbers that are tried at an address, from 1: gateways number their meters so
	modbusPort = 502
)

// candidate is a meter that a scan found, and what it seems to measure.
type candidate struct {
	role    source.Role
	address string
	unit    uint8
	channel uint8 // which of the unit's devices of its sort
	meter   source.Meter
	rating  uint32
	storage uint32
}

// localAddresses lists the addresses of the machine's private IPv4 networks, at most maxScanned: of each
// network, those that share their first 24 bits with the machine, but for itself.
func localAddresses() ([]string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().Is4() || !prefix.Addr().IsPrivate() || prefix.Bits() > 30 {
			continue
		}
		network := netip.PrefixFrom(prefix.Addr(), max(prefix.Bits(), 24)).Masked()
		for at := network.Addr().Next(); network.Contains(at.Next()) && len(list) < maxScanned; at = at.Next() { // all but the broadcast address
			if at != prefix.Addr() {
				list = append(list, netip.AddrPortFrom(at, modbusPort).String())
			}
		}
	}
	return list, nil
}

// private reports whether an address may be asked without anybody's leave: the machine's own or a private one.
func private(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && (a.Addr().IsPrivate() || a.Addr().IsLoopback())
}

// scan asks addresses (host:port) what is there, and sorts what answers by role: of meters behind an address
// that has an inverter too, and of any others, the first is taken to be the grid's. Addresses that are not
// private are left out.
func scan(ctx context.Context, addresses []string) []candidate {
	ctx, cancel := context.WithTimeout(ctx, scanFor)
	defer cancel()
	var mu sync.Mutex
	var found []candidate
	var group sync.WaitGroup
	slots := make(chan struct{}, scanners)
	for _, address := range addresses[:min(len(addresses), maxScanned)] {
		if !private(address) || ctx.Err() != nil {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			list := units(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			found = append(found, list...)
		})
	}
	group.Wait()
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.address, b.address), cmp.Compare(a.unit, b.unit), cmp.Compare(a.channel, b.channel))
	})
	grid := false
	for i := range found {
		if found[i].role == source.Grid && grid {
			found[i].role = source.Battery // a second meter: what else would one meter
		} else if found[i].role == source.Grid {
			grid = true
		}
	}
	return found
}

// units asks the units behind an address what they are.
func units(ctx context.Context, address string) (list []candidate) {
	conn, err := (&net.Dialer{Timeout: dialFor}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil
	}
	conn.Close()
	for unit := uint8(1); unit <= maxUnits; unit++ {
		found, err := source.Probe(ctx, "tcp://"+address, unit, askFor)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return list
		}
		if err != nil {
			continue
		}
		for i := range found {
			for _, c := range candidatesOf(&found[i]) {
				c.address, c.unit = "tcp://"+address, unit
				list = append(list, c)
			}
		}
	}
	return list
}

// candidatesOf says what a device seems to measure: an inverter that has a meter's models as well, two things.
func candidatesOf(f *source.Found) (list []candidate) {
	c := candidate{meter: f.Meter, rating: f.Rating, storage: f.Storage}
	if f.Inverter {
		c.role, c.channel = source.PV, f.Channel
		if f.Charges && f.Storage > 0 {
			c.role = source.Battery
		}
		list = append(list, c)
	}
	if f.Counts {
		c.role, c.channel = source.Grid, f.Meters
		list = append(list, c)
	}
	return list
}
