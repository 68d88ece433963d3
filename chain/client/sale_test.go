package client_test

import (
	"encoding/json"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
)

// TestSale sells a certificate by an offer that travels as JSON: it is for one buyer, at one price, once, for a
// while, and until its seller signs something else.
func TestSale(t *testing.T) {
	m := newMarket(t)
	m.issue(t)
	const price = 7 * stone
	third := m.made.accounts[2]
	offer := func(blocks uint64) *certificate.Sale {
		t.Helper()
		made, err := certificate.Sell(t.Context(), m.real, m.id, m.buyer, price, blocks)
		m.must(err)
		raw, err := json.Marshal(made)
		m.must(err)
		sale := new(certificate.Sale)
		m.must(json.Unmarshal(raw, sale))
		return sale
	}
	_, seller, buyer := m.stands(t)
	refused := func(what string, sale *certificate.Sale, want types.Reason) {
		t.Helper()
		_, err := certificate.Buy(t.Context(), m.real, sale)
		if owner, s, b := m.stands(t); types.ReasonOf(err) != want || owner != m.seller || s != seller || b != buyer {
			t.Errorf("%s: %v, want %s; the owner is %v, they hold %d and %d after %d and %d", what, err, want, owner, s, b, seller, buyer)
		}
	}
	changed := func(change func(*certificate.Sale)) *certificate.Sale {
		t.Helper()
		sale := offer(100)
		change(sale)
		return sale
	}
	refused("cheaper", changed(func(s *certificate.Sale) { s.Price-- }), types.BadSignature)
	refused("for somebody else", changed(func(s *certificate.Sale) { s.Buyer = third }), types.BadSignature)
	refused("for longer", changed(func(s *certificate.Sale) { s.Until++ }), types.BadSignature)
	refused("another key", changed(func(s *certificate.Sale) { s.Key[1] ^= 1 }), types.BadSignature)
	refused("another signature", changed(func(s *certificate.Sale) { s.Signature[9] ^= 1 }), types.BadSignature)
	refused("of somebody who is not the owner", changed(func(s *certificate.Sale) { s.Seller = third }), types.CertificateSale)
	refused("with a fee", changed(func(s *certificate.Sale) { s.Fee = 1 }), types.CertificateSale)
	refused("with more gas", changed(func(s *certificate.Sale) { s.Gas++ }), types.CertificateSale)
	refused("on another chain", changed(func(s *certificate.Sale) { s.Chain = "other" }), types.WrongChain)
	refused("of none", changed(func(s *certificate.Sale) { s.Certificate.From++ }), types.UnknownCertificate)
	lapsing := offer(1)
	m.must(m.chain.AdvanceTo(lapsing.Until))
	refused("lapsed", lapsing, types.CertificateSale)
	before := offer(100)
	_, err := m.real.Submit(t.Context(), m.seller, ledger.Send{To: third, Amount: 1})
	m.must(err)
	_, seller, buyer = m.stands(t)
	refused("the seller signed something else", before, types.CertificateSale)
	for what, of := range map[string]types.Account{"to itself": m.seller} {
		if _, err := certificate.Sell(t.Context(), m.real, m.id, of, price, 100); types.ReasonOf(err) != types.CertificateSale {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := certificate.Sell(t.Context(), m.real, m.id, m.buyer, 0, 100); types.ReasonOf(err) != types.CertificateSale {
		t.Errorf("for nothing: %v", err)
	}

	sale := offer(100)
	done, err := certificate.Buy(t.Context(), m.real, sale)
	m.must(err)
	owner, s, b := m.stands(t)
	if owner != m.buyer || s != seller+price || b != buyer-price || done.Gas > sale.Gas*3/4 {
		t.Fatalf("the owner is %v, they hold %d and %d after %d and %d, for %d gas of %d", owner, s, b, seller, buyer, done.Gas, sale.Gas)
	}
	if _, err := certificate.Buy(t.Context(), m.real, sale); types.ReasonOf(err) != types.CertificateSale {
		t.Errorf("a second time: %v", err)
	}
	if _, x, y := m.stands(t); x != s || y != b {
		t.Error("it was paid for twice")
	}
	// Both go on as if they had signed alone.
	for _, from := range []types.Account{m.seller, m.buyer} {
		_, err := m.real.Submit(t.Context(), from, ledger.Send{To: third, Amount: 1})
		m.must(err)
	}
	// What is retired is not sold.
	_, err = m.real.Submit(t.Context(), m.buyer, certificate.Retire{ID: m.id})
	m.must(err)
	if _, err := certificate.Sell(t.Context(), m.real, m.id, third, price, 100); types.ReasonOf(err) != types.CertificateSale {
		t.Errorf("retired: %v", err)
	}
}
