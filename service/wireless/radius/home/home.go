package home

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	codec "layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc4372"
	"layeh.com/radius/vendors/wispr"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/bolt"
	"github.com/cairn-network/cairn/service/wireless"
	"github.com/cairn-network/cairn/service/wireless/radius"
	"github.com/cairn-network/cairn/service/wireless/radius/eap"
)

const (
	maxSessions = 1 << 16 // of users, in all
	maxOfDevice = 1 << 13
	maxDevices  = 1 << 14
	maxDay      = 1 << 17 // subscribers whose bytes of a day are remembered; those beyond count nothing that day

	receiptLife  types.Epoch = 168 // epochs of a session of receipts
	receiptEvery             = time.Minute
	quietAfter               = 10 * Interim * time.Second
	slack                    = 2 * Interim // seconds that a session may be ahead of the ask's speed

	// Interim is how often sessions are accounted for, in seconds.
	Interim = radius.Interim
)

// Wallet is who pays: role.Wallet is one.
type Wallet interface {
	Payer() types.Key
	Sign(kind string, payload []byte) types.Signature
	Balance() types.Credit
}

// Terms are what a device serves under.
type Terms struct {
	Price    uint64 // micro-credits for wireless.Scale bytes
	Speed    uint64 // bit/s of the ask's class
	Category types.Category
}

// Upstream is the provider's own RADIUS server.
type Upstream struct {
	Login   string // address for Access-Requests
	Account string // address for accounting; "" for none
	Secret  []byte
}

// Config says whose home it is.
type Config struct {
	Chain string
	Realm string
	// Users checks names and passwords, where Upstream is nil; EAP is optional.
	Users interface {
		Check(ctx context.Context, user, password string) error
	}
	EAP      *eap.Server
	Upstream *Upstream
	Wallet   Wallet
	// Terms returns what the ask says that a device names; an error refuses the device: wireless.price_above_route,
	// wireless.ask_expired.
	Terms func(ctx context.Context, device types.Key, ask types.Hash) (Terms, error)
	Epoch func() types.Epoch
	// Publish puts a receipt on the bus; optional.
	Publish func(ctx context.Context, signed *receipt.Signed) error
	// DayBytes is the cap of a subscriber and day; 0 for none.
	DayBytes uint64
	ClassKey []byte // a secret that lasts
	Dir      string
	Log      *slog.Logger
	Now      func() time.Time // nil for the clock
}

// Home answers devices: Handle is for radius.Secure.
type Home struct {
	config Config
	db     *bbolt.DB
	wrong  guesses

	mu      sync.Mutex // guards what follows
	table   *radius.Table
	devices map[types.Key]*device
	day     int64
	used    map[[8]byte]uint64 // bytes of the day, by subscriber
}

// device is what is known of one device: what is counted there, and what was signed for it.
type device struct {
	Key      types.Key                            `cbor:"1,keyasint"`
	Session  types.SessionID                      `cbor:"2,keyasint"` // of receipts; the zero one if none is open
	Terms    types.Hash                           `cbor:"3,keyasint"`
	Price    uint64                               `cbor:"4,keyasint"`
	Category types.Category                       `cbor:"5,keyasint"`
	First    types.Epoch                          `cbor:"6,keyasint"`
	Count    uint64                               `cbor:"7,keyasint"` // bytes since the session began
	Units    uint64                               `cbor:"8,keyasint"` // that were signed for
	Amount   types.Credit                         `cbor:"9,keyasint"`
	Seq      uint64                               `cbor:"10,keyasint"`
	Limit    uint64                               `cbor:"11,keyasint"` // W
	Signed   []byte                               `cbor:"12,keyasint"` // the newest receipt
	At       int64                                `cbor:"13,keyasint"` // when it was signed, in Unix seconds
	Speed    uint64                               `cbor:"14,keyasint"`
	changed  map[radius.SessionID]*radius.Session // since then
}

var deviceBucket, sessionBucket = []byte("devices"), []byte("sessions")

