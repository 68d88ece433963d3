// Package ledger is the interface through which everything off the chain reads and writes the chain: money,
// membership, tallies. Its adapter to the real chain is chain/client; Memory, in this package, is the twin that
// tests of engines use. Both pass the suite in ledgertest.
//
// Reads are as of a committed block. Heights, epochs and amounts are the chain's own; nothing here is cached
// beyond one call. A call that the chain refuses returns an error that carries the chain's coded reason
// (types.ReasonOf).
package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/fleet"
	"github.com/cairn-network/cairn/core/merkle"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// ErrNotFound is returned for what the chain does not have (yet, or any more).
var ErrNotFound = fmt.Errorf("ledger: %w", types.NotFound)

// Block is a committed block.
type Block struct {
	Height uint64
	Hash   types.Hash
	Time   time.Time
	Epoch  types.Epoch
}

// Epoch is the chain's timetable of one epoch. It exists from the epoch's first block on.
type Epoch struct {
	Epoch      types.Epoch
	First      uint64     // its first block
	Cut        uint64     // its last block
	Time       time.Time  // of its first block; zero if it has not begun
	Seed       types.Hash // seed(e); zero until header(e−1) was accepted or skipped in every region
	Challenged bool       // whether challenges of e bind (header(e−1) accepted in rounds 0 to 2)
	Round      uint64     // blocks per round: ⌊N/5⌋
	Grace      uint64     // blocks after the cut in which acked items are published: G
	Rules      uint32     // version of the rules
	MinOpening types.Credit
	Params     []tally.Params   // ascending by category, as of the epoch's start
	Verifiers  []tally.Attester // ascending by key, with the power that counts in this epoch
	// Leaders are those of rounds 0 to 3 of this epoch's tally, by region; the same key leads several where
	// there are fewer verifiers.
	Leaders [][]types.Key
}

// Regions returns into how many regions devices are split.
func (e *Epoch) Regions() int { return len(e.Leaders) }

// Leader returns who leads a round of a region's tally, or false if there is no such round.
func (e *Epoch) Leader(region types.Region, round uint8) (types.Key, bool) {
	if int(region) >= len(e.Leaders) || int(round) >= len(e.Leaders[region]) {
		return types.Key{}, false
	}
	return e.Leaders[region][round], true
}

// Rounds is how many rounds a tally has: one leader each, then the region skips.
const Rounds = 4

// Power returns all power that counts in the epoch.
func (e *Epoch) Power() uint64 {
	var sum uint64
	for i := range e.Verifiers {
		sum += e.Verifiers[i].Power
	}
	return sum
}

// Enough reports whether power is more than two thirds of all that counts in the epoch. Powers sum to less than 2⁶².
func (e *Epoch) Enough(power uint64) bool { return 3*power > 2*e.Power() }

// RoundAt returns the round of e's tally that block height belongs to, or false outside the four rounds. A
// transaction that is sent now is in the next block at the earliest.
func (e *Epoch) RoundAt(height uint64) (uint8, bool) {
	if e.Round == 0 || height <= e.Cut {
		return 0, false
	}
	r := (height - e.Cut - 1) / e.Round
	return uint8(r), r < Rounds
}

// Status is where a header stands.
type Status string

// The life of a header.
const (
	Open     Status = "open"     // no header yet; rounds go on
	Skipped  Status = "skipped"  // no header in four rounds
	Accepted Status = "accepted" // signed by more than two thirds; appeal window open
	Appealed Status = "appealed"
	Final    Status = "final"
	Voided   Status = "voided"
)

// Header is a header as the chain keeps it.
type Header struct {
	Epoch    types.Epoch
	Region   types.Region
	Status   Status
	Raw      []byte // tally.DecodeHeader; nil while open or when skipped
	Hash     types.Hash
	Height   uint64      // of its acceptance
	Signed   uint64      // power that signed
	Bitmap   []byte      // who signed, as in Commit
	FinalAt  uint64      // the block from which it can be final
	Previous types.Epoch // epoch of the region's header before it; 0 for none
	Voting   *Voting     // while Status is Appealed
}

// Voting is an open vote on a header. Once either side has more than two thirds of the power in Power it
// closes; at Until without that it starts again, and who did not vote is jailed.
type Voting struct {
	Until   uint64 // its last block
	Yes, No uint64 // power so far
	Power   uint64 // that may vote
	Voted   []types.Key
}

