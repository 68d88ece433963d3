// Package role says what runs where. To each kind of program a category is one value, and a line in that kind's list
// (service/all):
//
//   - Device: on a device. It makes the Provider that runs there;
//   - Customer: at a gateway, with the commands with which people use it;
//   - Witness: beside a verifier, where the category has live checks;
//   - Simulator: in a network on one machine, with what stands in for hardware.
//
// A value's fields say everything that such a program can know of the category. Those that a category may lack are
// optional, which their comments say, and nil or empty then: nothing is found out by looking what methods somebody
// has.
//
// What runs is given a host: Host, Market or WitnessHost. It never sees the chain or the bus: what it needs of them,
// its host gives. So the same provider runs in a test with an in-memory host, in a whole network on one laptop, and
// on a device in the field.
package role

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/tally"
	"github.com/cairn-network/cairn/core/types"
)

// Notice is what a device learns of the chain at an epoch's start, and again whenever the seed becomes known.
// More than two thirds of power signed it.
type Notice struct {
	Epoch      types.Epoch
	Seed       types.Hash // seed(e); zero while it is unknown
	Challenged bool       // whether this epoch's challenges bind
	EpochTime  uint64     // Unix seconds of the epoch's first block: what tally.Input.Time will be
	Height     uint64     // the newest block
	Hash       types.Hash
	Time       uint64      // Unix seconds of that block
	First, Cut uint64      // the epoch's first and last block
	Final      types.Epoch // the newest epoch whose header is final in the device's region; 0 for none
	Totals     []uint64    // of the provider's category in its region, as of the last tally
	// Tallied is the epoch of the region's last tally before Epoch, 0 for none. It falls when a header is
	// voided. What was handed in by then and does not show in Line did not count, and can be handed in again.
	Tallied types.Epoch
	// Line is the category's state for this device as of that tally (tally.Output.State), checked by the host
	// against its header; nil for none. What Verify will judge the epoch by, a provider reads here.
	Line       []byte
	MinOpening types.Credit // the least that a receipt opens a session with
	// Rules are the category's own rules in force in the epoch (tally.Params.Rules); empty stands for those of
	// its Spec. As Verify does, a role that cannot read them takes the defaults.
	Rules []byte
}

// Payer is what a device knows of a payer: as of the last notice.
type Payer struct {
	Account types.Account
	Limit   types.Credit // of the key
	Expiry  types.Epoch
	Spent   types.Credit // of the key
	Balance types.Credit // B − S of the account
	// Promised is what the key's receipts on the bus, to all devices, say beyond Spent. A provider stops when
	// Balance − Promised is less than what it lets run up. Sessions that the bus has forgotten are not in it.
	Promised types.Credit
}

// FairQuality is the quality, in basis points, below which customers choose other devices first: half of the most.
const FairQuality types.Bp = 5000

// Station is what everybody is given who hands in evidence.
type Station interface {
	Chain() string
	Key() types.Key
	// Sign signs in one of the key's domains: the category's own ("storage/…"), and for a device also "ask" and
	// "countersignature".
	Sign(kind string, payload []byte) types.Signature
	TLS() types.PrivateKey // the key, for its TLS certificate
	Log() *slog.Logger
	// Dir is a directory of the role's own, which survives restarts.
	Dir() string
	// Notices delivers the newest notice and then each further one; a slow reader misses all but the newest.
	Notices(ctx context.Context) <-chan Notice
	// Submit hands in evidence of the current epoch. It returns when the envelope is on disk, signed and
	// numbered; it is resent until enough verifiers have acknowledged it. A full queue is an error
	// (types.OverQuota).
	Submit(ctx context.Context, kind evidence.Kind, body []byte) error
}

