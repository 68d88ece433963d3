package wireless

import (
	"flag"
	"testing"

	"github.com/cairn-network/cairn/internal/testutil"
)

var mutants = flag.Bool("mutants", false, "break each rule on purpose and see a test fail (minutes)")

var broken = []testutil.Mutant{
	{"tests bind with challenges", "verify.go", "if !j.in.Challenged || !s.tested() {", "if !s.tested() {", "Untested"},
	{"who does not take part is not tested", "verify.go", "if !j.in.Challenged || !s.tested() {", "if !j.in.Challenged {", "Untested"},
	{"a test reads at what it was sent", "verify.go", "Claim: s.Share, Results", "Claim: s.Share * 2, Results", "Honest"},
	{"a move forgets what all of a prefix showed", "verify.go", "if e.Prefix != s.Prefix || !e.Tests {", "if !e.Tests {", "TestMove"},
	{"only tests of all of a prefix are the last", "state.go", "\tif whole {\n", "\tif whole || true {\n", "YoungTests"},
	{"one endpoint counts", "verify.go", "case j.here:", "case false:", "TestEndpoint"},
	{"claims are bounded", "verify.go", "e.Claim < pob.MinClaim || e.Claim > j.rules.Claim", "e.Claim < pob.MinClaim", "TestEndpoint"},
	{"claims are not too small", "verify.go", "e.Claim < pob.MinClaim || e.Claim > j.rules.Claim", "e.Claim > j.rules.Claim", "TestEndpoint"},
	{"rules bring claims down", "verify.go", "s.Claim = min(s.Claim, j.rules.Claim)", "s.Claim = min(s.Claim, s.Claim)", "TestEndpoint"},
	{"grants are the device's", "verify.go", "g.Permit.Device != j.in.Device.Key || ", "", "Grants"},
	{"issuers are listed", "verify.go", "!j.rules.issuer(g.Issuer) ||", "", "Grants"},
	{"grants are short", "verify.go", "g.Permit.Until > j.in.Epoch+MaxGrant || ", "", "Grants"},
	{"issuers sign", "verify.go", "|| !g.Verify(j.in.Chain):", ":", "Grants"},
	{"grants lapse", "verify.go", "case g.Permit.Until < j.in.Epoch:", "case false:", "Grants"},
	{"cells need a grant to be paid", "verify.go", "if item.Class == Cell && j.state.Grant < j.in.Epoch {", "if false {", "Grants"},
	{"cells need a grant to ask", "verify.go", "case a.Class == Cell && j.state.Grant < j.in.Epoch:", "case false:", "Grants"},
	{"speeds are proven", "verify.go", "case !j.state.Reaches(t.Speed):", "case !j.state.Reaches(t.Speed * 0):", "Speeds"},
	{"price binds", "verify.go", "|| types.U64(uint64(r.Amount)).Cmp(most) > 0 {", "|| types.U64(uint64(r.Amount)).Cmp(most) > 99 {", "Receipts"},
	{"lines have a capacity", "verify.go", "if !fits || n > j.state.Allowance {", "if !fits {", "Receipts"},
	{"capacity is used up", "verify.go", "j.state.Allowance -= n", "j.state.Allowance -= 0 * n", "Receipts"},
	{"a day can be caught up on", "verify.go", "min(s.Allowance+uint64(elapsed)*each, allowed*each)", "s.Allowance+uint64(elapsed)*each", "TestBounds|Receipts"},
	{"terms are handed in", "verify.go", "return item.Opened\n", "return true\n", "Receipts"},
	{"terms are read", "verify.go", "return readable(a, item.Class)", "return readable(a, item.Class) || true", "Receipts"},
	{"who is away earns nothing", "verify.go", "\tif j.here {\n\t\tproven", "\tif true {\n\t\tproven", "Absent|Honest"},
	{"who is away is not tested", "verify.go", "if s.Here = j.here; s.Here && s.Tests {", "if s.Here = true; s.Here && s.Tests {", "Absent"},
	{"the rate follows the claim", "verify.go", "\t\ts.Share = s.Claim\n\t}\n\tout.State", "\t\ts.Share = max(s.Share, pob.MinClaim)\n\t}\n\tout.State", "Honest|RaisedClaim|Quality"},
	{"two may be spoiled", "state.go", "return all[rank]", "return all[0]", "Spoiled|Honest"},
	{"the third smallest counts", "state.go", "return all[rank]", "return all[results-1]", "Honest"},
	{"all of a prefix at once bounds", "state.go", "return min(s.Score(), s.Last.Capacity, s.Claim)", "return min(s.Score(), s.Claim)", "TestMove|SharedLine"},
	{"claims bound", "state.go", "return min(s.Score(), s.Last.Capacity, s.Claim)", "return min(s.Score(), s.Last.Capacity)", "LoweredClaim"},
	{"readings grow old", "state.go", "return r.Epoch+MaxAge < e", "return false && r.Epoch+MaxAge < e", "OldReadings"},
	{"quality is of the claim", "state.go", "(fullPercent*s.Share)", "(fullPercent*min(s.Share, s.Score()))", "Quality|Raised"},
	{"speeds need 55 %", "state.go", "s.Proven()*100 >= uint64(speed)", "s.Proven()*1000 >= uint64(speed)", "Speeds"},
	{"a prefix has a bound", "cross.go", "if sum > most {", "if false && sum > most {", "Crowded"},
	{"beginners are tested slowly", "cross.go", "max(Beginner, 2*best)", "max(m.state.Claim, 2*best)", "Crowded"},
	{"who showed something comes first", "cross.go", "shown = append(shown, m)", "others = append(others, m)", "Crowded|Golden"},
	{"beginners have a quarter", "cross.go", "fill(shown, most/4*3, seed)", "fill(shown, most, seed)", "BeginnersShare"},
	{"shares are of a test's size", "cross.go", "if n := most / pob.MinClaim; uint64(len(all)) > n {", "if n := most / pob.MinClaim; false && uint64(len(all)) > n {", "Crowded"},
	{"everybody has a turn", "cross.go", `types.Sum([]byte("cairn/wireless/share"), seed[:], m.device[:])`, `types.Sum([]byte("cairn/wireless/share"), seed[:0], m.device[:])`, "Crowded"},
}

// TestMutants breaks each rule and sees the tests that hold it fail.
func TestMutants(t *testing.T) {
	if !*mutants {
		t.Skip("takes minutes: run with -mutants")
	}
	testutil.Mutants(t, broken)
}
