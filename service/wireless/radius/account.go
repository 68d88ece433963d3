package radius

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc3162"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

// Record is what an Accounting-Request says.
type Record struct {
	Status  rfc2866.AcctStatusType
	Point   string // the access point: as it names itself, else by its address
	Session string // Acct-Session-Id
	Class   []byte
	Input   uint64 // bytes from the user
	Output  uint64 // bytes to the user
	Seconds uint32 // how long the session lasted
	Timed   bool   // whether Seconds was said
}

// ReadRecord reads an Accounting-Request. What lacks a session where one is needed, or says a number in another form,
// is malformed (ErrForm).
func ReadRecord(r *Request) (*Record, error) {
	p := r.Packet
	out := &Record{Point: Text(PointOf(p, r.From.Addr())), Session: Text(rfc2866.AcctSessionID_GetString(p)), Class: rfc2865.Class_Get(p)}
	var err error
	if out.Status, err = rfc2866.AcctStatusType_Lookup(p); err != nil {
		return nil, fmt.Errorf("Acct-Status-Type: %w: %w", err, ErrForm)
	}
	switch out.Status {
	case rfc2866.AcctStatusType_Value_AccountingOn, rfc2866.AcctStatusType_Value_AccountingOff:
		return out, nil
	case rfc2866.AcctStatusType_Value_Start, rfc2866.AcctStatusType_Value_Stop, rfc2866.AcctStatusType_Value_InterimUpdate:
	default:
		return nil, fmt.Errorf("Acct-Status-Type %d: %w", out.Status, ErrForm)
	}
	if out.Session == "" {
		return nil, fmt.Errorf("no Acct-Session-Id: %w", ErrForm)
	}
	number := func(t radius.Type) (v uint32) {
		if a, ok := p.Lookup(t); ok && err == nil {
			if v, err = radius.Integer(a); err != nil {
				err = fmt.Errorf("attribute %d of %d bytes: %w", t, len(a), ErrForm)
			}
		}
		return v
	}
	out.Input = uint64(number(rfc2869.AcctInputGigawords_Type))<<32 | uint64(number(rfc2866.AcctInputOctets_Type))
	out.Output = uint64(number(rfc2869.AcctOutputGigawords_Type))<<32 | uint64(number(rfc2866.AcctOutputOctets_Type))
	out.Seconds = number(rfc2866.AcctSessionTime_Type)
	_, out.Timed = p.Lookup(rfc2866.AcctSessionTime_Type)
	return out, err
}

// Text is what an access point said, as UTF-8 whatever it is.
func Text(said string) string { return strings.ToValidUTF8(said, "\uFFFD") }

// PointOf names an access point: by its NAS-Identifier, else by the address that it says it has, else by the one that
// it sends from.
func PointOf(p *Packet, from netip.Addr) string {
	if name := rfc2865.NASIdentifier_GetString(p); name != "" {
		return name
	}
	if ip := rfc2865.NASIPAddress_Get(p); ip != nil {
		return ip.String()
	}
	if ip := rfc3162.NASIPv6Address_Get(p); ip != nil {
		return ip.String()
	}
	return from.String()
}

// SessionID names a session of a user's: by whose it is, its access point, the name that this gave it and its Class.
type SessionID [16]byte

// ID returns the name of the record's session at owner, who vouches for the access point.
func (r *Record) ID(owner string) SessionID {
	h := types.Sum([]byte(owner), []byte{0}, []byte(r.Point), []byte{0}, []byte(r.Session), []byte{0}, r.Class)
	return SessionID(h[:16])
}

// Session is what is known of a session.
type Session struct {
	ID      SessionID `cbor:"1,keyasint"`
	Owner   string    `cbor:"2,keyasint"`
	Point   string    `cbor:"3,keyasint"` // the access point
	Input   uint64    `cbor:"4,keyasint"` // the most that was said
	Output  uint64    `cbor:"5,keyasint"`
	Seconds uint32    `cbor:"6,keyasint"`
	Open    bool      `cbor:"7,keyasint"`
	Seen    int64     `cbor:"8,keyasint"`  // Unix seconds
	Until   int64     `cbor:"9,keyasint"`  // when it may be forgotten, in Unix seconds
	Counted uint64    `cbor:"10,keyasint"` // what of its total was taken into account; the table's keeper sets it
}

// Total is what the session counts.
func (s *Session) Total() uint64 { return s.Input + s.Output }

// maxSide bounds what one direction of a session can count, 2^56 bytes: sums never overflow.
const maxSide = 1 << 56

// Table keeps the sessions of access points. It is not for many goroutines.
type Table struct {
	most, each int
	sessions   map[SessionID]*Session
	points     map[string]map[SessionID]*Session
	owners     map[string]int // sessions of each
	open       map[string]int // and those of them that are open
	cleaned    time.Time
}

// NewTable makes a table of at most so many sessions, and of each owner.
func NewTable(most, each int) *Table {
	return &Table{most: most, each: each,
		sessions: map[SessionID]*Session{}, points: map[string]map[SessionID]*Session{}, owners: map[string]int{}, open: map[string]int{}}
}

// cleanEvery is how often a table that is full looks for sessions that may be forgotten.
const cleanEvery = time.Second