// Open opens a home; Close closes it.
func Open(c Config) (*Home, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Upstream == nil && c.Users == nil && c.EAP == nil {
		return nil, types.Refuse(types.BadArgument, "realm %s has neither users nor a RADIUS server", c.Realm)
	}
	db, err := bolt.Open(filepath.Join(c.Dir, "home.db"), deviceBucket, sessionBucket)
	if err != nil {
		return nil, err
	}
	db.MaxBatchDelay = 200 * time.Microsecond // an access point waits for each answer
	h := &Home{config: c, db: db, table: radius.NewTable(maxSessions, maxOfDevice), devices: map[types.Key]*device{}, used: map[[8]byte]uint64{}}
	var sessions []*radius.Session
	err = db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(deviceBucket).ForEach(func(_, v []byte) error {
			d := &device{changed: map[radius.SessionID]*radius.Session{}}
			err := types.Decode(v, d)
			h.devices[d.Key] = d
			return err
		})
		return errors.Join(err, tx.Bucket(sessionBucket).ForEach(func(_, v []byte) error {
			s := new(radius.Session)
			err := types.Decode(v, s)
			sessions = append(sessions, s)
			return err
		}))
	})
	if err != nil {
		return nil, errors.Join(types.Refuse(types.HomeDamaged, "%s: %v", db.Path(), err), db.Close())
	}
	h.table.Restore(sessions)
	return h, nil
}

// Close closes the home's files.
func (h *Home) Close() error { return h.db.Close() }

// Handle answers a request of a device's.
func (h *Home) Handle(ctx context.Context, r *radius.Request) *radius.Packet {
	switch r.Code {
	case codec.CodeAccessRequest:
		p, err := h.login(ctx, r)
		if err != nil {
			if errors.Is(err, radius.ErrForm) || errors.Is(err, eap.ErrForm) {
				return nil
			}
			h.config.Log.Info("a login is refused", "device", r.Peer, "err", err)
			p = reject(r, p, types.ReasonOf(err))
		}
		return p
	case codec.CodeAccountingRequest:
		p, err := h.account(ctx, r)
		if err != nil {
			h.config.Log.Info("accounting is refused", "device", r.Peer, "err", err)
		}
		return p
	}
	return nil
}

// reject makes an Access-Reject, of p if there is one.
func reject(r *radius.Request, p *radius.Packet, reason types.Reason) *radius.Packet {
	if p == nil {
		p = r.Response(codec.CodeAccessReject)
		if raw := radius.EAP(r.Packet); len(raw) > 1 {
			radius.AddEAP(p, []byte{4, raw[1], 0, 4}) // EAP-Failure
		}
		radius.ReturnState(p, r.Packet)
	}
	if reason == "" {
		reason = wireless.IdPRefused
	}
	radius.SetReason(p, reason)
	return p
}

// login answers an Access-Request. Of an error, the packet is what EAP says about it, if it says something.
func (h *Home) login(ctx context.Context, r *radius.Request) (*radius.Packet, error) {
	user := rfc2865.UserName_GetString(r.Packet)
	if radius.Realm(user) != h.config.Realm {
		return nil, types.Refuse(wireless.RealmUnknown, "user %.64q is not of %s", user, h.config.Realm)
	}
	ask, ok := radius.Ask(r.Packet)
	if !ok {
		return nil, types.Refuse(types.UnknownAsk, "no ask is named")
	}
	terms, err := h.config.Terms(ctx, r.Peer, ask)
	if err != nil {
		return nil, err
	}
	if h.config.Wallet.Balance() == 0 {
		return nil, types.Refuse(types.OverBudget, "the account of %s has no credits left", h.config.Realm)
	}
	now := h.config.Now()
	byDevice := string(r.Peer[:])
	if !h.wrong.may(byDevice, guessDevice, guessDeviceAgain, now) || !h.wrong.may(user, guessUser, guessUserAgain, now) {
		return nil, types.Refuse(wireless.IdPRefused, "too many wrong passwords of %.64q or over this device", user)
	}
	p, user, err := h.authenticate(ctx, r, user)
	if types.ReasonOf(err) == wireless.IdPRefused || p != nil && p.Code == codec.CodeAccessReject {
		h.wrong.wrong(byDevice, guessDeviceAgain, now)
		h.wrong.wrong(user, guessUserAgain, now)
	}
	if err != nil || p.Code != codec.CodeAccessAccept {
		return p, err
	}
	return p, h.grant(p, r, user, terms, ask, now)
}

