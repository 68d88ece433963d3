package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/google/go-cmp/cmp"
	gwruntime "github.com/grpc-ecosystem/grpc-gateway/runtime"

	"github.com/cairn-network/cairn/chain/app"
	"github.com/cairn-network/cairn/chain/client"
	"github.com/cairn-network/cairn/chain/refusal"
	module "github.com/cairn-network/cairn/chain/x/certificate"
	certificatetypes "github.com/cairn-network/cairn/chain/x/certificate/types"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/energy/customer/certificate/certificatetest"
)

// market is a chain on which account 0 owns a device, and a final header has a sheet of it.
type market struct {
	*period
	seller, buyer types.Account
	outputs       []tally.OutputLeaf
	lots          lot.Lots
	id            lot.ID // of the first certificate, once issued
}

func newMarket(t *testing.T) *market {
	m := &market{period: newPeriod(t, 1), lots: certificatetest.Lots(4*490_000, 0, 4)}
	m.seller, m.buyer = m.made.accounts[0], m.made.accounts[1]
	key := types.NewPrivateKey([32]byte{3, 1})
	m.id = lot.ID{Device: key.Public()}
	s := evidence.Statement{
		Chain: chainID, Device: key.Public(), Owner: m.seller, Categories: []types.Category{ledgertest.Category}, Cell: 0x8a1fb46622dffff, Expiry: 50,
	}
	_, err := m.real.Submit(t.Context(), m.seller, ledger.Register{Statement: *s.Sign(key), Bond: 30 * stone})
	m.must(err)
	m.outputs = []tally.OutputLeaf{certificatetest.Output(certificatetest.Sheet(key.Public(), m.lots))}
	m.books.Outputs = m.outputs
	m.commit(1)
	m.must(m.chain.AdvanceTo(3*m.blocks + 1))
	return m
}

// issue makes the market's one certificate.
func (m *market) issue(t *testing.T) {
	_, err := m.real.Submit(t.Context(), m.seller, certificatetest.IssueMsg(1, m.outputs, 0, m.lots))
	m.must(err)
}

// both is a transaction of several accounts, in the order in which messages name them: the first signs Amino
// JSON, as a hardware wallet does, the others the bytes themselves. Those of missing do not sign.
func (m *market) both(t *testing.T, msgs []sdk.Msg, missing ...types.Account) cmttypes.Tx {
	t.Helper()
	enc := app.NewEncoding()
	b := enc.TxConfig.NewTxBuilder()
	m.must(b.SetMsgs(msgs...))
	b.SetGasLimit(500_000)
	var data []authsigning.SignerData
	var sigs []signing.SignatureV2
	for i, who := range []types.Account{m.seller, m.buyer} {
		record, err := m.made.keys.KeyByAddress(sdk.AccAddress(who[:]))
		m.must(err)
		public, err := record.GetPubKey()
		m.must(err)
		res, err := authtypes.NewQueryClient(m.real.Context()).AccountInfo(t.Context(), &authtypes.QueryAccountInfoRequest{Address: who.String()})
		m.must(err)
		mode := signing.SignMode_SIGN_MODE_LEGACY_AMINO_JSON
		if i > 0 {
			mode = signing.SignMode_SIGN_MODE_DIRECT
		}
		data = append(data, authsigning.SignerData{
			Address: who.String(), ChainID: chainID, AccountNumber: res.Info.AccountNumber, Sequence: res.Info.Sequence, PubKey: public,
		})
		sigs = append(sigs, signing.SignatureV2{PubKey: public, Sequence: res.Info.Sequence, Data: &signing.SingleSignatureData{SignMode: mode}})
	}
	m.must(b.SetSignatures(sigs...))
	for i, d := range data {
		one := sigs[i].Data.(*signing.SingleSignatureData)
		bytes, err := authsigning.GetSignBytesAdapter(t.Context(), enc.TxConfig.SignModeHandler(), one.SignMode, d, b.GetTx())
		m.must(err)
		made, _, err := m.made.keys.SignByAddress(sdk.AccAddress(d.PubKey.Address()), bytes, one.SignMode)
		m.must(err)
		for _, a := range missing {
			if a.String() == d.Address {
				made[5] ^= 1
			}
		}
		one.Signature = made
	}
	m.must(b.SetSignatures(sigs...))
	raw, err := enc.TxConfig.TxEncoder()(b.GetTx())
	m.must(err)
	return raw
}

// sale is the messages of one: the certificate for a price.
func (m *market) sale(price types.Ustone) []sdk.Msg {
	return []sdk.Msg{
		&certificatetypes.MsgTransfer{Owner: m.seller.String(), Id: m.id.String(), To: m.buyer.String()},
		&banktypes.MsgSend{
			FromAddress: m.buyer.String(), ToAddress: m.seller.String(), Amount: sdk.NewCoins(sdk.NewInt64Coin(app.Denom, int64(price))),
		},
	}
}

