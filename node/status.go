package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// Status is what a node says of itself. Amounts are ustone, as strings.
type Status struct {
	Device    types.Key        `json:"device"`
	Owner     types.Account    `json:"owner"`
	Chain     string           `json:"chain"`
	Region    types.Region     `json:"region"`
	Online    bool             `json:"online"`
	Problem   string           `json:"problem,omitempty"` // why it is not online
	Reason    types.Reason     `json:"reason,omitempty"`
	Epoch     types.Epoch      `json:"epoch"`
	Height    uint64           `json:"height"`
	Skew      int64            `json:"clock_skew_seconds"` // of this machine's clock against the chain's
	Remarks   []role.Remark    `json:"remarks,omitempty"`  // what is wrong with the home
	Providers []ProviderStatus `json:"providers"`
	Earned    Earned           `json:"earned"`
	Pending   int              `json:"pending"` // items that wait to be acknowledged
	Bytes     int              `json:"pending_bytes"`
	Submitted uint64           `json:"submitted"` // since the start
	Acked     uint64           `json:"acked"`
	Counted   uint64           `json:"counted"` // by tallies since the start
	Refused   []Refused        `json:"refused"`
	Next      string           `json:"next"` // the next step that would help
}

// ProviderStatus is one category's.
type ProviderStatus struct {
	Category string `json:"category"`
	State    string `json:"state"`
	Error    string `json:"error,omitempty"`
	Restarts int    `json:"restarts"`
	Quality  *int   `json:"quality_bp,omitempty"` // basis points, in the newest tally
	Fell     int    `json:"quality_fell"`         // in how many tallies in a row
	// Remarks are what the provider has to say to the owner now.
	Remarks []role.Remark `json:"remarks,omitempty"`
	Serves  []string      `json:"serves,omitempty"` // what it sells now
}

// Earned is what tallies have given the device.
type Earned struct {
	Today types.Ustone `json:"today_ustone,string"` // since midnight UTC
	Total types.Ustone `json:"total_ustone,string"` // in the newest tally
	Final types.Ustone `json:"final_ustone,string"` // of which can be claimed, if it has not been
}

// Refused counts refusals of one reason since the start.
type Refused struct {
	Reason types.Reason `json:"reason"`
	Count  uint64       `json:"count"`
	Epoch  types.Epoch  `json:"epoch"` // the newest
	What   string       `json:"what"`
	Try    string       `json:"try"`
}

// maxReasons bounds how many reasons are told apart; further ones count as "other".
const maxReasons = 256

// status collects what Status shows. All methods are safe for concurrent use.
type status struct {
	mu       sync.Mutex
	earnings Earned
	sent     uint64
	settled  uint64
	counted  uint64
	refused  map[types.Reason]*Refused
	quality  map[types.Category]types.Bp
	fell     map[types.Category]int // tallies in a row
}

func newStatus() *status {
	return &status{refused: map[types.Reason]*Refused{}, quality: map[types.Category]types.Bp{}, fell: map[types.Category]int{}}
}

func (s *status) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *status) submitted()  { s.do(func() { s.sent++ }) }
func (s *status) acked(n int) { s.do(func() { s.settled += uint64(n) }) }
func (s *status) final(a types.Ustone) {
	s.do(func() { s.earnings.Final = a })
}

func (s *status) earned(total, today types.Ustone) {
	s.do(func() { s.earnings.Total, s.earnings.Today = total, today })
}

func (s *status) refuse(r types.Reason, e types.Epoch, n uint64) {
	s.do(func() { s.refuseLocked(r, e, n) })
}

func (s *status) refuseLocked(r types.Reason, e types.Epoch, n uint64) {
	if s.refused[r] == nil {
		if len(s.refused) >= maxReasons {
			r = "other"
		}
		if s.refused[r] == nil {
			s.refused[r] = &Refused{Reason: r}
		}
	}
	s.refused[r].Count += n
	s.refused[r].Epoch = max(s.refused[r].Epoch, e)
}

// judged takes in what a tally made of the device's items.
func (s *status) judged(r *bus.Refusals) {
	s.do(func() {
		s.counted += r.Counted
		for _, f := range r.Refused {
			if f.Reason != types.Superseded { // that is how receipts are meant to go
				s.refuseLocked(f.Reason, r.Epoch, 1)
			}
		}
		before := maps.Clone(s.quality)
		clear(s.quality)
		for _, q := range r.Quality {
			if was, known := before[q.Category]; known && q.Bp < was {
				s.fell[q.Category]++
			} else {
				s.fell[q.Category] = 0
			}
			s.quality[q.Category] = q.Bp
		}
	})
}