// authenticate finds out whether a user is who it says, and who it is then.
func (h *Home) authenticate(ctx context.Context, r *radius.Request, user string) (*radius.Packet, string, error) {
	switch {
	case h.config.Upstream != nil:
		p, err := h.ask(ctx, h.config.Upstream.Login, r)
		return p, user, err
	case len(radius.EAP(r.Packet)) > 0:
		if h.config.EAP == nil {
			return nil, user, types.Refuse(wireless.IdPRefused, "EAP is not offered")
		}
		p, step, err := h.config.EAP.Answer(ctx, string(r.Peer[:]), r)
		if err != nil {
			return nil, user, err
		}
		if step.Err != nil {
			return p, user, types.Refuse(wireless.IdPRefused, "%v", step.Err)
		}
		if step.Accepted {
			user = step.User
		}
		return p, user, nil
	case h.config.Users == nil:
		return nil, user, types.Refuse(wireless.IdPRefused, "only EAP is offered")
	}
	password, err := rfc2865.UserPassword_LookupString(r.Packet)
	if err != nil {
		return nil, user, types.Refuse(wireless.IdPRefused, "neither EAP nor PAP: %v", err)
	}
	if err := h.config.Users.Check(ctx, user, password); err != nil {
		return nil, user, err
	}
	p := r.Response(codec.CodeAccessAccept)
	radius.ReturnState(p, r.Packet)
	return p, user, nil
}

// ask asks the provider's own server.
func (h *Home) ask(ctx context.Context, address string, r *radius.Request) (*radius.Packet, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	on, err := radius.Onward(r.Packet, h.config.Upstream.Secret)
	if err != nil {
		return nil, err
	}
	reply, err := radius.Exchange(ctx, address, on)
	if err != nil {
		return nil, err
	}
	return radius.Back(reply, on, r.Packet)
}

// grant adds to an Access-Accept what a session may do, and its Class, the first one.
func (h *Home) grant(p *radius.Packet, r *radius.Request, user string, terms Terms, ask types.Hash, now time.Time) error {
	id := pseudonym(h.config.ClassKey, user, r.Peer)
	h.mu.Lock()
	d, err := h.device(r.Peer, terms, ask)
	var share uint64
	if err == nil {
		_, open := h.table.LenOf(r.Peer.String())
		share = min(d.Limit*8/Interim/uint64(open+1)/2, 1<<31)
	}
	h.mu.Unlock()
	if err != nil {
		return err
	}
	sealed := class{r.Peer, h.subscriber(user), now}.seal(h.config.ClassKey)
	p.Attributes = append(codec.Attributes{{Type: rfc2865.Class_Type, Attribute: sealed}}, p.Attributes...)
	p.Del(rfc2869.AcctInterimInterval_Type)
	p.Del(rfc2865.SessionTimeout_Type)
	p.Del(rfc4372.ChargeableUserIdentity_Type)
	return errors.Join(
		rfc2869.AcctInterimInterval_Set(p, Interim),
		rfc2865.SessionTimeout_Set(p, rfc2865.SessionTimeout(sessionLife/time.Second)),
		rfc4372.ChargeableUserIdentity_Set(p, fmt.Appendf(nil, "%x", id)),
		wispr.WISPrBandwidthMaxUp_Set(p, wispr.WISPrBandwidthMaxUp(share)),
		wispr.WISPrBandwidthMaxDown_Set(p, wispr.WISPrBandwidthMaxDown(share)),
	)
}

// subscriber names a user at the home.
func (h *Home) subscriber(user string) [8]byte {
	return pseudonym(h.config.ClassKey, user, types.Key{})
}

// device returns what is known of a device; a new one begins with the terms. h.mu is held.
func (h *Home) device(key types.Key, terms Terms, ask types.Hash) (*device, error) {
	d := h.devices[key]
	if d == nil {
		if len(h.devices) >= maxDevices {
			return nil, types.Refuse(types.DeviceBusy, "%d devices are known", maxDevices)
		}
		d = &device{Key: key, Limit: wireless.LimitOf(wireless.WiFi).First, changed: map[radius.SessionID]*radius.Session{}}
		h.devices[key] = d
	}
	if epoch := h.config.Epoch(); d.Session == (types.SessionID{}) || d.Session.Expiry() <= epoch && d.Count == d.Units {
		d.Session = types.NewSessionID(epoch+receiptLife, random())
		d.Terms, d.Price, d.Category, d.Speed, d.First = ask, terms.Price, terms.Category, terms.Speed, epoch
		d.Count, d.Units, d.Amount, d.Seq, d.Signed = 0, 0, 0, 0, nil
	}
	return d, nil
}

