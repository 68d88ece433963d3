package tally

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/types"
)

// HashChanges returns the header's Registry: SHA-256 of EncodeChanges.
func HashChanges(changes []Change) types.Hash { return types.Sum(EncodeChanges(changes)) }

// EncodeChanges returns changes as a CBOR sequence (RFC 8742) of byte strings, each of which holds one change.
func EncodeChanges(changes []Change) []byte {
	b := make([]byte, 0, 128*len(changes))
	for i := range changes {
		b = types.AppendBytes(b, types.Encode(&changes[i]))
	}
	return b
}

// AddChanges goes on with a sum of changes, which is zero at first: SHA-256 of the sum so far and the encoding
// of the next change. The chain keeps it for each epoch and region, so that one proof shows what all changes of
// an epoch were.
func AddChanges(sum types.Hash, changes []Change) types.Hash {
	for i := range changes {
		sum = types.Sum(sum[:], types.Encode(&changes[i]))
	}
	return sum
}

// maxChange bounds the encoding of one change, in bytes.
const maxChange = 1024

// DecodeChanges reads what EncodeChanges wrote.
func DecodeChanges(raw []byte) ([]Change, error) {
	var out []Change
	for c := types.NewCursor(raw); c.Len() > 0; {
		one := c.Bytes()
		if c.Err() != nil {
			return nil, types.Refuse(types.BadEncoding, "tally: change %d", len(out))
		}
		var change Change
		if err := types.DecodeLimit(one, &change, maxChange); err != nil {
			return nil, fmt.Errorf("tally: change %d: %w", len(out), err)
		}
		if _, _, ok := change.target(); !ok {
			return nil, types.Refuse(types.BadEncoding, "tally: change %d is not one change", len(out))
		}
		out = append(out, change)
	}
	return out, nil
}

// target returns the record that a change is about, and whether the change has exactly one field set.
func (c *Change) target() (id tableID, key []byte, ok bool) {
	n := 0
	if c.Device != nil {
		id, key, n = deviceTable, c.Device.Key[:], n+1
	}
	if !c.Remove.IsZero() {
		id, key, n = deviceTable, c.Remove[:], n+1
	}
	if c.Holder != nil {
		id, key, n = accountTable, c.Holder.Account[:], n+1
	}
	if c.Grant != nil {
		id, key, n = keyTable, c.Grant.Key[:], n+1
	}
	if c.Attester != nil {
		id, key, n = attesterTable, c.Attester.Key[:], n+1
	}
	return id, key, n == 1
}

// view makes the registry view of the epoch.
func (r *run) view() error {
	order := make([]int, len(r.changes))
	for i := range order {
		order[i] = i
		if _, _, ok := r.changes[i].target(); !ok {
			return fmt.Errorf("change %d is not one change", i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		ida, keya, _ := r.changes[a].target()
		idb, keyb, _ := r.changes[b].target()
		if ida != idb {
			return int(ida) - int(idb)
		}
		return bytes.Compare(keya, keyb)
	})
	base := *r.prev
	var all [tables]edits
	for len(order) > 0 {
		id, key, _ := r.changes[order[0]].target()
		n := 1
		for n < len(order) {
			if idn, keyn, _ := r.changes[order[n]].target(); idn != id || !bytes.Equal(key, keyn) {
				break
			}
			n++
		}
		val, err := r.change(id, r.prev.tables[id].get(key), order[:n])
		if err != nil {
			return fmt.Errorf("change of %x: %w", key, err)
		}
		all[id].set(key, val)
		order = order[n:]
	}
	for id := range all {
		base.tables[id] = base.tables[id].apply(r.Pool, tableID(id), []edits{all[id]})
	}
	r.base = &base
	next := base
	r.next = &next
	return nil
}

// change applies changes of one record, in order, and returns its new value. old is nil for a new one.
func (r *run) change(id tableID, old []byte, changes []int) ([]byte, error) {
	var (
		line   Line
		money  Balance
		key    KeyState
		att    attester
		err    error
		exists = old != nil
	)
	switch {
	case !exists:
	case id == deviceTable:
		err = line.parse(old)
	case id == accountTable:
		err = money.parse(old)
	case id == keyTable:
		err = key.parse(old)
	case id == attesterTable:
		err = att.parse(old)
	}
	for _, i := range changes {
		if err != nil {
			return nil, err
		}
		switch c := &r.changes[i]; {
		case c.Device != nil:
			err = line.register(c.Device)
		case !c.Remove.IsZero():
			if !exists || line.Removed != 0 {
				err = fmt.Errorf("a device that is not registered leaves")
			}
			line.Removed = r.frame.Epoch
		case c.Holder != nil:
			if c.Holder.Bought < money.Bought {
				err = fmt.Errorf("what was bought falls from %d to %d", money.Bought, c.Holder.Bought)
			}
			money.Bought = c.Holder.Bought
		case c.Grant != nil:
			if exists && key.Account != c.Grant.Account {
				err = fmt.Errorf("a key of %v goes to %v", key.Account, c.Grant.Account)
			}
			key.Account, key.Limit, key.Expiry = c.Grant.Account, c.Grant.Limit, c.Grant.Expiry
		case c.Attester != nil:
			att.VRF, att.Owner, att.Power = c.Attester.VRF, c.Attester.Owner, c.Attester.Power
		}
		exists = true
	}
	if err != nil {
		return nil, err
	}
	switch id {
	case deviceTable:
		return line.append(nil), nil
	case accountTable:
		return money.append(nil), nil
	case keyTable:
		return key.append(nil), nil
	default:
		return att.append(nil), nil
	}
}

// register takes over what the registry says of a device.
func (l *Line) register(d *Device) error {
	if l.Removed != 0 {
		return fmt.Errorf("a device that left comes back")
	}
	for i := range d.Categories {
		if i > 0 && d.Categories[i] <= d.Categories[i-1] {
			return fmt.Errorf("categories are not ascending")
		}
	}
	if len(d.Categories) > maxCategories {
		return fmt.Errorf("%d categories", len(d.Categories))
	}
	if err := fleet.Bound(&d.Fleet); err != nil {
		return err
	}
	l.Owner, l.Categories, l.Cell, l.Model = d.Owner, slices.Clone(d.Categories), d.Cell, d.Model
	l.Bond, l.Slashed, l.Suspended, l.Fleet = d.Bond, d.Slashed, d.Suspended, d.Fleet
	return nil
}