// Host is what a provider is given.
type Host interface {
	Station
	// Room returns nil, or types.DiskFull while the disk of the device is nearly full: then a provider takes
	// nothing new on, and goes on proving and serving what it holds.
	Room() error
	// SubmitReceipt countersigns and hands in a receipt, with the ask that it names.
	SubmitReceipt(ctx context.Context, signed *receipt.Signed) error
	// SubmitAsk hands in an ask of the device's (Offer returns one) for the batch, where the category's Verify
	// reads it (tally.Input.Asks). It returns when the ask is on disk; it is resent until enough verifiers have
	// acknowledged it, or until it lapses. A full queue is an error (types.OverQuota), and a batch takes
	// tally.MaxAsks of a device in one category.
	SubmitAsk(ctx context.Context, ask *receipt.SignedAsk) error
	// Offer signs and publishes an ask, and keeps it published until the next Offer of the same class or the
	// end of Run.
	Offer(ctx context.Context, ask receipt.Ask) (*receipt.SignedAsk, error)
	// KeepAsk has receipts name an ask of the device's that is not published: one that was made for one
	// session. It returns when the ask is on disk. As many are kept as a node can hand in receipts for; those
	// that lapse first go first.
	KeepAsk(ctx context.Context, ask *receipt.SignedAsk) error
	// Beat says how much of the newest ask of a class is free, and whether the device takes nothing new
	// (draining). It is published every few seconds from then on until the end of Run, and soon after each call
	// that says something else. More than the ask's capacity is told as that.
	Beat(class types.Class, free types.U128, draining bool)
	// Panel returns who was drawn for this device in the current epoch, for one of the category's draws
	// (tally.Spec.Draws), in the order drawn: what more than two thirds of power say. It is bus_unavailable
	// until the epoch's seed is known.
	Panel(ctx context.Context, purpose string) ([]types.Key, error)
	// Payer returns what is known of a payer; unknown ones are asked for and become known with a later notice.
	Payer(ctx context.Context, key types.Key) (Payer, error)
}

// Offer is an ask that was found, with what is known of its device.
type Offer struct {
	Ask     *receipt.SignedAsk
	Owner   types.Account
	Cell    types.Cell // where the registry has the device; 0 for no place
	Quality types.Bp
	// Beat is what the device says is free of the ask now, where the category's Customer hears beats: nil if it
	// has been silent.
	Beat *Beat
}

// Want says which offers of a market's category to find.
type Want struct {
	Class  types.Class
	Device types.Key    // only this one's; zero for anybody's
	Near   []types.Cell // only of devices in these cells, which are of resolution 3 or finer, at most MaxNear; none for anywhere
}

// MaxNear bounds near how many cells offers are looked for at once.
const MaxNear = 16

// Market is what a customer is given: whom to buy from, and what to pay with.
type Market interface {
	Registry
	Chain() string
	Region() types.Region // of the devices that are on offer; orders name it
	Log() *slog.Logger
	Dir() string
	// Epoch returns the current epoch's notice.
	Notice() Notice
	// Offers lists the live asks that are wanted, best first, and those left out, each with its reason. Of a
	// category that more devices offer than a gateway remembers, it knows some of those anywhere, drawn by
	// chance; of those near cells, and of one device, it asks the bus. It returns at most a few thousand.
	Offers(ctx context.Context, w Want) (offers []Offer, passed []Passed, err error)
	// Ask asks a device, signed with the session key of a wallet.
	Ask(ctx context.Context, w Wallet, q Question) (answer []byte, err error)
	// Fetch fetches a larger thing that a device holds, asked for with the session key of a wallet, and returns
	// its size.
	Fetch(ctx context.Context, w Wallet, f Fetch) (size int64, err error)
	// Dial connects to an address that an ask names. The owner of the gateway says which private ones it may
	// be: private_address.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// Wallet returns the account that an API key stands for: its session key signs receipts.
	Wallet(r *http.Request) (Wallet, error)
	// Wallets lists all accounts whose keys this gateway holds, for background work.
	Wallets() []Wallet
	// Publish puts a receipt on the bus under its payer, so that every provider sees what the payer owes elsewhere.
	Publish(ctx context.Context, signed *receipt.Signed) error
	// Order hands in an order of one of this gateway's wallets for the batch, where it counts from the next
	// epoch on. It returns when the order is on disk; it is resent until enough verifiers have acknowledged it.
	// A later one of the session takes its place. What can be seen to be wrong with it is refused at once, with
	// the reason that a tally would give; what verifiers or the tally find wrong later shows in OrderState. Too
	// many orders that wait are an error (types.OverQuota).
	Order(ctx context.Context, signed *receipt.SignedOrder) error
	// OrderState returns where the orders of a session stand.
	OrderState(ctx context.Context, session tally.SessionKey) (OrderState, error)
	// Tell tells the category's witnesses beside one verifier something that proves itself, of at most MaxTell bytes.
	// Nobody keeps it, or answers.
	Tell(ctx context.Context, verifier types.Key, body []byte) error
	// Outputs returns the leaves of the category's outputs in an epoch's tally whose data starts with prefix,
	// in their order, each checked against the header that the chain took. It is not_final if the epoch has no
	// header yet, region_skipped if it will have none, unknown_blob if nobody keeps the epoch's outputs any
	// more: verifiers do for a week of hours beyond finality.
	Outputs(ctx context.Context, epoch types.Epoch, prefix []byte) ([]Output, error)
}

