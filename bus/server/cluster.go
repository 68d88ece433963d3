package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// Cluster joins servers into one bus.
type Cluster struct {
	Name   string           // of the whole: the chain's id
	Listen string           // host:port for the other servers
	Key    types.PrivateKey // of this server, and for nothing else
	Peers  []Peer           // the other servers; nobody else joins
	// Alone is how long a server that starts waits for a peer that is whole, or for all peers, before it answers
	// queries with what it has. Default 5 s.
	Alone time.Duration
}

// Peer is another server of the cluster.
type Peer struct {
	Key     types.Key
	Address string // host:port of its Cluster.Listen; "" where only it calls
}

// routeTimeout bounds a handshake between servers: how long somebody who is none holds a connection.
const routeTimeout = 3 * time.Second

// options sets what o says of the cluster.
func (c *Cluster) options(o *server.Options) error {
	host, port, err := hostPort(c.Listen)
	if err != nil {
		return err
	}
	config, err := c.tls()
	if err != nil {
		return err
	}
	// Clients have a list of servers from their operator; what servers tell them of each other may be addresses
	// that they can't reach.
	o.Cluster = server.ClusterOpts{Name: c.Name, Host: host, Port: port, TLSConfig: config, TLSTimeout: routeTimeout.Seconds(), AuthTimeout: routeTimeout.Seconds(), NoAdvertise: true}
	for _, p := range c.Peers {
		if p.Address == "" {
			continue
		}
		if _, _, err := hostPort(p.Address); err != nil {
			return fmt.Errorf("route: %w", err)
		}
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: p.Address})
	}
	return nil
}

// tls is TLS in both directions, where a certificate is worth what its key is: the names and dates in it say nothing.
func (c *Cluster) tls() (*tls.Config, error) {
	private := c.Key.Ed25519()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<34, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("certificate of %v: %w", c.Key.Public(), err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true, SessionTicketsDisabled: true, VerifyConnection: c.verify,
	}, nil
}

// verify refuses whoever is no peer. TLS has shown that it has the key of the certificate.
func (c *Cluster) verify(at tls.ConnectionState) error {
	if len(at.PeerCertificates) == 0 {
		return types.Refuse(types.NotPermitted, "bus: a route without a certificate")
	}
	public, ok := at.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || !slices.ContainsFunc(c.Peers, func(p Peer) bool { return p.Key == types.Key(public) }) {
		return types.Refuse(types.NotPermitted, "bus: a route of somebody who is no server of this bus")
	}
	return nil
}

// peers returns the servers that are connected now: of each id the number of its
// newest connection. Two servers have several connections, and what is said while one of them is not there yet, or is made anew, may
// pass the other by.
func (s *Server) peers() map[string]uint64 {
	z, err := s.nats.Routez(nil)
	if err != nil {
		return nil // the server is ending
	}
	newest := map[string]uint64{}
	for _, r := range z.Routes {
		newest[r.RemoteID] = max(newest[r.RemoteID], r.Rid)
	}
	return newest
}

// Peers is how many other servers of the cluster are connected now.
func (s *Server) Peers() int { return len(s.peers()) }

// Whole reports whether the keeper has what the others had when it started, and answers queries.
func (s *Server) Whole() bool { return s.keeper.whole.Load() }

// What keepers say to each other is below keeperInbox, where no client may publish or listen: its permissions
// list what it may.
const keeperInbox = "_KEEPER.answer"

func keeperSubject(server string) string { return "_KEEPER.ask." + server }

// keeperPages is where a keeper that is not whole asks one that is.
const keeperPages = "_KEEPER.page"

// serve begins to answer queries out of what is here, also those of keepers that are not so far.
func (k *keeper) serve() error {
	_, err := k.conn.QueueSubscribe(keeperPages, "keepers", func(m *nats.Msg) {
		if k.settle() {
			_ = m.Respond(k.answer(context.Background(), m.Data)) // who asked asks again
		}
	})
	if err != nil {
		return err
	}
	k.whole.Store(true)
	return k.conn.FlushTimeout(startup)
}