func (m *market) deliver(t *testing.T, tx cmttypes.Tx) *abci.ExecTxResult {
	t.Helper()
	res, err := m.chain.Deliver(tx)
	m.must(err)
	return res[0]
}

// stands is who owns the certificate, and what both hold.
func (m *market) stands(t *testing.T) (owner types.Account, seller, buyer types.Ustone) {
	t.Helper()
	c, err := certificate.Reader{Chain: m.real}.Certificate(t.Context(), m.id)
	m.must(err)
	a, err := m.real.Account(t.Context(), m.seller)
	m.must(err)
	b, err := m.real.Account(t.Context(), m.buyer)
	m.must(err)
	return c.Owner, a.Balance, b.Balance
}

// TestResale: a certificate is sold for STONE in one transaction that both sign; nobody is ever left with
// neither or with both.
func TestResale(t *testing.T) {
	m := newMarket(t)
	m.issue(t)
	_, seller, buyer := m.stands(t)
	unsold := func(what string, res *abci.ExecTxResult) {
		t.Helper()
		if owner, s, b := m.stands(t); res.Code == 0 || owner != m.seller || s != seller || b != buyer {
			t.Fatalf("%s: code %d, the owner is %v, they hold %d and %d after %d and %d: %s", what, res.Code, owner, s, b, seller, buyer, res.Log)
		}
	}
	unsold("the buyer did not sign", m.deliver(t, m.both(t, m.sale(7*stone), m.buyer)))
	unsold("the seller did not sign", m.deliver(t, m.both(t, m.sale(7*stone), m.seller)))
	unsold("the buyer cannot pay", m.deliver(t, m.both(t, m.sale(buyer+1))))
	tx := m.both(t, m.sale(7*stone))
	if res := m.deliver(t, tx); res.Code != 0 {
		t.Fatal(res.Log)
	}
	owner, s, b := m.stands(t)
	if owner != m.buyer || s != seller+7*stone || b != buyer-7*stone {
		t.Fatalf("the owner is %v, they hold %d and %d after %d and %d", owner, s, b, seller, buyer)
	}
	if res := m.deliver(t, tx); res.Code == 0 {
		t.Fatal("the same transaction sold it twice")
	}
	res := m.deliver(t, m.both(t, m.sale(7*stone))) // what the seller no longer has
	if res.Codespace != refusal.Codespace || refusal.Parse(res.Log) != types.NotOwner {
		t.Fatalf("%s %d: %s", res.Codespace, res.Code, res.Log)
	}
	if _, x, y := m.stands(t); x != s || y != b {
		t.Fatal("it was paid for all the same")
	}
}

// TestDelegate: an owner lets another account issue in its name, without letting it do anything else.
func TestDelegate(t *testing.T) {
	m := newMarket(t)
	issue := certificatetest.IssueMsg(1, m.outputs, 0, m.lots)
	msg := &certificatetypes.MsgIssue{
		Owner: m.seller.String(), Epoch: 1, Leaf: issue.Sheet.Encode(), Lots: issue.Lots.Encode(),
	}
	exec := func(inner sdk.Msg) error {
		e := authz.NewMsgExec(sdk.AccAddress(m.buyer[:]), []sdk.Msg{inner})
		_, err := m.real.SubmitMsgs(t.Context(), m.buyer, &e)
		return err
	}
	if exec(msg) == nil {
		t.Fatal("nobody allowed it")
	}
	grant, err := authz.NewMsgGrant(sdk.AccAddress(m.seller[:]), sdk.AccAddress(m.buyer[:]), authz.NewGenericAuthorization(sdk.MsgTypeURL(msg)), nil)
	m.must(err)
	_, err = m.real.SubmitMsgs(t.Context(), m.seller, grant)
	m.must(err)
	m.must(exec(msg))
	if owner, _, _ := m.stands(t); owner != m.seller {
		t.Fatalf("issued to %v", owner)
	}
	if exec(&certificatetypes.MsgTransfer{Owner: m.seller.String(), Id: m.id.String(), To: m.buyer.String()}) == nil {
		t.Fatal("who may issue may transfer")
	}
}

