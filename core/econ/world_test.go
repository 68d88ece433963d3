package econ_test

import (
	"fmt"

	"github.com/cairn-network/cairn/core/econ"
	"github.com/cairn-network/cairn/core/types"
)

// rules are the points at which an economy can be built differently. The zero value is this package's; planted
// mistakes replace one of them.
type rules struct {
	weigh  func([]econ.Effort, econ.Density) ([]types.U128, error)
	settle func(econ.Vault, *econ.Params, econ.Spending) (econ.Vault, econ.Split, error)
	emit   func(*econ.Params, econ.Day, econ.Work, econ.Spending) (econ.Emission, error)
	finish func(econ.Split, econ.Emission) (econ.Settlement, error)
	pay    func(nodes []node, amount []types.Ustone) // may change what devices are paid in an epoch
}

func (r rules) orOwn() rules {
	if r.weigh == nil {
		r.weigh = econ.Weigh
	}
	if r.settle == nil {
		r.settle = econ.Settle
	}
	if r.emit == nil {
		r.emit = func(p *econ.Params, d econ.Day, w econ.Work, _ econ.Spending) (econ.Emission, error) {
			return econ.Emit(p, d, w)
		}
	}
	if r.finish == nil {
		r.finish = econ.Finish
	}
	if r.pay == nil {
		r.pay = func([]node, []types.Ustone) {}
	}
	return r
}

// node is a device: its place, its owner's wallet, what the network ordered of it in each epoch, and what
// customers pay it.
type node struct {
	category types.Category
	cell     int
	wallet   int
	effort   econ.Effort
	paid     []types.Credit // by epoch
}

// scenario is a short history. Prices, deposits and payments have one entry for each epoch.
type scenario struct {
	params  *econ.Params
	start   types.Epoch
	day     econ.Day
	vault   econ.Vault
	price   []uint64
	deposit []types.Ustone // bought, at lo = hi = price
	nodes   []node
}

// clone returns a copy whose nodes and deposits may be changed.
func (s scenario) clone() scenario {
	s.nodes = append([]node(nil), s.nodes...)
	for i := range s.nodes {
		s.nodes[i].paid = append([]types.Credit(nil), s.nodes[i].paid...)
	}
	s.deposit = append([]types.Ustone(nil), s.deposit...)
	return s
}

// epoch is what happened in one epoch.
type epoch struct {
	before, after econ.Vault
	spending      econ.Spending
	work          econ.Work
	split         econ.Split
	emission      econ.Emission
	allotted      types.Ustone
	amount        []types.Ustone // by node
	settled       types.Credit   // by the fold
	minted        uint64         // what came into being: paid to anybody and not taken from the vault
}

// outcome is what a scenario comes to.
type outcome struct {
	epochs  []epoch
	owed    []types.Credit // by node, after the last epoch
	amount  []types.Ustone // by node, cumulative
	roles   types.Ustone   // to verifiers and treasury
	supply  types.Ustone
	crashed bool // some epoch could not settle everything, or had to mint
}

// run plays a scenario.
func run(r rules, s scenario) (outcome, error) {
	r = r.orOwn()
	vault := s.vault
	out := outcome{owed: make([]types.Credit, len(s.nodes)), amount: make([]types.Ustone, len(s.nodes)), supply: s.day.Supply}
	for i, price := range s.price {
		vault.Stone += s.deposit[i]
		credits, err := econ.MulDiv(uint64(s.deposit[i]), price, 1_000_000_000)
		if err != nil {
			return outcome{}, err
		}
		vault.Bought += types.Credit(credits)
		e, err := out.step(r, s, i, vault)
		if err != nil {
			return outcome{}, fmt.Errorf("epoch %d: %w", i, err)
		}
		vault = e.after
		out.epochs = append(out.epochs, e)
	}
	return out, nil
}

