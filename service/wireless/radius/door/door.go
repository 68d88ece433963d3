package door

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	codec "layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc5580"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/service/wireless"
	"github.com/cairn-network/cairn/service/wireless/radius"
)

const (
	maxSessions  = 1 << 12 // of users
	maxGateways  = 1 << 8  // connections to gateways; the one that was used longest ago is closed
	maxKept      = 1 << 10 // bytes of a record that is kept for a gateway that is away
	sessionLife  = 24 * time.Hour
	gatewayWait  = 5 * time.Second
	tellEvery    = 10 * time.Second // between two tries to tell gateways what they missed
	saveEvery    = 5 * time.Second
	quietAfter   = 10 * radius.Interim * time.Second
	hangUpAgain  = time.Minute // between two Disconnect-Requests for one session
	hangUpWait   = 10 * time.Second
	hangUpAtOnce = 64

	// DisconnectPort is where access points take Disconnect-Requests (RFC 5176).
	DisconnectPort = 3799
)

// Route is whose users a realm's are, and where their gateway is.
type Route struct {
	Payer   types.Key // whose session key the gateway has
	Gateway string    // host and port
}

// Config says whose door it is.
type Config struct {
	Key   types.PrivateKey // the device's, for TLS
	Chain string
	// Secret is what the device shares with an access point, nil for a stranger.
	Secret func(netip.Addr) []byte
	// Route returns the route of a realm: realm_unknown, price_above_route.
	Route func(realm string) (Route, error)
	// Ask is the hash of the ask that users are served under; ask_expired while there is none.
	Ask func() (types.Hash, error)
	// Price returns the price of an ask of the device's.
	Price    func(ask types.Hash) (price uint64, ok bool)
	Category types.Category
	Epoch    func() types.Epoch
	// Receipt takes a receipt that was checked. It returns when it is on disk.
	Receipt func(ctx context.Context, s *receipt.Signed) error
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	// Port is where access points take Disconnect-Requests; 0 for DisconnectPort.
	Port int
	Dir  string
	Log  *slog.Logger
	Now  func() time.Time // nil for the clock
}

// Door is the door. Handle is for radius.Server.
type Door struct {
	config  Config
	hanging chan struct{}

	mu       sync.Mutex // guards what follows
	table    *radius.Table
	users    map[radius.SessionID]*user
	payers   map[types.Key]*Payer
	classes  map[string]Route // of users that logged in since the start, by their Class
	gateways map[Route]*gateway
	changed  bool
	reason   error // why a user was refused last, or disconnected
	at       time.Time
}

// user is what a door knows of a session beside its counters.
type user struct {
	Payer   types.Key  `cbor:"1,keyasint"`
	Gateway string     `cbor:"2,keyasint"`
	Name    string     `cbor:"3,keyasint"`
	Session string     `cbor:"4,keyasint"`
	Station string     `cbor:"5,keyasint"` // Calling-Station-Id
	NAS     string     `cbor:"6,keyasint"` // NAS-Identifier
	Address netip.Addr `cbor:"7,keyasint"`
	Kept    []byte     `cbor:"8,keyasint"` // what the gateway was not told yet: attributes of the last record
	hung    time.Time  // when it was disconnected last
}

type gateway struct {
	*radius.Client
	used time.Time
}

// Open opens a door. What it knew is in its directory.
func Open(c Config) (*Door, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Port == 0 {
		c.Port = DisconnectPort
	}
	d := &Door{config: c, hanging: make(chan struct{}, hangUpAtOnce), table: radius.NewTable(maxSessions, maxSessions),
		users: map[radius.SessionID]*user{}, payers: map[types.Key]*Payer{}, classes: map[string]Route{}, gateways: map[Route]*gateway{}}
	return d, d.load()
}

// saved is what a door keeps. Counts and sessions are written together: one without the other would count twice.
type saved struct {
	_        struct{} `cbor:",toarray"`
	Sessions []*radius.Session
	Users    []*user // of the sessions, in their order
	Payers   []*Payer
}

func (d *Door) path() string { return filepath.Join(d.config.Dir, "radius.cbor") }