// Claim is what an owner shows to be paid: a leaf of a final header and its siblings.
type Claim struct {
	Epoch  types.Epoch
	Region types.Region
	Leaf   tally.Leaf
	Proof  merkle.SumProof
}

// Account is what the chain knows of an account.
type Account struct {
	Account types.Account
	Balance types.Ustone
	Bought  types.Credit // in all regions together
	// Holdings are what it bought in each region, ascending, as far as it bought anything there.
	Holdings []Holding
}

// Holding is what an account has bought in one region, ever.
type Holding struct {
	Region types.Region
	Bought types.Credit
}

// In returns what the account has bought in a region.
func (a *Account) In(region types.Region) types.Credit {
	for _, h := range a.Holdings {
		if h.Region == region {
			return h.Bought
		}
	}
	return 0
}

// Device is a registered device. Its region follows from its cell when it is registered, and stays.
type Device struct {
	tally.Device
	Region types.Region
}

// Grant is a session key of an account, and where it may spend.
type Grant struct {
	tally.Grant
	Region types.Region
}

// Supply is the chain's ledger of money; all amounts in ustone but the credits.
type Supply struct {
	Genesis  types.Ustone `json:"genesis"` // supply at genesis
	Minted   types.Ustone `json:"minted"`  // since genesis, ever
	Burned   types.Ustone `json:"burned"`
	Vault    types.Ustone `json:"vault"`  // what bought credits
	Escrow   types.Ustone `json:"escrow"` // settled, not yet claimed or paid out
	Bonds    types.Ustone `json:"bonds"`
	Claimed  types.Ustone `json:"claimed"`
	Amount   types.Ustone `json:"amount"` // Σ amount over the newest final header of each region
	Bought   types.Credit `json:"credits_bought"`
	Spent    types.Credit `json:"credits_spent"` // Σ over the newest header of each region that was not voided
	Supply   types.Ustone `json:"supply"`        // bank's total
	Balanced bool         `json:"balanced"`
	Faults   []string     `json:"faults"` // what does not balance, in words
}

// MaxKeys bounds how many devices are looked up at once.
const MaxKeys = 256

// Reader reads the chain.
type Reader interface {
	Chain() string
	// Head returns the newest block.
	Head(ctx context.Context) (Block, error)
	Block(ctx context.Context, height uint64) (Block, error)
	// Hashes returns the hashes of blocks from to to, ascending. The chain keeps those that a tally may name
	// which can still be made, appealed or voted on; of older blocks ErrNotFound where the node does not have
	// them.
	Hashes(ctx context.Context, from, to uint64) ([]tally.BlockHash, error)
	// Watch delivers the newest block and then each further one until ctx ends; a slow reader misses all but
	// the newest.
	Watch(ctx context.Context) <-chan Block
	Epoch(ctx context.Context, e types.Epoch) (*Epoch, error)
	// Changes returns the registry changes that lead from the view of e−1 to that of e, for one region, in order.
	Changes(ctx context.Context, e types.Epoch, region types.Region) ([]tally.Change, error)
	Header(ctx context.Context, e types.Epoch, region types.Region) (*Header, error)
	// Headers returns the newest headers of a region, newest first, at most limit (≤ 1,000): skipped and voided
	// ones too, with their status, but none that is still open.
	Headers(ctx context.Context, region types.Region, limit int) ([]*Header, error)
	// Settlement returns what the chain made of epoch e, or ErrNotFound until every region is in or has skipped.
	Settlement(ctx context.Context, e types.Epoch) (*tally.Settlement, error)
	Devices(ctx context.Context) ([]Device, error)
	// DevicesOf lists an owner's devices by key, a page at a time. next is opaque: nil for the first page, and
	// after the last one.
	DevicesOf(ctx context.Context, owner types.Account, from []byte) (list []Device, next []byte, err error)
	// DevicesByKey returns those of at most MaxKeys devices that are registered, in the order in which they are
	// asked for.
	DevicesByKey(ctx context.Context, keys []types.Key) ([]Device, error)
	// Device returns a device as it stands now, which the next epoch's view will show.
	Device(ctx context.Context, key types.Key) (*Device, error)
	Grant(ctx context.Context, key types.Key) (*Grant, error)
	// Verifier returns a verifier as it stands now, by its attestation key, which may not count yet; without
	// power while its validator is not bonded or jailed.
	Verifier(ctx context.Context, key types.Key) (*tally.Attester, error)
	Account(ctx context.Context, account types.Account) (*Account, error)
	// Claimed returns what has been paid out for a device, ever.
	Claimed(ctx context.Context, device types.Key) (types.Ustone, error)
	Supply(ctx context.Context) (*Supply, error)
	// Quote returns the credits that amount buys now.
	Quote(ctx context.Context, amount types.Ustone) (types.Credit, error)
	Querier
}