// step plays epoch i.
func (o *outcome) step(r rules, s scenario, i int, vault econ.Vault) (epoch, error) {
	e := epoch{before: vault, amount: make([]types.Ustone, len(s.nodes))}
	e.spending = econ.Spending{Supply: o.supply, Price: s.price[i]}
	for _, k := range s.params.Category {
		e.spending.Paid = append(e.spending.Paid, econ.Paid{Category: k.Category})
	}
	for n, node := range s.nodes {
		o.owed[n] += node.paid[i]
		e.spending.Owed += o.owed[n]
		for k := range e.spending.Paid {
			if e.spending.Paid[k].Category == node.category {
				e.spending.Paid[k].Amount += node.paid[i]
			}
		}
	}
	weights, total, err := weigh(r, s)
	if err != nil {
		return epoch{}, err
	}
	if e.after, e.split, err = r.settle(vault, s.params, e.spending); err != nil {
		return epoch{}, err
	}
	e.work = econ.Work{Epoch: s.start + types.Epoch(i), Price: s.price[i], Bonus: e.split.Bonus, Demand: e.split.Demand, Weight: total}
	if e.emission, err = r.emit(s.params, s.day, e.work, e.spending); err != nil {
		return epoch{}, err
	}
	settlement, err := r.finish(e.split, e.emission)
	if err != nil {
		return epoch{}, err
	}
	fold, err := econ.NewFold(settlement, total)
	if err != nil {
		return epoch{}, err
	}
	if _, e.allotted, err = fold.Allotted(e.spending.Owed); err != nil {
		return epoch{}, err
	}
	var paid types.Ustone
	for n, node := range s.nodes {
		g, amount, err := fold.Device(o.owed[n], []econ.Weight{{Category: node.category, Weight: weights[n]}})
		if err != nil {
			return epoch{}, err
		}
		e.amount[n] = amount
		e.settled += g
		o.owed[n] -= g
	}
	r.pay(s.nodes, e.amount)
	for n, a := range e.amount {
		o.amount[n] += a
		paid += a
	}
	roles := e.split.Verifiers + e.split.Treasury
	o.roles += roles
	e.minted = uint64(max(paid+roles, e.split.Drawn)-e.split.Drawn) + uint64(e.emission.Security)
	o.supply += types.Ustone(e.minted) - e.split.Burn
	o.crashed = o.crashed || e.split.Settled < e.split.Owed || e.split.Mint > 0
	return e, nil
}

// weigh returns the nodes' weights and the sums by category.
func weigh(r rules, s scenario) ([]types.U128, []econ.Weight, error) {
	weights := make([]types.U128, len(s.nodes))
	var total []econ.Weight
	for k := range s.params.Category {
		cat := &s.params.Category[k]
		sum := econ.Weight{Category: cat.Category}
		for cell := range cells {
			var who []int
			var efforts []econ.Effort
			for n, node := range s.nodes {
				if node.category == cat.Category && node.cell == cell {
					who, efforts = append(who, n), append(efforts, node.effort)
				}
			}
			if len(who) == 0 {
				continue
			}
			ws, err := r.weigh(efforts, cat.Density)
			if err != nil {
				return nil, nil, err
			}
			for j, n := range who {
				weights[n] = ws[j]
				if sum.Weight, err = sum.Weight.Add(ws[j]); err != nil {
					return nil, nil, err
				}
			}
		}
		total = append(total, sum)
	}
	return weights, total, nil
}

const cells = 2

// source draws numbers, lo to hi inclusive.
type source func(lo, hi uint64) uint64

// size draws a number of random magnitude, at most 10^digits.
func (d source) size(digits uint64) uint64 {
	limit := uint64(1)
	for range d(0, digits) {
		limit *= 10
	}
	return d(0, limit)
}

// twoCategories are the defaults with a dense and a plain category only.
func twoCategories() *econ.Params {
	p := econ.Six()
	p.Category = []econ.Category{*p.Find(types.Wireless), *p.Find(types.Compute)}
	return &p
}

var shared = twoCategories()

// draw draws a scenario of at most four epochs and six nodes; steady keeps one price.
func draw(d source, steady bool) scenario {
	s := scenario{params: shared, start: types.Epoch(d.size(6))}
	supply := econ.GenesisSupply + types.Ustone(d(0, 400_000_000_000_000))
	s.day = econ.Genesis(supply).Advance(d(0, 40), supply)
	s.vault = econ.Vault{
		Stone: types.Ustone(d.size(13)), Allowance: types.Ustone(d.size(9)), Bought: 1 << 60,
		Demand: []econ.Demand{{Category: types.Wireless, Spent: types.Credit(d.size(12))}, {Category: types.Compute, Spent: types.Credit(d.size(12))}},
	}
	epochs := int(d(1, 4))
	price := 1_000_000 + d.size(10)
	for range epochs {
		if !steady {
			price = 1_000_000 + d.size(10)
		}
		s.price = append(s.price, price)
		s.deposit = append(s.deposit, types.Ustone(d.size(11)))
	}
	for range d(1, 6) {
		n := node{category: types.Wireless, cell: int(d(0, cells-1)), wallet: int(d(0, 1))}
		units := d.size(9)
		if d(0, 3) == 0 {
			n.category, units = types.Compute, d.size(5)
		}
		n.effort = econ.Effort{Units: types.U64(units), Quality: types.Bp(d(0, econ.Bps))}
		for range epochs {
			n.paid = append(n.paid, types.Credit(d.size(9)))
		}
		s.nodes = append(s.nodes, n)
	}
	return s
}
