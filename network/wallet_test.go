package network

import (
	"context"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	energycustomer "github.com/cairn-network/cairn/service/energy/customer"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
)

// testCertificateWallet issues what a home did not sell of a solar day, by proof from a final tally, and hands
// a certificate to CosmJS, which splits it, gives half away and retires both; nothing of it is issued, moved or
// retired a second time.
func testCertificateWallet(t *testing.T, n *Network) {
	needCosmJS(t)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	l := n.Ledger()
	words := make([]string, 2)
	accounts := make([]types.Account, 2)
	community, err := l.Lookup(communityName)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"certificates", "bakery"} {
		if accounts[i], words[i], err = l.CreateAccount(name); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Submit(ctx, community, ledger.Send{To: accounts[i], Amount: stoneUnit}); err != nil {
			t.Fatal(err)
		}
	}
	owner, issue := unsold(ctx, t, n)
	if _, err := l.Submit(ctx, owner, *issue); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Submit(ctx, owner, *issue); types.ReasonOf(err) != types.CertificateBelowMark {
		t.Errorf("issued a second time: %v", err)
	}
	id, at := divisible(issue)
	if _, err := l.Submit(ctx, owner, certificate.Transfer{ID: id, To: accounts[0]}); err != nil {
		t.Fatal(err)
	}
	whole, err := certificate.Reader{Chain: l}.Certificate(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		Split, Transfer, Foreign string
		Retired, Again           []string
	}
	var out outcome
	cosmjs(ctx, t, "certificate.mjs", map[string]any{"rpc": n.Addresses().RPC, "rest": n.Addresses().REST, "words": words[0], "other": words[1], "id": id.String(), "at": at}, &out)
	want := outcome{
		Foreign: string(types.NotOwner), Retired: []string{"", ""}, Again: []string{string(types.CertificateRetired), string(types.CertificateRetired)},
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("%s", diff)
	}
	for i, part := range []lot.ID{id, {Device: id.Device, From: at}} {
		x, err := certificate.Reader{Chain: l}.Certificate(ctx, part)
		if err != nil || x.Owner != accounts[i] || x.State != certificate.Retired || x.To != []uint64{at, whole.To}[i] {
			t.Errorf("part %d: %+v: %v", i, x, err)
		}
	}
}

// unsold waits until a final tally proves what a home did not sell of a day, and returns the home's owner and
// what issues it.
func unsold(ctx context.Context, t *testing.T, n *Network) (types.Account, *certificate.Issue) {
	t.Helper()
	d := doorOf(t, n)
	var owner types.Account
	var issue *certificate.Issue
	until(t, 5*time.Minute, "a day ends of which a home has something left", func() bool {
		for i := range 8 {
			key := n.Simulated(types.Energy, i).Key()
			res := d.do(ctx, "GET", "/energy/v1/sheets?device="+url.QueryEscape(key.String()), nil)
			defer res.Body.Close()
			var sheets []energycustomer.Sheet
			if err := json.NewDecoder(res.Body).Decode(&sheets); err != nil {
				t.Fatal(err)
			}
			for _, s := range sheets {
				if s.State != "ready" {
					continue
				}
				device, err := n.Ledger().Device(ctx, key)
				if err != nil {
					t.Fatal(err)
				}
				owner = device.Owner
				if issue, err = s.Issue(); err != nil {
					t.Fatal(err)
				}
				if id, _ := divisible(issue); id != (lot.ID{}) {
					return true
				}
			}
		}
		return false
	})
	return owner, issue
}

// divisible returns the largest certificate that a message makes, and where its second half begins; none where
// the largest is of a watt-hour.
func divisible(m *certificate.Issue) (id lot.ID, at uint64) {
	most := uint64(1)
	for _, run := range m.Lots.Runs() {
		if wh := run.To - run.From; wh > most {
			id, at, most = lot.ID{Device: m.Sheet.Device, From: run.From}, run.From+wh/2, wh
		}
	}
	return id, at
}
