package customer

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

// maxObject bounds an object, in bytes: its manifest stays within pipeline.MaxManifest.
const maxObject = 1 << 40

// bound is how large an object can be, and why not larger.
type bound struct {
	bytes  uint64
	reason types.Reason
	why    string
}

func (b *bound) refuse(what string) error {
	return types.Refuse(b.reason, "%s, and at most %d bytes can be stored: %s", what, b.bytes, b.why)
}

// bound says what can be stored on chosen devices: what the format holds, what enough of the devices have room
// for, and of what an epoch can be paid.
func (a *account) bound(p pipeline.Profile, chosen []role.Offer) *bound {
	b := &bound{maxObject, types.Oversize, "no object is larger"}
	lower := func(most uint64, reason types.Reason, why string) {
		if most < b.bytes {
			b.bytes, b.reason, b.why = most, reason, why
		}
	}
	rooms, prices := make([]uint64, len(chosen)), make([]uint64, len(chosen))
	price := types.U128{}
	for i, o := range chosen {
		rooms[i] = math.MaxUint64
		if n, fits := o.Ask.Ask.Capacity.Uint64(); fits {
			rooms[i] = n
		}
		prices[i] = o.Ask.Ask.Price
		price, _ = price.Add(types.U64(o.Ask.Ask.Price)) // of no more than 256
	}
	slices.Sort(rooms)
	shard := rooms[len(rooms)-p.Success] // so much room have as many as are needed
	lower(min(shard, maxObject)*uint64(p.K), storage.TooFewDevices, fmt.Sprintf("%d devices have room for %d bytes each", p.Success, shard))
	left := a.wallet.Balance()
	paid := func(price uint64) uint64 { // of how many byte·epochs
		if price == 0 {
			return maxObject
		}
		n, err := types.U64(uint64(left)).MulDiv(storage.Scale, price)
		if bytes, fits := n.Uint64(); err == nil && fits {
			return min(bytes, maxObject)
		}
		return maxObject
	}
	if each, fits := price.Uint64(); fits {
		lower(paid(each)*uint64(p.K), types.OverBudget, fmt.Sprintf("an epoch of that costs the %d micro-credits that are left", left))
	}
	// A device takes what could be paid for as many epochs as it wants receipts for; a large object is held
	// part by part.
	slices.Sort(prices)
	if shard := paid(prices[p.Success-1]) / storage.SpareRungs; shard < commitEvery {
		lower(shard*uint64(p.K), types.OverBudget, fmt.Sprintf("with each device, %d epochs of that cost the %d micro-credits that are left", storage.SpareRungs, left))
	}
	return b
}

// failing is a reader that fails.
type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// within reads r up to a bound, and refuses what is beyond it.
type within struct {
	r     io.Reader
	left  uint64
	bound *bound
}

func (w *within) Read(p []byte) (int, error) {
	if uint64(len(p)) > w.left {
		p = p[:min(uint64(len(p)), w.left+1)]
	}
	n, err := w.r.Read(p)
	if uint64(n) > w.left { // for whoever reads on too
		w.r = failing{w.bound.refuse("more came")}
		return w.r.Read(nil)
	}
	w.left -= uint64(n)
	return n, err
}
