package client_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// anyMsg is a message of whatever name, with whatever fields.
type anyMsg struct {
	name   string
	fields any
}

func (anyMsg) IsMsg()                               {}
func (m anyMsg) Fields(types.Account) (string, any) { return m.name, m.fields }

// TestModule: of what a module does not have, the client says so before anything is sent; of what the chain
// does not have, ledger.ErrNotFound.
func TestModule(t *testing.T) {
	p := newPeriod(t, 1)
	query := func(ctx context.Context, method string, request any) error {
		return p.real.Query(ctx, method, request, new(map[string]any))
	}
	type object map[string]any
	for method, request := range map[string]any{
		"": nil, "cairn.none.v1.Query/Totals": object{}, "cairn.certificate.v1.Query/None": object{}, "cairn.certificate.v1.Query": object{},
		"cairn.certificate.v1.Certificate/Totals": object{}, "cairn.certificate.v1.Query/Mark": object{"none": 1},
		"cairn.certificate.v1.Query/ByOwner": object{"pagination": "x"}, "cairn.certificate.v1.Query/Certificate": func() {},
	} {
		if err := query(t.Context(), method, request); err == nil || errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%q: %v", method, err)
		}
	}
	device := types.NewPrivateKey([32]byte{9}).Public()
	if err := query(t.Context(), "cairn.certificate.v1.Query/Certificate", object{"device": device, "from_wh": "7"}); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a certificate that there is not: %v", err)
	}
	var answer struct {
		Issued uint64 `json:"issued,string"`
	}
	answer.Issued = 1
	if err := p.real.Query(t.Context(), "cairn.certificate.v1.Query/Totals", object{}, &answer); err != nil || answer.Issued != 0 {
		t.Errorf("%+v, %v", answer, err)
	}
	head := p.chain.Height()
	for _, m := range []anyMsg{
		{"", object{}}, {"cairn.certificate.v1.None", object{}}, {"cairn.certificate.v1.MsgSplit", object{"none": 1}},
		{"cairn.certificate.v1.State", object{}}, {"cairn.certificate.v1.MsgSplit", func() {}}, {"cairn.certificate.v1.Mark", object{"wh": "7"}},
	} {
		if _, err := p.real.Submit(t.Context(), p.made.accounts[0], m); err == nil {
			t.Errorf("%q was taken", m.name)
		}
	}
	if p.chain.Height() != head {
		t.Error("something was sent")
	}
}