// account answers an Accounting-Request. Whatever is wrong with it, an access point that gets no answer says it
// again: so what can never count is answered too.
func (h *Home) account(ctx context.Context, r *radius.Request) (*radius.Packet, error) {
	rec, err := radius.ReadRecord(r)
	if err != nil {
		return nil, err
	}
	if up := h.config.Upstream; up != nil && up.Account != "" {
		if _, err := h.ask(ctx, up.Account, r); err != nil {
			return nil, err
		}
	}
	p := r.Response(codec.CodeAccountingResponse)
	radius.ReturnState(p, r.Packet)
	now := h.config.Now()
	h.mu.Lock()
	signed, write, err := h.count(r, rec, now)
	h.mu.Unlock()
	if err != nil {
		radius.SetReason(p, types.ReasonOf(err))
	}
	if write != nil {
		if err := h.db.Batch(write); err != nil {
			return nil, fmt.Errorf("keep a receipt: %w", err)
		}
		if h.config.Publish != nil {
			if s, err := receipt.Decode(signed, h.config.Chain); err == nil {
				if err := h.config.Publish(ctx, s); err != nil {
					h.config.Log.Warn("a receipt is not on the bus", "device", r.Peer, "err", err)
				}
			}
		}
	}
	if signed != nil {
		if err := radius.SetReceipt(p, signed); err != nil {
			return nil, err
		}
	}
	return p, err
}

// count counts a record, and returns the device's newest receipt, and, if that is new, what writes it down. h.mu is
// held.
func (h *Home) count(r *radius.Request, rec *radius.Record, now time.Time) (signed []byte, write func(*bbolt.Tx) error, err error) {
	owner := r.Peer.String()
	d := h.devices[r.Peer]
	if rec.Status == rfc2866.AcctStatusType_Value_AccountingOn || rec.Status == rfc2866.AcctStatusType_Value_AccountingOff {
		_, _, err = h.table.Take(owner, rec, now, now)
		if d == nil || err != nil {
			return nil, nil, err
		}
		return h.sign(d, true, now)
	}
	c, ok := openClass(h.config.ClassKey, rec.Class, r.Peer)
	if age := now.Sub(c.begun); !ok || age < 0 || age > sessionLife+quietAfter {
		return nil, nil, types.Refuse(wireless.IdPRefused, "accounting without a Class that this device was given, or of one that is over")
	}
	if d == nil { // it was given before a restart, and nothing was counted
		ask, ok := radius.Ask(r.Packet)
		if !ok {
			return nil, nil, types.Refuse(types.UnknownAsk, "no ask is named")
		}
		terms, err := h.config.Terms(context.Background(), r.Peer, ask)
		if err != nil {
			return nil, nil, err
		}
		if d, err = h.device(r.Peer, terms, ask); err != nil {
			return nil, nil, err
		}
	}
	s, _, err := h.table.Take(owner, rec, now, c.begun.Add(sessionLife+2*quietAfter))
	if s == nil {
		return d.Signed, nil, err
	}
	// No more than the speed allows since the login, and no more than the subscriber's cap of the day.
	may := d.Speed / 8 * (uint64(now.Sub(c.begun)/time.Second) + slack)
	if d.Speed == 0 {
		may = s.Total()
	}
	grown := min(s.Total(), may) - min(s.Counted, min(s.Total(), may))
	grown = h.dayShare(c.subscriber, grown, now)
	s.Counted += grown
	d.Count += grown
	d.changed[s.ID] = s
	signed, write, signErr := h.sign(d, !s.Open, now)
	if err == nil {
		err = signErr
	}
	return signed, write, err
}