const maxSaved = 64 << 20

func (d *Door) load() error {
	raw, err := os.ReadFile(d.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s saved
	if err := types.DecodeLimit(raw, &s, maxSaved); err != nil || len(s.Users) != len(s.Sessions) {
		return types.Refuse(types.HomeDamaged, "%s: %v", d.path(), err)
	}
	d.table.Restore(s.Sessions)
	for i, one := range s.Sessions {
		d.users[one.ID] = s.Users[i]
	}
	for _, p := range s.Payers {
		if p.Opened == nil {
			p.Opened = map[types.SessionID]opened{}
		}
		d.payers[p.Key] = p
	}
	return nil
}

// Save writes down what changed.
func (d *Door) Save() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.changed {
		return nil
	}
	s := saved{Sessions: []*radius.Session{}, Users: []*user{}, Payers: []*Payer{}}
	known := map[radius.SessionID]bool{}
	for _, one := range d.table.All() {
		if u := d.users[one.ID]; u != nil {
			s.Sessions, s.Users = append(s.Sessions, one), append(s.Users, u)
			known[one.ID] = true
		}
	}
	for id := range d.users {
		if !known[id] {
			delete(d.users, id) // its session was forgotten
		}
	}
	for _, p := range d.payers {
		s.Payers = append(s.Payers, p)
	}
	if err := files.Replace(d.path(), types.Encode(&s), 0o600); err != nil {
		return err
	}
	d.changed = false
	return nil
}

// Run tells gateways what they missed, closes silent sessions and saves, until ctx ends. It closes the connections to
// gateways.
func (d *Door) Run(ctx context.Context) error {
	save, tell := time.NewTicker(saveEvery), time.NewTicker(tellEvery)
	defer save.Stop()
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			d.mu.Lock()
			for _, g := range d.gateways {
				g.Close()
			}
			d.mu.Unlock()
			return d.Save()
		case <-save.C:
			if err := d.Save(); err != nil {
				d.config.Log.Error("sessions cannot be saved", "err", err)
			}
		case <-tell.C:
			d.Tell(ctx)
		}
	}
}

// Handle answers a request of an access point's.
func (d *Door) Handle(ctx context.Context, r *radius.Request) *radius.Packet {
	switch r.Code {
	case codec.CodeAccessRequest:
		p, err := d.login(ctx, r)
		if errors.Is(err, radius.ErrForm) {
			return nil
		}
		if err != nil {
			d.said(err)
			p = r.Response(codec.CodeAccessReject)
			if raw := radius.EAP(r.Packet); len(raw) > 1 {
				radius.AddEAP(p, []byte{4, raw[1], 0, 4}) // EAP-Failure
			} else {
				_ = rfc2865.ReplyMessage_SetString(p, string(types.ReasonOf(err)))
			}
			radius.ReturnState(p, r.Packet)
		}
		return p
	case codec.CodeAccountingRequest:
		p, err := d.account(ctx, r)
		if err != nil {
			d.said(err)
		}
		return p
	}
	return nil
}