// Status returns what the node says of itself now.
func (n *Node) Status() Status {
	out := Status{Device: n.key.Public(), Owner: n.config.Owner, Chain: n.agent.Chain(), Region: n.agent.Region(), Online: n.agent.Bus() != nil}
	out.Pending, out.Bytes = n.outbox.Size()
	if err := n.agent.Problem(); err != nil && !out.Online {
		out.Problem, out.Reason = err.Error(), types.ReasonOf(err)
	}
	if notice := n.agent.Notice(); notice != nil {
		out.Epoch, out.Height, out.Skew = notice.Epoch, notice.Height, n.agent.Heard().Unix()-int64(notice.Time)
	}
	table := map[types.Reason]types.ReasonInfo{}
	for _, r := range types.Reasons() {
		table[r.Reason] = r
	}
	for _, r := range n.providers {
		for _, info := range r.provider.Reasons {
			table[info.Reason] = info
		}
	}
	s := n.status
	s.mu.Lock()
	out.Earned, out.Submitted, out.Acked, out.Counted = s.earnings, s.sent, s.settled, s.counted
	for _, r := range s.refused {
		line := *r
		line.What, line.Try = table[r.Reason].Sentence, table[r.Reason].Try
		out.Refused = append(out.Refused, line)
	}
	quality, fell := maps.Clone(s.quality), maps.Clone(s.fell)
	s.mu.Unlock()
	out.Remarks = n.remarks()
	slices.SortFunc(out.Refused, func(a, b Refused) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	for _, r := range n.providers {
		p := r.status(quality)
		p.Fell, p.Remarks = fell[r.provider.Category], r.remarks(table)
		if r.provider.Serves != nil {
			p.Serves = r.provider.Serves()
			p.Serves = p.Serves[:min(len(p.Serves), role.MaxRemarks)]
		}
		out.Providers = append(out.Providers, p)
	}
	out.Next = next(&out)
	return out
}

// remarks are what the provider has to say, with what to do about each: first what became of its folder, where
// it does not know.
func (r *runner) remarks(table map[types.Reason]types.ReasonInfo) []role.Remark {
	var list []role.Remark
	if r.provider.Remarks != nil {
		list = r.provider.Remarks()
	}
	r.files.addDir(r.dir)
	list = slices.Concat(r.files.changed(), list)
	list = list[:min(len(list), role.MaxRemarks)]
	for i := range list {
		list[i].Try = cmp.Or(list[i].Try, table[list[i].Reason].Try)
	}
	return list
}

func (r *runner) status(quality map[types.Category]types.Bp) ProviderStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := ProviderStatus{Category: r.provider.Category.String(), State: string(r.state), Restarts: r.restarts}
	if r.err != nil {
		p.Error = r.err.Error()
	}
	if q, ok := quality[r.provider.Category]; ok {
		bp := int(q)
		p.Quality = &bp
	}
	return p
}

// maxSkew is from where on a wrong clock is worth a word, in seconds; blocks and messages take their time.
const maxSkew = 120

// next says the step that would help most, the most urgent first.
func next(s *Status) string {
	switch {
	case len(s.Remarks) > 0:
		return s.Remarks[0].Text + ". " + s.Remarks[0].Try
	case s.Reason == types.NotPermitted:
		return "The network does not know this device: its owner registers it with the claim code (`cairn-node code`)."
	case !s.Online:
		return "The bus cannot be reached. What this device signs is kept and sent when it is back. Check the network and the address in node.yaml."
	case s.Epoch == 0:
		return "No notice is believed yet. If this lasts, the verifiers have changed since the device was set up: join anew, with the network's newest manifest (`cairn-node init --network`)."
	case s.Skew > maxSkew || s.Skew < -maxSkew:
		return fmt.Sprintf("This machine's clock is %d seconds off. It does no harm here, but mend it.", s.Skew)
	}
	for _, p := range s.Providers {
		if p.State == "resting" {
			return fmt.Sprintf("The provider of %s failed: %s", p.Category, p.Error)
		}
	}
	for _, p := range s.Providers {
		for _, r := range p.Remarks {
			if r.Try != "" {
				return fmt.Sprintf("%s (%s): %s", p.Category, r.Reason, r.Try)
			}
		}
	}
	for _, r := range s.Refused {
		if r.Epoch+2 >= s.Epoch && r.Try != "" {
			return fmt.Sprintf("Refused lately (%s): %s", r.Reason, r.Try)
		}
	}
	for _, p := range s.Providers {
		switch {
		case p.Fell > 0 && p.Quality != nil:
			return fmt.Sprintf("The quality of %s has been falling, to %s: something that it should have proven it did not. Its log says what (`cairn-node run --log debug`).", p.Category, percent(*p.Quality))
		case p.Quality != nil && *p.Quality < int(role.FairQuality):
			return fmt.Sprintf("The quality of %s is %s: below %s customers choose other devices first. It follows from what the device proves (service/%s/SPEC.md says how).",
				p.Category, percent(*p.Quality), percent(int(role.FairQuality)), p.Category)
		}
	}
	if s.Earned.Final > 0 {
		return "Nothing needs to be done. The owner can claim what is final: `cairn claim --all`."
	}
	return "Nothing needs to be done. Earnings show after the first tally that counts this device's work."
}

func percent(bp int) string { return fmt.Sprintf("%d.%02d %%", bp/100, bp%100) }