// elsewhere has another keeper answer a query.
func (k *keeper) elsewhere(ctx context.Context, query []byte) []byte {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	m, err := k.conn.RequestWithContext(ctx, keeperPages, query)
	if err != nil {
		return []byte(types.BusUnavailable)
	}
	return m.Data
}

// settle waits until what has come is stored; false if that takes too long.
func (k *keeper) settle() bool {
	done := make(chan struct{})
	select {
	case k.barriers <- done:
		<-done
		return true
	case <-time.After(mendTimeout):
		return false
	}
}

// missedQuery asks a keeper for all that it keeps after a subject.
type missedQuery struct {
	_     struct{} `cbor:",toarray"`
	After string
}

// missedPage is the answer, ascending.
type missedPage struct {
	_     struct{} `cbor:",toarray"`
	Kept  []missed
	More  bool
	Whole bool // whoever answers has itself what the others had
}

// missed is a kept message with its stamp at that server.
type missed struct {
	_       struct{} `cbor:",toarray"`
	Subject string
	At      uint64
	Sent    uint64
	Data    []byte
}

func (m *missed) stamp() stamp { return stamp{m.At, m.Sent} }

// merge is a page that the writer takes in.
type merge struct {
	list []admitted
	done chan error
}

type admitted struct {
	missed
	pass bus.Pass
}

// mendEvery is how often it is looked whether a server has joined; mendTimeout bounds one page, mendRest is the
// rest after a failure, and mendAgain that after the chain could not be asked about somebody, whose messages
// are missing here.
const (
	mendEvery   = 100 * time.Millisecond
	mendTimeout = 5 * time.Second
	mendSoon    = time.Second // after a connection was made, when all is fetched once more
	mendRest    = 500 * time.Millisecond
	mendAgain   = 2 * passStale
)