func (d *Door) said(err error) {
	d.config.Log.Info("radius", "err", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reason, d.at = err, d.config.Now()
}

// Last returns why a user was refused or disconnected last, and when; nil for never.
func (d *Door) Last() (err error, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reason, d.at
}

// payer returns what is counted of a payer. d.mu is held.
func (d *Door) payer(key types.Key) (*Payer, error) {
	p := d.payers[key]
	if p == nil {
		if len(d.payers) >= maxPayers {
			return nil, types.Refuse(types.DeviceBusy, "%d payers are known", maxPayers)
		}
		p = newPayer(key)
		d.payers[key] = p
	}
	return p, nil
}

// client returns who speaks to a gateway. d.mu is held.
func (d *Door) client(route Route) *radius.Client {
	g := d.gateways[route]
	if g == nil {
		if len(d.gateways) >= maxGateways {
			var oldest Route
			for at, g := range d.gateways {
				if o := d.gateways[oldest]; o == nil || g.used.Before(o.used) {
					oldest = at
				}
			}
			d.gateways[oldest].Close()
			delete(d.gateways, oldest)
		}
		g = &gateway{Client: &radius.Client{Key: d.config.Key, Peer: route.Payer, Address: route.Gateway, Dial: d.config.Dial}}
		d.gateways[route] = g
	}
	g.used = d.config.Now()
	return g.Client
}

// pass passes a request on to a gateway, and returns its reply with what was asked.
func (d *Door) pass(ctx context.Context, route Route, request *radius.Packet) (reply, asked *radius.Packet, err error) {
	asked, err = radius.Onward(request, radius.SecureSecret())
	if err != nil {
		return nil, nil, err
	}
	ask, err := d.config.Ask()
	if err != nil {
		return nil, nil, err
	}
	radius.SetAsk(asked, ask)
	if err := rfc5580.OperatorName_SetString(asked, "1"+d.config.Key.Public().String()); err != nil { // "1": a realm, of a kind
		return nil, nil, err
	}
	d.mu.Lock()
	c := d.client(route)
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, gatewayWait)
	defer cancel()
	reply, err = c.Exchange(ctx, asked)
	return reply, asked, err
}

// login passes an Access-Request on.
func (d *Door) login(ctx context.Context, r *radius.Request) (*radius.Packet, error) {
	name := rfc2865.UserName_GetString(r.Packet)
	route, err := d.config.Route(radius.Realm(name))
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	p, err := d.payer(route.Payer)
	if err == nil {
		err = p.Check(d.config.Now())
	}
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	reply, asked, err := d.pass(ctx, route, r.Packet)
	if err != nil {
		return nil, err
	}
	back, err := radius.Back(reply, asked, r.Packet)
	if err != nil {
		return nil, err
	}
	switch reply.Code {
	case codec.CodeAccessAccept:
		if class := rfc2865.Class_Get(reply); len(class) > 0 {
			d.mu.Lock()
			if len(d.classes) >= 2*maxSessions {
				clear(d.classes) // then users are known by their realm alone
			}
			d.classes[string(class)] = route
			d.mu.Unlock()
		}
	case codec.CodeAccessReject:
		d.said(types.Refuse(cmpReason(radius.Reason(reply), wireless.IdPRefused), "the gateway of %s refuses a user", radius.Realm(name)))
	}
	return back, nil
}

func cmpReason(r, otherwise types.Reason) types.Reason {
	if r == "" {
		return otherwise
	}
	return r
}

// account counts what an access point says, and passes it on.
func (d *Door) account(ctx context.Context, r *radius.Request) (*radius.Packet, error) {
	rec, err := radius.ReadRecord(r)
	if err != nil {
		return nil, err
	}
	answer := r.Response(codec.CodeAccountingResponse)
	radius.ReturnState(answer, r.Packet)
	if rec.Status == rfc2866.AcctStatusType_Value_AccountingOn || rec.Status == rfc2866.AcctStatusType_Value_AccountingOff {
		return answer, d.restart(ctx, r, rec)
	}
	name := radius.Text(rfc2865.UserName_GetString(r.Packet))
	d.mu.Lock()
	route, ok := d.classes[string(rec.Class)]
	if u := d.users[rec.ID("")]; !ok && u != nil {
		route, ok = Route{u.Payer, u.Gateway}, true
	}
	d.mu.Unlock()
	if !ok {
		if route, err = d.config.Route(radius.Realm(name)); err != nil {
			return answer, err // it would never be known
		}
	}
	now := d.config.Now()
	d.mu.Lock()
	p, err := d.payer(route.Payer)
	if err != nil {
		d.mu.Unlock()
		return nil, err
	}
	s, grown, rewound := d.table.Take("", rec, now, now.Add(sessionLife))
	if s == nil {
		d.mu.Unlock()
		return nil, rewound
	}
	s.Until = now.Add(sessionLife).Unix()
	u := d.users[s.ID]
	if u == nil {
		u = &user{Session: rec.Session, NAS: radius.Text(rfc2865.NASIdentifier_GetString(r.Packet))}
		d.users[s.ID] = u
	}
	u.Payer, u.Gateway, u.Address = route.Payer, route.Gateway, r.From.Addr()
	if name != "" {
		u.Name = name
	}
	if station := radius.Text(rfc2865.CallingStationID_GetString(r.Packet)); station != "" {
		u.Station = station
	}
	p.Count += grown
	d.changed = true
	d.mu.Unlock()
	if rewound != nil {
		d.said(rewound)
	}

	reply, _, err := d.pass(ctx, route, r.Packet)
	if err != nil {
		if keepErr := d.keep(s.ID, r.Packet); keepErr != nil {
			return nil, errors.Join(err, keepErr)
		}
		return answer, errors.Join(err, d.judge(ctx, route))
	}
	d.mu.Lock()
	u.Kept = nil // this one said as much
	d.mu.Unlock()
	return answer, errors.Join(d.answered(ctx, route, reply), d.judge(ctx, route))
}