// OrderState is where the orders of one session stand. What the tally has is checked against the header of Tallied.
type OrderState struct {
	Tallied types.Epoch  // the epoch of the region's last tally; 0 for none
	Known   bool         // a tally has counted an order of the session, and that tally remembers it or this gateway does
	Seq     uint64       // the number of the newest order that was counted
	Ended   bool         // it buys nothing more: it was cancelled, is used up or over, or no credits were behind it for too long
	Unpaid  types.Epoch  // of one that has not ended: since when there are no credits behind it; 0 if there are
	Units   types.U128   // what it has bought so far
	Amount  types.Credit // what it has paid so far
	// Waiting is the number (Order.Seq) of a newer order that this gateway hands in and that the tally does not
	// show yet, 0 for none.
	Waiting uint64
	// Refused is why the newest order that this gateway handed in did not count, "" if it did or may yet.
	Refused types.Reason
}

// Counted reports whether a tally has counted the session's order of a number, or a later one.
func (s OrderState) Counted(seq uint64) bool { return s.Known && s.Seq >= seq }

// Of takes over what a tally has of a session's orders.
func (s *OrderState) Of(line *tally.OrderState) {
	s.Known, s.Seq, s.Ended, s.Units, s.Amount = true, line.Seq, line.Ended(), line.Units, line.Amount
	if !s.Ended {
		s.Unpaid = line.Since
	}
}

// Output is a leaf of the outputs tree with its proof (tally.Header.VerifyOutput).
type Output struct {
	Epoch    types.Epoch
	Region   types.Region
	Final    bool // the header is final; else it can still be voided
	Index    uint64
	Data     []byte
	Detail   []byte // what its category keeps beside it; nothing vouches for it but a digest in Data
	Siblings []types.Hash
}

// Passed is an offer that was left out, and why.
type Passed struct {
	Device types.Key
	Reason types.Reason
}

// Wallet is one customer at the gateway.
type Wallet interface {
	Account() types.Account
	// Payer returns the session key's public half; Sign signs in one of the payer's domains: "receipt",
	// "order", "storage/…".
	Payer() types.Key
	Sign(kind string, payload []byte) types.Signature
	TLS() types.PrivateKey // the session key, for its TLS certificate
	// Secret derives a secret of the account's for a purpose (HKDF-SHA-256 over the account's secret).
	Secret(purpose string) [32]byte
	// Balance returns what the account may still spend, as of the last notice, less what was promised since.
	Balance() types.Credit
	// Awaited returns credits that the account has bought and that no tally shows yet, and about how long that takes.
	// It is asked where the balance is 0.
	Awaited(ctx context.Context) (credits types.Credit, wait time.Duration)
}