// TestCertificateExport: a chain that starts from an export has every certificate, and issues nothing again.
func TestCertificateExport(t *testing.T) {
	m := newMarket(t)
	m.issue(t)
	part := lot.ID{Device: m.id.Device, From: 150}
	_, err := m.real.Submit(t.Context(), m.seller, certificate.Split{ID: m.id, At: 150}, certificate.Retire{ID: part, Beneficiary: "Bakery"})
	m.must(err)
	forked, err := m.chain.Fork(t.TempDir())
	m.must(err)
	t.Cleanup(func() { forked.Close() })
	m.must(m.chain.AdvanceTo(forked.Height()))
	other := m.made.open(t, forked)
	see := func(ctx context.Context, l *client.Client) (out []any) {
		for _, q := range []certificate.Query{{Owner: m.seller}, {Owner: m.buyer}, {Device: m.id.Device}} {
			page, err := certificate.Reader{Chain: l}.List(ctx, q)
			out = append(out, page, fmt.Sprint(err))
		}
		mark, err := certificate.Reader{Chain: l}.Mark(ctx, m.id.Device)
		out = append(out, mark, fmt.Sprint(err))
		totals, err := certificate.Reader{Chain: l}.Totals(ctx)
		return append(out, totals, fmt.Sprint(err))
	}
	for _, msg := range []ledger.Msg{nil, certificate.Transfer{ID: m.id, To: m.buyer}, certificatetest.IssueMsg(1, m.outputs, 0, m.lots)} {
		var reasons []types.Reason
		for _, l := range []*client.Client{m.real, other} {
			if msg != nil {
				_, err := l.Submit(t.Context(), m.seller, msg)
				reasons = append(reasons, types.ReasonOf(err))
			}
		}
		if len(reasons) > 0 && reasons[0] != reasons[1] {
			t.Fatalf("%T: %q", msg, reasons)
		}
		if diff := cmp.Diff(see(t.Context(), m.real), see(t.Context(), other)); diff != "" {
			t.Fatalf("after %T (- first, + from its export):\n%s", msg, diff)
		}
	}
}

// TestCertificateREST reads through the REST interface what a program without any of this project's code would.
func TestCertificateREST(t *testing.T) {
	m := newMarket(t)
	m.issue(t)
	mux := gwruntime.NewServeMux()
	module.Basic.RegisterGRPCGatewayRoutes(m.real.Context(), mux)
	door := httptest.NewServer(mux)
	t.Cleanup(door.Close)
	get := func(path string, want int) map[string]any {
		t.Helper()
		res, err := http.Get(door.URL + "/cairn/certificate/v1/" + path)
		m.must(err)
		defer res.Body.Close()
		var body map[string]any
		m.must(json.NewDecoder(res.Body).Decode(&body))
		if res.StatusCode != want {
			t.Fatalf("%s: %s: %v", path, res.Status, body)
		}
		return body
	}
	one := get("certificates/"+m.id.String(), http.StatusOK)["certificate"].(map[string]any)
	if one["id"] != m.id.String() || one["to_wh"] != "400" || one["state"] != "STATE_ACTIVE" || one["owner"] != m.seller.String() {
		t.Errorf("%v", one)
	}
	for _, path := range []string{
		"owners/" + m.seller.String() + "/certificates", "owners/" + m.seller.String() + "/certificates?state=1",
		"devices/" + m.id.Device.String() + "/certificates?pagination.limit=1",
	} {
		if list := get(path, http.StatusOK)["certificates"].([]any); len(list) != 1 || list[0].(map[string]any)["id"] != m.id.String() {
			t.Errorf("%s: %v", path, list)
		}
	}
	if mark := get("devices/"+m.id.Device.String()+"/mark", http.StatusOK); mark["wh"] != "400" {
		t.Errorf("%v", mark)
	}
	if total := get("totals", http.StatusOK); total["issued"] != "400" || total["active"] != "400" {
		t.Errorf("%v", total)
	}
	get("certificates/"+m.id.Device.String()+"/7", http.StatusNotFound)
	get("certificates/nobody/7", http.StatusBadRequest)
}

// TestCertificateCost: the largest sheet there can be fits many times into a block, and its certificates cost
// the same each.
func TestCertificateCost(t *testing.T) {
	m := newMarket(t)
	cost := func(lots lot.Lots) (gas, certificates uint64) {
		outputs := []tally.OutputLeaf{certificatetest.Output(certificatetest.Sheet(m.id.Device, lots))}
		e := m.books.Last + 1
		e = max(e, types.Epoch((m.chain.Height()-1)/m.blocks)+1) // those between were skipped
		m.books.Outputs = outputs
		m.commit(e)
		m.must(m.chain.AdvanceTo((uint64(e)+2)*m.blocks + 1))
		r, err := m.real.Submit(t.Context(), m.seller, certificatetest.IssueMsg(e, outputs, 0, lots))
		m.must(err)
		return r.Gas, uint64(len(lots.Runs()))
	}
	one, _ := cost(certificatetest.Lots(4*490_000, 1_000, 1))
	var many lot.Lots
	for i := range uint64(lot.MaxLots) { // none touches the one before
		many = append(many, lot.Lot{K: 4*490_096 + i, From: 1<<40 + 200*i, To: 1<<40 + 200*i + 100})
	}
	all, n := cost(many)
	each := (all - one) / (n - 1)
	t.Logf("one certificate %d gas, %d of them %d, each %d", one, n, all, each)
	if n != lot.MaxLots || each > one || all*10 > app.MaxBlockGas {
		t.Errorf("one certificate takes %d gas, %d take %d", one, n, all)
	}
}