// restart closes the sessions of an access point that began anew, and tells it to their gateways.
func (d *Door) restart(ctx context.Context, r *radius.Request, rec *radius.Record) error {
	d.mu.Lock()
	routes := map[Route]bool{}
	for _, s := range d.table.At("", rec.Point) {
		if u := d.users[s.ID]; u != nil && s.Open {
			routes[Route{u.Payer, u.Gateway}] = true
		}
	}
	_, _, err := d.table.Take("", rec, d.config.Now(), time.Time{})
	d.changed = true
	d.mu.Unlock()
	for route := range routes {
		reply, _, passErr := d.pass(ctx, route, r.Packet)
		if passErr == nil {
			passErr = d.answered(ctx, route, reply)
		}
		err = errors.Join(err, passErr)
	}
	return err
}

// keep keeps a record for a gateway that is away. It returns when it is on disk.
func (d *Door) keep(id radius.SessionID, p *radius.Packet) error {
	on, err := radius.Onward(p, radius.SecureSecret())
	if err != nil {
		return err
	}
	raw, err := on.MarshalBinary()
	if err != nil {
		return err
	}
	if len(raw) > maxKept {
		return types.Refuse(types.Oversize, "a record of %d bytes, at most %d are kept", len(raw), maxKept)
	}
	d.mu.Lock()
	if u := d.users[id]; u != nil {
		u.Kept, d.changed = raw, true
	}
	d.mu.Unlock()
	return d.Save()
}

// Tell tells gateways what they missed while they were away, and closes silent sessions.
func (d *Door) Tell(ctx context.Context) {
	type missed struct {
		u     *user
		route Route
		raw   []byte
	}
	var list []missed
	d.mu.Lock()
	d.table.Quiet(d.config.Now().Add(-quietAfter))
	for _, u := range d.users {
		if u.Kept != nil {
			list = append(list, missed{u, Route{u.Payer, u.Gateway}, u.Kept})
		}
	}
	d.mu.Unlock()
	away := map[Route]bool{}
	for _, m := range list {
		if away[m.route] || ctx.Err() != nil {
			continue
		}
		request, err := codec.Parse(m.raw, radius.SecureSecret())
		var reply *radius.Packet
		if err == nil {
			reply, _, err = d.pass(ctx, m.route, request)
		}
		if away[m.route] = err != nil; err != nil {
			continue
		}
		d.mu.Lock()
		if len(m.u.Kept) == len(m.raw) && &m.u.Kept[0] == &m.raw[0] {
			m.u.Kept, d.changed = nil, true
		}
		d.mu.Unlock()
		if err := d.answered(ctx, m.route, reply); err != nil {
			d.said(err)
		}
	}
}

