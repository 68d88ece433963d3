package certificate

import (
	"github.com/cairn-network/cairn/core/lot"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Issue makes certificates of what a device did not sell on one day, for its owner, who alone may: one for each
// of Lots.Runs, whose ids are lot.ID{Sheet.Device, run.From}. The sheet is leaf Index of the outputs of a final
// header of at most 35 days ago.
type Issue struct {
	Epoch    types.Epoch
	Region   types.Region
	Sheet    lot.Sheet
	Lots     lot.Lots // all that the sheet commits to
	Index    uint64
	Siblings []types.Hash
}

// Split cuts a certificate in two at a watt-hour of the register, inside the range. The second part's id is
// lot.ID{ID.Device, At}, so a later message of the same transaction can name it.
type Split struct {
	ID lot.ID
	At uint64
}

// Transfer gives a certificate to a new owner.
type Transfer struct {
	ID lot.ID
	To types.Account
}

// Retire claims a certificate for a beneficiary's consumption, for good. Hour is that in which it was produced
// (lot.Hour of Begin), to claim consumption hour by hour, or 0.
type Retire struct {
	ID          lot.ID
	Beneficiary string // at most lot.MaxBeneficiary bytes; "" for the owner
	Hour        uint64
}

var (
	_ ledger.ModuleMsg = Issue{}
	_ ledger.ModuleMsg = Split{}
	_ ledger.ModuleMsg = Transfer{}
	_ ledger.ModuleMsg = Retire{}
)

// IsMsg implements ledger.Msg.
func (Issue) IsMsg() {}

// IsMsg implements ledger.Msg.
func (Split) IsMsg() {}

// IsMsg implements ledger.Msg.
func (Transfer) IsMsg() {}

// IsMsg implements ledger.Msg.
func (Retire) IsMsg() {}

// Fields implements ledger.ModuleMsg.
func (m Issue) Fields(owner types.Account) (string, any) {
	var siblings []byte
	for _, h := range m.Siblings {
		siblings = append(siblings, h[:]...)
	}
	return Module + ".MsgIssue", struct {
		Owner    types.Account `json:"owner"`
		Epoch    types.Epoch   `json:"epoch,string"`
		Region   types.Region  `json:"region"`
		Index    uint64        `json:"index,string"`
		Leaf     []byte        `json:"leaf"`
		Siblings []byte        `json:"siblings"`
		Lots     []byte        `json:"lots"`
	}{owner, m.Epoch, m.Region, m.Index, m.Sheet.Encode(), siblings, m.Lots.Encode()}
}

// Fields implements ledger.ModuleMsg.
func (m Split) Fields(owner types.Account) (string, any) {
	return Module + ".MsgSplit", struct {
		Owner types.Account `json:"owner"`
		ID    lot.ID        `json:"id"`
		At    uint64        `json:"at,string"`
	}{owner, m.ID, m.At}
}

// Fields implements ledger.ModuleMsg.
func (m Transfer) Fields(owner types.Account) (string, any) {
	return Module + ".MsgTransfer", struct {
		Owner types.Account `json:"owner"`
		ID    lot.ID        `json:"id"`
		To    types.Account `json:"to"`
	}{owner, m.ID, m.To}
}

// Fields implements ledger.ModuleMsg.
func (m Retire) Fields(owner types.Account) (string, any) {
	return Module + ".MsgRetire", struct {
		Owner       types.Account `json:"owner"`
		ID          lot.ID        `json:"id"`
		Beneficiary string        `json:"beneficiary"`
		Hour        uint64        `json:"hour,string"`
	}{owner, m.ID, m.Beneficiary, m.Hour}
}