// Msg is one of the messages below, or a ModuleMsg.
type Msg interface{ IsMsg() }

// Register registers a device whose claim statement its owner holds.
type Register struct {
	Statement evidence.SignedStatement
	Bond      types.Ustone
}

// Buy buys credits that can be spent in a region, at least Min.
type Buy struct {
	Region types.Region
	Amount types.Ustone
	Min    types.Credit
}

// GrantKey lets a session key spend in a region, which it keeps; Proof is the key's own signature
// (evidence.GrantBytes).
type GrantKey struct {
	Region types.Region
	Key    types.Key
	Limit  types.Credit
	Expiry types.Epoch
	Proof  types.Signature
}

// SetVerifier names a validator's attestation and VRF keys, each with a proof of possession (evidence.VerifierBytes).
type SetVerifier struct {
	Key, VRF           types.Key
	KeyProof, VRFProof types.Signature
}

// Commit hands in a header with signatures of more than two thirds of power. Bitmap counts verifiers as
// Epoch.Verifiers lists them, least significant bit of the first byte first; Signatures follow in that order.
type Commit struct {
	Header     []byte
	Bitmap     []byte
	Signatures []types.Signature
}

// AddSignatures adds signatures to an accepted header until the next cut.
type AddSignatures struct {
	Epoch      types.Epoch
	Region     types.Region
	Bitmap     []byte
	Signatures []types.Signature
}

// Claims pays out claims, to each device's current owner. A claim that has nothing left to pay is refused with
// already_claimed only if all of them are so. A leaf of a header at least four epochs after the device began to
// unbond also frees its bond.
type Claims struct{ Claims []Claim }

// Appeal opens a vote on a header; its bond is taken from the sender.
type Appeal struct {
	Epoch  types.Epoch
	Region types.Region
}

// Vote is a verifier's vote on an appeal: whether the header is what it recomputes. Sig is by the attestation key
// (evidence.VoteBytes).
type Vote struct {
	Epoch  types.Epoch
	Region types.Region
	Yes    bool
	Key    types.Key
	Sig    types.Signature
}

// Equivocation shows two headers that one verifier signed for one epoch, region and round.
type Equivocation struct {
	Verifier types.Key
	A, B     []byte
	SigA     types.Signature
	SigB     types.Signature
}

// SetFleet says which things are behind a device of the sender's, in place of what was said before.
type SetFleet struct {
	Device types.Key
	Fleet  fleet.Fleet
}

// Unbond starts to unbond a device.
type Unbond struct{ Device types.Key }

// Send pays ustone from one account to another.
type Send struct {
	To     types.Account
	Amount types.Ustone
}

func (Register) IsMsg()      {}
func (Buy) IsMsg()           {}
func (GrantKey) IsMsg()      {}
func (SetVerifier) IsMsg()   {}
func (Commit) IsMsg()        {}
func (AddSignatures) IsMsg() {}
func (Claims) IsMsg()        {}
func (Appeal) IsMsg()        {}
func (Vote) IsMsg()          {}
func (Equivocation) IsMsg()  {}
func (SetFleet) IsMsg()      {}
func (Unbond) IsMsg()        {}
func (Send) IsMsg()          {}

// Receipt says that a transaction is in a block and did what it should.
type Receipt struct {
	Height uint64
	TxHash string
	Gas    uint64
}

// Writer writes to the chain.
type Writer interface {
	// Submit signs msgs as one transaction of account from, whose key the implementation holds, and waits until
	// it is in a block. Either all messages take effect or none.
	Submit(ctx context.Context, from types.Account, msgs ...Msg) (*Receipt, error)
}

// Ledger is both.
type Ledger interface {
	Reader
	Writer
}