// answered takes the receipt of a gateway's answer in.
func (d *Door) answered(ctx context.Context, route Route, reply *radius.Packet) (err error) {
	if reason := radius.Reason(reply); reason != "" {
		err = types.Refuse(reason, "the gateway %s does not count what it was told", route.Gateway)
	}
	raw := radius.Receipt(reply)
	if len(raw) == 0 {
		return err
	}
	s, bad := receipt.Decode(raw, d.config.Chain)
	if bad != nil {
		return errors.Join(err, bad)
	}
	r := &s.Receipt
	if r.Device != d.config.Key.Public() || r.Payer != route.Payer || r.Category != d.config.Category {
		return errors.Join(err, types.Refuse(types.SessionMismatch, "a receipt of %v for %v, category %v", r.Payer, r.Device, r.Category))
	}
	price, ok := d.config.Price(r.Terms)
	if !ok {
		return errors.Join(err, types.Refuse(types.UnknownAsk, "a receipt under an ask that is not this device's"))
	}
	if !s.VerifyPayer() {
		return errors.Join(err, types.Refuse(types.BadSignature, "a receipt that %v did not sign", r.Payer))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p, bad := d.payer(route.Payer)
	if bad != nil {
		return errors.Join(err, bad)
	}
	before := *p
	before.Opened = map[types.SessionID]opened{}
	for id, o := range p.Opened {
		before.Opened[id] = o
	}
	isNew, bad := p.take(s, price, d.config.Epoch(), d.config.Now())
	if isNew {
		if bad = d.config.Receipt(ctx, s); bad != nil {
			*p = before // it counts once it is on disk
		}
		d.changed = true
	}
	return errors.Join(err, bad)
}

// judge disconnects the users of a payer that may be served no more.
func (d *Door) judge(ctx context.Context, route Route) error {
	now := d.config.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.payers[route.Payer]
	if p == nil {
		return nil
	}
	why := p.Check(now)
	if why == nil {
		return nil
	}
	for id, u := range d.users {
		s := d.table.Get(id)
		if u.Payer != route.Payer || s == nil || !s.Open || now.Sub(u.hung) < hangUpAgain {
			continue
		}
		select {
		case d.hanging <- struct{}{}:
		default:
			return why // the others with the next packet
		}
		u.hung = now
		copied := *u
		go func() {
			defer func() { <-d.hanging }()
			d.hangUp(context.WithoutCancel(ctx), &copied)
		}()
	}
	return why
}

// hangUp asks an access point to disconnect a user.
func (d *Door) hangUp(ctx context.Context, u *user) {
	secret := d.config.Secret(u.Address)
	if secret == nil {
		return
	}
	p := codec.New(codec.CodeDisconnectRequest, secret)
	set := func(t codec.Type, v string) {
		if v != "" {
			p.Add(t, codec.Attribute(v))
		}
	}
	set(rfc2865.UserName_Type, u.Name)
	set(rfc2865.NASIdentifier_Type, u.NAS)
	set(rfc2865.CallingStationID_Type, u.Station)
	set(rfc2866.AcctSessionID_Type, u.Session)
	if u.NAS == "" && u.Address.Is4() {
		_ = rfc2865.NASIPAddress_Set(p, u.Address.AsSlice())
	}
	_ = rfc2869.EventTimestamp_Set(p, d.config.Now())
	ctx, cancel := context.WithTimeout(ctx, hangUpWait)
	defer cancel()
	reply, err := radius.Exchange(ctx, net.JoinHostPort(u.Address.String(), strconv.Itoa(d.config.Port)), p)
	switch {
	case err != nil:
		d.config.Log.Warn("a user cannot be disconnected", "session", u.Session, "err", err)
	case reply.Code != codec.CodeDisconnectACK:
		d.config.Log.Warn("the access point does not disconnect a user", "session", u.Session, "answer", reply.Code.String())
	}
}

// Line is what a door knows of one payer, for people.
type Line struct {
	Payer    types.Key `json:"payer"`
	Sessions int       `json:"sessions"` // that are open
	Count    uint64    `json:"count"`
	Units    uint64    `json:"receipted"`
	Limit    uint64    `json:"unpaid_limit"`
}

// Lines lists the payers.
func (d *Door) Lines() []Line {
	d.mu.Lock()
	defer d.mu.Unlock()
	open := map[types.Key]int{}
	for id, u := range d.users {
		if s := d.table.Get(id); s != nil && s.Open {
			open[u.Payer]++
		}
	}
	list := make([]Line, 0, len(d.payers))
	for _, p := range d.payers {
		list = append(list, Line{p.Key, open[p.Key], p.Count, p.Units, p.Limit})
	}
	return list
}
