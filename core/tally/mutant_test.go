package tally

import (
	"flag"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
)

var mutants = flag.Bool("mutants", false, "break each rule on purpose and see a test fail (minutes)")

// broken are rules broken on purpose: in each file one text is replaced by another, and the tests that hold the
// rule must fail.
var broken = []testutil.Mutant{
	// 1: the same bytes, however the work is split and the items arrive.
	{"part seams are put right", "page.go", "if len(c.out)+len(c.cur) == 0 || begins(p.first) {", "if true {", "Machine"},
	{"kept pages are whole runs", "page.go", "c.reopen()\n", "", "Machine"},
	{"the batch has one order", "apply.go", "return fmt.Errorf(\"item %d of the batch is out of order\", bad[k])", "", "Inputs"},
	{"orders have one order", "orders.go", "r.items[old].Seq >= o.Seq", "r.items[old].Seq > o.Seq", "Machine|Order"},
	// 2: what is paid is spent, nothing twice, nothing without accepted input.
	{"a session's total is kept", "budget.go", "Amount: c.Amount + c.amount, Seq", "Amount: c.Amount, Seq", "Machine"},
	{"accounts pay what devices get", "budget.go", "balance.Spent += sum", "balance.Spent += sum / 2", "Machine"},
	{"refused claims are not paid", "budget.go", "bool { return c.dropped }", "bool { return false }", "Machine|Receipt"},
	{"a fold happens once", "finish.go", "l.line.Settled += settled // at most what was paid", "", "Machine"},
	{"weights serve one fold", "finish.go", "l.line.Shares[i].Weight = types.U128{}", "_ = i", "Machine"},
	{"a key's limit binds", "budget.go", "r.share(g.claims, less(g.state.Limit, g.state.Spent, 0), types.OverLimit)", "", "Machine|Budget"},
	{"an account's credits bind", "budget.go", "r.share(claims, less(balance.Bought, balance.Spent, 0), types.OverBudget)", "", "Machine|Budget"},
	{"orders reserve after each other", "cross.go", "accounts[o.Account] += o.Reserved", "", "Machine|Order"},
	{"an order's purchases are kept", "cross.go", "o.line.Amount += f.Amount", "", "Machine|Order"},
	{"closed sessions stay closed", "receipts.go", "case s.Closed:", "case false:", "OpenClose"},
	{"forgotten sessions have ended", "orders.go", "last := r.prev.meta.Epoch", "last := r.frame.Epoch + 1", "Forget|Machine"},
	{"a session begins with its price", "budget.go", "if due < max(r.frame.MinOpening, 1) {", "if due < 0 {", "Openings"},
	{"an account begins with its last credits what it can", "budget.go", "if due < max(r.frame.MinOpening, 1) {", "if due >= 0 {", "Openings"},
	{"openings have credits behind them", "budget.go", "case unpaid[grant.Account] >= r.backs(grant.Account):", "case false:", "PoorOpenings"},
	{"an opening's key can pay", "budget.go", "case less(grant.Limit, grant.Spent, 0) < r.least():", "case false:", "PoorOpenings"},
	{"openings of an epoch share credits", "budget.go", "unpaid[grant.Account]++", "_ = unpaid", "PoorOpenings"},
	{"openings of before need credits", "budget.go", "all[account] += n", "_ = n", "PoorOpenings"},
	// 3: splitting pays no more.
	{"density is per hex", "weigh.go", "list[n].hex == list[0].hex && ", "list[n].device == list[0].device && ", "Split|Worked"},
	{"shares are rounded down", "budget.go", "return types.Credit(part.Lo)\n", "return types.Credit(part.Lo) + 1\n", "Split|Budget|Machine"},
	// 4: replayed, reordered, truncated, re-signed, moved: no amount changes.
	{"signatures count", "check.go", "} else if !r.signed[i] {", "} else if false {", "Receipt|Evidence"},
	{"envelopes are of the epoch", "check.go", "e.Epoch < r.frame.Epoch && !kind.Cumulative", "false", "Skip|Evidence"},
	{"envelopes are of an epoch without a header", "check.go", ", e.Epoch <= r.frame.PreviousEpoch:", ":", "Evidence"},
	{"numbers rise", "check.go", "case e.Seq < g.seq, ", "case false, ", "Evidence"},
	{"anchors name blocks", "check.go", "case !r.anchored(e):", "case false:", "Evidence"},
	{"equivocation costs", "check.go", "p.marks = append(p.marks, mark{key, amount})", "_ = amount", "Equivocation"},
	{"equivocation costs once", "check.go", "types.Hash{}\n}", "r.items[last].Hash\n}", "Equivocation"},
	{"totals never fall", "receipts.go", "case rc.Amount < s.Amount || rc.Units.Cmp(s.Units) < 0:", "case false:", "Receipt"},
	{"a session is one device's", "receipts.go", "s.Device != rc.Device || s.Category != rc.Category || s.Terms != rc.Terms", "false", "Receipt|Machine"},
	{"a session is contested once", "receipts.go", "\t\tc.dropped = true\n\t\tif c.Receipt.Device", "\t\tif c.Receipt.Device", "Contest|Machine"},
	{"ended keys pay no more", "receipts.go", "case key.Expiry < r.prev.meta.Before:", "case false:", "Receipt"},
	{"ended sessions are paid no more", "receipts.go", "case rc.Session.Expiry() < r.prev.meta.Before:", "case false:", "Receipt|Forget"},
	{"price binds", "receipts.go", "return types.OverPrice", "", "Receipt"},
	// The bond.
	{"half a bond is needed", "judge.go", "return econ.Bonded(", "return true || econ.Bonded(", "Witness"},
	{"quotas are bonded", "judge.go", "left := times(j.params[at].Quota, j.quotas)", "left := times(j.params[at].Quota, 1<<20)", "Quotas"},
	{"quotas of Cross are bonded", "cross.go", "left = times(left, r.quotas(line))", "left = times(left, 1)", "Quotas"},
	{"a proof costs every quota", "judge.go", "times(j.params[at].Penalty, j.quotas)", "j.params[at].Penalty", "Quotas"},
	{"suspension stops weight", "judge.go", "l.Suspended >= r.frame.Epoch", "false", "Suspended"},
	{"suspension stops openings", "judge.go", "if j.line.Suspended >= j.frame.Epoch {", "if false {", "Suspended"},
	{"bounds of Verify", "judge.go", "out == nil || !c.sound(in, out)", "out == nil", "Bounds"},
	// Asks by themselves, rules, what Cross puts into lines and outputs.
	{"asks are judged alone", "judge.go", "+len(in.Asks) == 0", " == 0", "LoneAsk"},
	{"asks of one category leave room for another's", "check.go", "used[at] == MaxAsks", "len(g.asks) == MaxAsks", "AskQuota"},
	{"long rules are none", "apply.go", "n == 0 || n > MaxRules", "n == 0", "Rules"},
	{"lines of Cross are bounded", "cross.go", "len(s.State) > r.rules.categories[at].Spec.MaxState || ", "", "CrossStates"},
	{"lines of Cross are of devices with a summary", "cross.go", "if summaries[0].Device.Key != s.Device {", "if false {", "CrossStates"},
	{"lines of Cross ascend", "cross.go", "i > 0 && bytes.Compare(s.Device[:], states[i-1].Device[:]) <= 0", "false", "CrossStates"},
	{"lines of Cross replace those of Verify", "page.go", "if b = rb; order == 0 {", "if b = rb; false {", "CrossStates|Machine"},
	{"details are bounded", "cross.go", "detail > MaxOutput || ", "", "OutputBounds"},
	{"quotas bind", "check.go", "u.Count+1 > quota.Count", "false", "Quota"},
}

// TestMutants breaks each rule and sees the tests that hold it fail.
func TestMutants(t *testing.T) {
	if !*mutants {
		t.Skip("takes minutes: run with -mutants")
	}
	testutil.Mutants(t, broken, "-args", "-rapid.checks=300", "-rapid.nofailfile", "-rapid.shrinktime=1ms")
}