// dayShare returns how many of some bytes count today.
func (h *Home) dayShare(subscriber [8]byte, bytes uint64, now time.Time) uint64 {
	if h.config.DayBytes == 0 {
		return bytes
	}
	if day := now.Unix() / 86400; day != h.day {
		h.day = day
		clear(h.used)
	}
	used, known := h.used[subscriber]
	if !known && len(h.used) >= maxDay {
		return 0
	}
	bytes = min(bytes, h.config.DayBytes-min(used, h.config.DayBytes))
	h.used[subscriber] = used + bytes
	return bytes
}

// sign signs a receipt if it is time for one. It returns the newest one in any case, and the error why there is
// none for all that was counted.
func (h *Home) sign(d *device, closed bool, now time.Time) (signed []byte, write func(*bbolt.Tx) error, err error) {
	unpaid := d.Count - d.Units
	half := unpaid >= d.Limit/2
	if unpaid == 0 || !half && !closed && now.Sub(time.Unix(d.At, 0)).Abs() < receiptEvery {
		return d.Signed, nil, nil
	}
	amount, err := wireless.Amount(d.Count, d.Price)
	if err != nil {
		return d.Signed, nil, err
	}
	if balance := h.config.Wallet.Balance(); amount-d.Amount > balance {
		return d.Signed, nil, types.Refuse(types.OverBudget, "%d micro-credits for %d bytes, and the account has %d", amount-d.Amount, unpaid, balance)
	}
	s := &receipt.Signed{Receipt: receipt.Receipt{
		Chain: h.config.Chain, Category: d.Category, Session: d.Session, Payer: h.config.Wallet.Payer(), Device: d.Key,
		Terms: d.Terms, Units: types.U64(d.Count), Amount: amount, Seq: d.Seq + 1, First: d.First,
	}}
	s.PayerSig = h.config.Wallet.Sign("receipt", s.Receipt.Bytes())
	d.Units, d.Amount, d.Signed, d.At = d.Count, amount, s.Encode(), now.Unix()
	d.Seq++
	if half {
		d.Limit = wireless.LimitOf(wireless.WiFi).Next(d.Limit)
	}
	seq, key, raw := d.Seq, d.Key, types.Encode(d)
	rows := map[radius.SessionID][]byte{}
	for id, s := range d.changed {
		rows[id] = types.Encode(s)
	}
	clear(d.changed)
	session := d.Session
	return d.Signed, func(tx *bbolt.Tx) error {
		b := tx.Bucket(deviceBucket)
		old := new(device)
		if v := b.Get(key[:]); v == nil || types.Decode(v, old) != nil || old.Session != session || old.Seq < seq {
			if err := b.Put(key[:], raw); err != nil {
				return err
			}
		}
		for id, v := range rows {
			if err := tx.Bucket(sessionBucket).Put(id[:], v); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Clean closes sessions that are silent, signs for them, and forgets on disk those that are over. Whoever has a home
// calls it about once a minute.
func (h *Home) Clean() error {
	now := h.config.Now()
	h.mu.Lock()
	var writes []func(*bbolt.Tx) error
	for _, s := range h.table.Quiet(now.Add(-quietAfter)) {
		key, err := types.ParseKey(s.Owner)
		d := h.devices[key]
		if err != nil || d == nil {
			continue
		}
		d.changed[s.ID] = s
		if _, write, _ := h.sign(d, true, now); write != nil {
			writes = append(writes, write)
		}
	}
	h.mu.Unlock()
	return h.db.Update(func(tx *bbolt.Tx) error {
		for _, write := range writes {
			if err := write(tx); err != nil {
				return err
			}
		}
		c := tx.Bucket(sessionBucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			s := new(radius.Session)
			if types.Decode(v, s) != nil || s.Until < now.Unix() {
				if err := c.Delete(); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Line is what a home knows of one device, for people.
type Line struct {
	Device   types.Key    `json:"device"`
	Sessions int          `json:"sessions"` // that are open
	Count    uint64       `json:"count"`    // bytes of the session of receipts
	Units    uint64       `json:"receipted"`
	Amount   types.Credit `json:"amount"`
	Limit    uint64       `json:"unpaid_limit"`
}

// Lines lists the devices.
func (h *Home) Lines() []Line {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Line, 0, len(h.devices))
	for _, d := range h.devices {
		_, open := h.table.LenOf(d.Key.String())
		list = append(list, Line{d.Key, open, d.Count, d.Units, d.Amount, d.Limit})
	}
	return list
}
