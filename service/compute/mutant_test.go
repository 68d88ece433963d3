package compute

import (
	"flag"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
)

var mutants = flag.Bool("mutants", false, "break each rule on purpose and see a test fail (minutes)")

// broken are rules broken on purpose: in each file one text is replaced by another, and the tests that hold the
// rule must fail.
var broken = []testutil.Mutant{
	{"more than f fail an audit", "verify_audit.go", "case l.against > f:", "case l.against > 0:", "Audit|LyingAud|Lone"},
	{"an audit can fail", "verify_audit.go", "case l.against > f:", "case l.against > 99:", "WrongDigest"},
	{"the first auditor alone passes one", "verify_audit.go", "l.first && l.against == 0:", "l.agree > 0 && l.against == 0:", "LyingAud|Lone"},
	{"auditors are drawn", "verify_audit.go", "!member(members, e.Author) || !j.once(KindAudit, e.Author, name)", "!j.once(KindAudit, e.Author, name)", "AuditsNot"},
	{"audits count once in an epoch", "verify_audit.go", "passed = true\n", "passed = true\n\t\t\tj.state.raise()\n", "Farmed"},
	{"an auditor counts once", "verify_audit.go", "|| !j.once(KindAudit, e.Author, name)", "", "LyingAud"},
	{"public jobs are audited", "verify_audit.go", "|| a.Leaf.Mode != Public", "", "AuditsNot"},
	{"audits are of what was committed to", "verify_audit.go", "|| a.Place.Verify(j.audited.Root, uint64(j.audited.Count), h) != nil", "", "AuditsNot"},
	{"audits are of a leaf of it", "verify_audit.go", "err != nil || a.Path.Index != uint64(a.Index)", "err != nil && false || a.Path.Index != uint64(a.Index)", "AuditsNot"},
	{"fuel is audited", "audit.go", "a.Result == a.Leaf.Result && a.Fuel == a.Leaf.Fuel", "a.Result == a.Leaf.Result", "WrongDigest"},
	{"what is withheld fails", "audit.go", "return !a.Withheld && a.Leaf != nil &&", "return a.Withheld || a.Leaf != nil &&", "WrongDigest"},
	{"rows are looked into", "watch.go", "if !c.Row(int(o.Rows[i]), s.Row) {", "if !c.Row(int(o.Rows[i]), s.Row) && false {", "BadRows|Hankel"},
	{"a fault's row is wrong", "verify_fault.go", "!mac.Recompute(r.Step.Step.Seed, n, int(r.Path.Index), r.Row)", "true", "RowFaults"},
	{"a fault's row was committed to", "verify_fault.go", "mac.Shown(r.Step.Step.Root, n, r.Row, r.Path) && ", "", "RowFaults"},
	{"a fault's step is signed", "verify_fault.go", "r.Step.Verify(chain, device) &&\n\t\t!mac", "\n\t\t!mac", "RowFaults"},
	{"witnesses' word counts", "verify_check.go", "if w.OK && c.claim.names(w.author) {", "if c.claim.names(w.author) {", "Skipped|BadRows|TestSlots"},
	{"two slots make a rate", "state.go", "return min(s.Rates[0], s.Rates[1]) *", "return s.Rates[0] *", "Honest|Slots"},
	{"nonces are signed", "verify_check.go", "|| !n.Verify(j.in.Chain, j.in.Epoch, j.in.Device.Key, c.Slot)", "", "ReusedNonce"},
	{"nonces are of a slot", "slot.go", "\tSlot   uint64\n\tNonce  types.Hash", "\tSlot   uint64     `cbor:\"-\"`\n\tNonce  types.Hash", "ReusedNonce"},
	{"nonces are of the drawn", "verify_check.go", "!member(members, n.Witness) ||", "", "ReusedNonce"},
	{"a nonce counts once", "verify_check.go", "i > 0 && n.Witness == c.Nonces[i-1].Witness ||", "", "ReusedNonce"},
	{"nonces of more than f begin a check", "verify_check.go", "case len(c.Nonces) <= f:", "case len(c.Nonces) < 0:", "ReusedNonce"},
	{"f liars lift nothing", "check.go", "return sorted[len(sorted)-1-f], true", "return sorted[len(sorted)-1], true", "LyingWit"},
	{"f witnesses pass nothing", "check.go", "if len(counts) <= f {", "if len(counts) < f {", "LyingWit"},
	{"witnesses are drawn", "verify_check.go", "case !member(members, e.Author) || !j.once", "case !j.once", "LyingWit"},
	{"a witness counts once", "verify_check.go", "|| !j.once(KindSighting, e.Author, binary.BigEndian.AppendUint64(nil, s.Slot)):", "|| !j.once(KindSighting, e.Author, binary.BigEndian.AppendUint64(nil, s.Slot+uint64(i))):", "LyingWit"},
	{"a watch checks signatures", "watch.go", "case !s.Verify(w.chain, w.device):", "case false:", "Watch"},
	{"a watch wants steps to follow", "watch.go", "\tif want != at.Seed {\n\t\treturn", "\tif false {\n\t\treturn", "Watch"},
	{"a watch wants steps in order", "watch.go", "case uint64(at.T) > uint64(len(have)):", "case false:", "Watch"},
	{"rows are those asked for", "watch.go", "s.Path.Index != uint64(o.Rows[i]) || ", "", "ShownRows"},
	{"short chains count nothing", "watch.go", "w.hardware.Round != CPU || len(steps) >= MinRounds", "w.hardware.Round != CPU || len(steps) >= 0", "OneCore"},
	{"a slot is judged once", "verify_check.go", "slot > j.state.Slot && ", "", "Replayed"},
	{"slots fire", "verify_check.go", "|| !SlotFires(caller.VRF, j.in.Chain, j.in.Seed, c.Slot, rules.Rarity, c.Proof):", "|| !SlotFires(caller.VRF, j.in.Chain, j.in.Seed, c.Slot, rules.Rarity, c.Proof) && false:", "Replayed"},
	{"slots are of the epoch", "verify_check.go", "&& slot+slotEarly >= first && slot <= first+slotLate", "+0*first", "Replayed"},
	{"leaves of an epoch follow", "verify.go", "case r.First != c.next || r.Before != c.end:", "case false:", "LeavesTwice|AuditsNot"},
	{"results back one payer", "verify.go", "|| !c.payer.IsZero() && c.payer != r.Payer", "", "LeavesTwice"},
	{"fuel is covered to its end", "verify.go", "c == nil || r.Units.Cmp(types.U64(c.end)) > 0 ||", "c == nil ||", "OverFuel|Receipts"},
	{"fuel is covered from what was paid", "verify.go", "|| item.Units.Cmp(types.U64(c.before)) < 0", "", "Receipts"},
	{"fuel needs results", "verify.go", "if c == nil || r.Units", "if c != nil && r.Units", "Receipts|LeavesTwice"},
	{"leaves that differ conflict", "verify_fault.go", "return *a != *b || aPlaced", "return aPlaced", "Conflicts"},
	{"a leaf has one place", "verify_fault.go", "return *a != *b || aPlaced && bPlaced && aBefore != bBefore", "return *a != *b || aPlaced && bPlaced && aBefore != bBefore && false", "LeavesTwice"},
	{"a conflict is about one job", "verify_fault.go", "|| a.Session != b.Session || a.Index != b.Index", "", "Conflicts"},
	{"a conflict is the device's own", "verify_fault.go", "e.Author != device || ", "", "Conflicts"},
	{"one fault pays for its time", "verify_fault.go", "epoch <= settled || epoch+FaultDelay < j.in.Epoch || j.state.Settled == j.in.Epoch", "epoch <= settled && false || epoch+FaultDelay < j.in.Epoch", "Conflicts"},
	{"faults grow old", "verify_fault.go", "epoch+FaultDelay < j.in.Epoch ||", "", "Conflicts"},
	{"verifiers hand in faults", "verify_fault.go", "case j.in.Registry.Attester(e.Author) == nil:", "case false:", "Conflicts"},
	{"two steps for one are a fault", "verify_fault.go", "return a.T == b.T && *a != *b ||", "return", "Steps"},
	{"steps follow", "verify_fault.go", "&& b.Seed != a.Next()", "", "Steps"},
	{"chains begin with the nonces", "verify_fault.go", "&& b.Seed != ChainSeed(", "&& b.Seed == ChainSeed(", "Steps"},
	{"who is busy says so before", "verify_check.go", "j.before == 0 && s.Free", "s.Free", "TestSlots"},
	{"who offers is not busy", "verify_check.go", "&& s.Free == 0 && j.paid", "&& j.paid", "TestSlots"},
	{"who is busy is paid", "verify_check.go", "&& s.Free == 0 && j.paid", "&& s.Free == 0", "TestSlots"},
	{"a hidden check is not passed", "verify_check.go", "if c.claim != nil || seen > f {", "if c.claim != nil {", "TestSlots"},
	{"suspension takes weight", "verify.go", "case j.suspended():", "case false:", "Offer"},
	{"containers have a capacity", "verify.go", "if !fits || n > j.state.Allowance {", "if !fits {", "Capacity"},
	{"a day can be caught up on", "verify.go", "min(elapsed, allowed)*fill, allowed*fill)", "elapsed*fill, allowed*fill*1000)", "Capacity"},
	{"terms name the session", "verify.go", "return err == nil && t.Session == item.Receipt.Session", "return err == nil && (t.Session == item.Receipt.Session || true)", "TestTerms"},
	{"price binds", "verify.go", "if err != nil || types.U64(uint64(r.Amount)).Cmp(most) > 0 {", "if err != nil && most.IsZero() {", "TestTerms"},
	{"units of classes do not mix", "verify.go", "if c != nil && item.Class != Wasm {", "if false {", "TestTerms"},
}

// TestMutants breaks each rule and sees the tests that hold it fail.
func TestMutants(t *testing.T) {
	if !*mutants {
		t.Skip("takes minutes: run with -mutants")
	}
	testutil.Mutants(t, broken)
}