// mend fetches what each server has that joins, joins again, or has a new connection, until ctx ends. Queries are
// answered out of what is here once that is what one that is whole has, or what all others have, or after
// Cluster.Alone. What this keeper did not keep because the chain could not be asked it fetches later.
func (k *keeper) mend(ctx context.Context, peers func() map[string]uint64) {
	alone := k.config.Cluster.Alone
	if alone == 0 {
		alone = 5 * time.Second
	}
	full := false // what one has that is whole is here
	began, seen, fetched, rest := time.Now(), map[string]uint64{}, map[string]uint64{}, map[string]time.Time{}
	var again time.Time // when to fetch all anew; zero: not
	tick := time.NewTicker(mendEvery)
	defer tick.Stop()
	for {
		now := peers()
		if k.missed.Swap(false) {
			again = time.Now().Add(mendAgain)
		}
		for id, newest := range now {
			if seen[id] != newest && (again.IsZero() || again.After(time.Now().Add(mendSoon))) {
				again = time.Now().Add(mendSoon) // the two may not have told each other yet who listens to what
			}
		}
		seen = now
		if !again.IsZero() && time.Now().After(again) {
			again = time.Time{}
			clear(fetched)
		}
		for id := range fetched {
			if now[id] == 0 {
				delete(fetched, id)
				delete(rest, id)
			}
		}
		for id, newest := range now {
			if fetched[id] >= newest || time.Now().Before(rest[id]) {
				continue
			}
			n, whole, err := k.fetch(ctx, id)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				rest[id] = time.Now().Add(mendRest)
				if types.ReasonOf(err) == types.BusUnavailable {
					rest[id] = time.Now().Add(mendAgain)
				}
				k.log.Warn("bus: what another server keeps is not fetched yet", "server", id, "fetched", n, "error", err)
				continue
			}
			fetched[id], full = newest, full || whole
			k.log.Info("bus: another server has joined", "server", id, "fetched", n)
		}
		if !k.whole.Load() && (full || len(fetched) >= len(k.config.Cluster.Peers) || time.Since(began) > alone) {
			if err := k.serve(); err != nil {
				k.log.Error("keeper", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// fetch takes over all that a server's keeper has and this one does not, or has an older one of, and returns
// how many messages, and whether that one was whole before it began to answer.
func (k *keeper) fetch(ctx context.Context, server string) (n int, whole bool, err error) {
	var query missedQuery
	unknown, began := 0, uint64(time.Now().UnixMilli())
	for {
		ask, cancel := context.WithTimeout(ctx, mendTimeout)
		raw, err := k.conn.RequestWithContext(ask, keeperSubject(server), types.Encode(&query))
		cancel()
		if err != nil {
			return n, false, err
		}
		var page missedPage
		if err := types.DecodeLimit(raw.Data, &page, bus.MaxMessage); err != nil {
			return n, false, err
		}
		if query.After == "" {
			whole = page.Whole
		}
		list, failed, err := k.wanted(page.Kept, began)
		if err != nil {
			return n, false, err
		}
		unknown += failed
		m := merge{list, make(chan error, 1)}
		select {
		case k.merges <- m:
		case <-ctx.Done():
			return n, false, ctx.Err()
		}
		if err := <-m.done; err != nil {
			return n, false, err
		}
		n += len(list)
		if !page.More || len(page.Kept) == 0 {
			break
		}
		after := page.Kept[len(page.Kept)-1].Subject
		if after <= query.After {
			return n, false, errors.New("its pages do not ascend")
		}
		query.After = after
	}
	if unknown > 0 {
		return n, false, types.Refuse(types.BusUnavailable, "the chain does not say what %d publishers may keep", unknown)
	}
	return n, whole, nil
}

// wanted returns what of a page is newer than what is here and may be kept, and of how many messages the chain
// could not be asked. Whatever the other's clock says, nothing of it was stored after began, so that it takes the
// place of nothing that came since and does not say when it was published.
func (k *keeper) wanted(page []missed, began uint64) (list []admitted, unknown int, err error) {
	var newer []missed
	err = k.db.View(func(tx *bbolt.Tx) error {
		for _, m := range page {
			m.At = min(m.At, began)
			if v := tx.Bucket(keptBucket).Get([]byte(m.Subject)); len(v) < keptHead || m.stamp().after(stampOf(v)) {
				newer = append(newer, m)
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	for _, m := range newer {
		pass, refused := k.admit(&nats.Msg{Subject: m.Subject, Data: m.Data})
		if _, ok := bus.PlanKept(m.Subject); refused == "" && !ok {
			refused = types.BadEncoding
		}
		switch refused {
		case "":
			list = append(list, admitted{m, pass})
		case types.BusUnavailable:
			unknown++
		}
	}
	return list, unknown, nil
}

// merge stores what another keeper has, where nothing newer has come in the meantime.
func (k *keeper) merge(list []admitted) error {
	return k.db.Update(func(tx *bbolt.Tx) error {
		for _, m := range list {
			if v := tx.Bucket(keptBucket).Get([]byte(m.Subject)); len(v) >= keptHead && !m.stamp().after(stampOf(v)) {
				continue
			}
			if _, err := k.putOne(tx, &nats.Msg{Subject: m.Subject, Data: m.Data}, m.pass, m.stamp()); err != nil { // what is refused has no room here
				return err
			}
		}
		return nil
	})
}

// tell answers another keeper.
func (k *keeper) tell(m *nats.Msg) {
	var query missedQuery
	if types.DecodeLimit(m.Data, &query, bus.MaxLast) != nil {
		return
	}
	if query.After == "" && !k.settle() { // what was published before is in the answer, as in that to a query
		return
	}
	page, size := &missedPage{Whole: k.whole.Load()}, 0
	err := k.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(keptBucket).Cursor()
		for s, v := c.Seek([]byte(query.After)); s != nil; s, v = c.Next() {
			if string(s) <= query.After || len(v) < keptHead {
				continue
			}
			if size+len(s)+len(v) > pageBytes && len(page.Kept) > 0 {
				page.More = true
				return nil
			}
			size += len(s) + len(v)
			page.Kept = append(page.Kept, missed{Subject: string(s), At: stampOf(v).At, Sent: stampOf(v).Sent, Data: slices.Clone(v[keptHead:])})
		}
		return nil
	})
	if err != nil {
		k.log.Error("keeper", "error", err)
		return
	}
	_ = m.Respond(types.Encode(page)) // who asked asks again
}