// At returns the sessions of an owner's access point.
func (t *Table) At(owner, point string) (list []*Session) {
	for _, s := range t.points[pointName(owner, point)] {
		list = append(list, s)
	}
	return list
}

// Take takes a record of a session in: the most of each direction is kept, and grown is by how much their sum rose.
// until is when a new session may be forgotten. An error has one of these reasons:
//
//   - acct_rewind: a counter fell. What the record says else was taken in, and the session keeps its maximum;
//   - device_busy: the table is full of sessions that may not be forgotten yet.
//
// Accounting-On and -Off close the access point's sessions; session is nil then.
func (t *Table) Take(owner string, r *Record, now, until time.Time) (session *Session, grown uint64, err error) {
	if r.Status == rfc2866.AcctStatusType_Value_AccountingOn || r.Status == rfc2866.AcctStatusType_Value_AccountingOff {
		for _, s := range t.points[pointName(owner, r.Point)] {
			t.set(s, false)
		}
		return nil, 0, nil
	}
	if r.Input > maxSide || r.Output > maxSide {
		return nil, 0, fmt.Errorf("a session of %d and %d bytes: %w", r.Input, r.Output, ErrForm)
	}
	id := r.ID(owner)
	s, before := t.sessions[id], uint64(0)
	if s == nil {
		if err := t.room(owner, now); err != nil {
			return nil, 0, err
		}
		s = &Session{ID: id, Owner: owner, Point: r.Point, Until: until.Unix()}
		t.add(s)
		t.set(s, true)
	} else {
		before = s.Total()
	}
	late := r.Timed && r.Seconds < s.Seconds // a copy, or overtaken on its way
	if fell := r.Input < s.Input || r.Output < s.Output; fell && !late {
		err = types.Refuse(wireless.AcctRewind, "session %.64q of %.64q counts %d and %d bytes, and had %d and %d",
			r.Session, r.Point, r.Input, r.Output, s.Input, s.Output)
	}
	s.Input, s.Output, s.Seconds = max(s.Input, r.Input), max(s.Output, r.Output), max(s.Seconds, r.Seconds)
	s.Seen = now.Unix()
	grown = s.Total() - before
	switch {
	case r.Status == rfc2866.AcctStatusType_Value_Stop:
		t.set(s, false)
	case grown > 0: // it counts on after a silence, or after its access point said that it began anew
		t.set(s, true)
	}
	return s, grown, err
}

func pointName(owner, point string) string { return owner + "\x00" + point }

func (t *Table) add(s *Session) {
	point := pointName(s.Owner, s.Point)
	if t.points[point] == nil {
		t.points[point] = map[SessionID]*Session{}
	}
	t.sessions[s.ID], t.points[point][s.ID] = s, s
	t.owners[s.Owner]++
	if s.Open {
		t.open[s.Owner]++
	}
}

// set opens or closes a session.
func (t *Table) set(s *Session, open bool) {
	switch {
	case open && !s.Open:
		t.open[s.Owner]++
	case !open && s.Open:
		if t.open[s.Owner]--; t.open[s.Owner] == 0 {
			delete(t.open, s.Owner)
		}
	}
	s.Open = open
}

func (t *Table) drop(s *Session) {
	t.set(s, false)
	point := pointName(s.Owner, s.Point)
	delete(t.sessions, s.ID)
	if delete(t.points[point], s.ID); len(t.points[point]) == 0 {
		delete(t.points, point)
	}
	if t.owners[s.Owner]--; t.owners[s.Owner] == 0 {
		delete(t.owners, s.Owner)
	}
}

// room makes room for one session of owner's.
func (t *Table) room(owner string, now time.Time) error {
	full := func() bool { return len(t.sessions) >= t.most || t.owners[owner] >= t.each }
	if full() && now.Sub(t.cleaned).Abs() >= cleanEvery {
		t.cleaned = now
		for _, s := range t.sessions {
			if s.Until <= now.Unix() {
				t.drop(s)
			}
		}
	}
	if full() {
		return types.Refuse(types.DeviceBusy, "%d sessions are open or were lately, %d of them of one owner",
			len(t.sessions), t.owners[owner])
	}
	return nil
}

// Quiet closes the sessions that were not heard of since a moment, and returns them.
func (t *Table) Quiet(since time.Time) (closed []*Session) {
	for _, s := range t.sessions {
		if s.Open && s.Seen < since.Unix() {
			t.set(s, false)
			closed = append(closed, s)
		}
	}
	return closed
}

// Get returns a session, nil for none.
func (t *Table) Get(id SessionID) *Session { return t.sessions[id] }

// Len is how many sessions are remembered; open is how many of them are open.
func (t *Table) Len() (all, open int) {
	for _, s := range t.sessions {
		if s.Open {
			open++
		}
	}
	return len(t.sessions), open
}

// LenOf is as Len, of one owner.
func (t *Table) LenOf(owner string) (all, open int) {
	return t.owners[owner], t.open[owner]
}

// All returns the sessions by their names. They change with the table.
func (t *Table) All() []*Session {
	list := make([]*Session, 0, len(t.sessions))
	for _, s := range t.sessions {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *Session) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return list
}

// Restore puts sessions back that All returned, up to the table's bound.
func (t *Table) Restore(list []*Session) {
	for _, s := range list[:min(len(list), t.most)] {
		if t.sessions[s.ID] == nil {
			t.add(s)
		}
	}
}
