package customer

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// TestOutOfStep: a device that has counted a job which the gateway has not, because one of them was killed in
// between, gets the next one in a new session, and does not rank behind for it.
func TestOutOfStep(t *testing.T) {
	for _, why := range []types.Reason{types.StaleSeq, types.SessionMismatch, types.SessionExpired} {
		t.Run(string(why), func(t *testing.T) {
			t.Parallel()
			w, m := newWorld(t)
			a := newDevice(t, w, "a", 4, honest)
			b := newDevice(t, w, "b", 5, honest)
			g := newGateway(t, m)
			g.sees(2)
			g.result(g.submit(""))
			old := a.last().Session
			a.answer = func(o *compute.Order) types.Reason {
				if o.Session == old {
					return why
				}
				return ""
			}
			for range 3 {
				if r := g.result(g.submit("")); r.Device != a.Key().String() || r.State != Done || len(r.Passed) != 0 {
					t.Fatalf("%+v", r)
				}
			}
			if now := a.last(); now.Session == old || now.Amount != 3*15 {
				t.Errorf("%+v", now)
			}
			// One that refuses each session ranks behind.
			a.answer = func(*compute.Order) types.Reason { return why }
			if r := g.result(g.submit("")); r.Device != b.Key().String() || r.Passed["device_"+string(why)] != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestUnpaidThere: a device that is owed something, since one side was killed, does not keep others from taking
// the job. Only if all say so, the customer hears that it does not pay.
func TestUnpaidThere(t *testing.T) {
	w, m := newWorld(t)
	owed := newDevice(t, w, "owed", 1, honest)
	good := newDevice(t, w, "good", 5, honest)
	unpaid := func(*compute.Order) types.Reason { return compute.Unpaid }
	owed.answer = unpaid
	g := newGateway(t, m)
	g.sees(2)
	if r := g.result(g.submit("")); r.Device != good.Key().String() || r.Passed["device_compute.unpaid"] != 1 {
		t.Errorf("%+v", r)
	}
	good.answer = unpaid
	var p struct{ Reason types.Reason }
	if status := g.call("POST", "/jobs", module, &p); status != http.StatusPaymentRequired || p.Reason != compute.Unpaid {
		t.Errorf("%d %+v", status, p)
	}
}

// lost takes a job, is paid for a second of it, and is gone.
func lost(r *run) error {
	s, _, err := r.join()
	if err != nil {
		return err
	}
	_ = s.Write(link.Frame{Kind: link.State, Offset: 1_000_000_000})
	_ = r.await(s, link.Receipt)
	s.Close()
	return errPlay
}

// TestLostWhileBusy: a job that loses its device waits for another one that is busy at the time; one that
// nobody else could take ends.
func TestLostWhileBusy(t *testing.T) {
	w, m := newWorld(t)
	newDevice(t, w, "lost", 1, lost)
	busy := newDevice(t, w, "busy", 5, honest)
	var asked atomic.Int32
	busy.answer = func(*compute.Order) types.Reason {
		if asked.Add(1) <= 3 {
			return compute.Busy
		}
		return ""
	}
	g := newGateway(t, m)
	g.sees(2)
	if r := g.result(g.submit("")); r.State != Done || r.Device != busy.Key().String() || r.Tries != 2 {
		t.Errorf("%+v", r)
	}
	busy.answer = func(*compute.Order) types.Reason { return compute.PriceBelowAsk }
	began := time.Now()
	if r := g.result(g.submit("price=4")); r.State != Failed || r.Reason != compute.DeviceLost || time.Since(began) > 3*lostAfter {
		t.Errorf("after %v: %+v", time.Since(began), r)
	}
}

// TestStopWhilePlacing: a gateway that is stopped while a job looks for another device goes on with it afterwards.
func TestStopWhilePlacing(t *testing.T) {
	w, m := newWorld(t)
	newDevice(t, w, "lost", 1, lost)
	busy := newDevice(t, w, "busy", 5, honest)
	asked := make(chan struct{}, 64)
	var free atomic.Bool
	busy.answer = func(*compute.Order) types.Reason {
		select {
		case asked <- struct{}{}:
		default:
		}
		if free.Load() {
			return ""
		}
		return compute.Busy
	}
	g := newGateway(t, m)
	g.sees(2)
	id := g.submit("")
	<-asked
	g.stop()
	free.Store(true)
	g = newGateway(t, m, Config{Patience: time.Second})
	g.sees(2)
	if r := g.result(id); r.State != Done || r.Device != busy.Key().String() {
		t.Errorf("%+v", r)
	}
}

// TestReceiptAgain: the last receipt comes again to a device that does not say that it has it: it was signed,
// and may have been lost with what was killed.
func TestReceiptAgain(t *testing.T) {
	w, m := newWorld(t)
	a := newDevice(t, w, "a", 4, func(r *run) error {
		s, at, err := r.join()
		if err != nil {
			return err
		}
		_ = r.write(s, at)
		_ = s.Write(link.Frame{Kind: link.State, Offset: r.fuel})
		if err := r.await(s, link.Receipt); err != nil { // it gets no further than to the device's process, which is killed
			return err
		}
		r.d.mu.Lock()
		r.d.receipts = nil
		r.d.mu.Unlock()
		s.Close()
		if s, _, err = r.join(); err != nil {
			return err
		}
		defer s.Close()
		return r.finish(s, r.ended())
	})
	g := newGateway(t, m)
	g.sees(1)
	if r := g.result(g.submit("")); r.State != Done || r.Paid != 12 {
		t.Errorf("%+v", r)
	}
	a.wg.Wait()
	if len(a.receipts) != 1 || a.receipts[0].Receipt.Amount != 12 || a.receipts[0].Receipt.Seq != 1 || !a.receipts[0].VerifyPayer() {
		t.Errorf("%+v", a.receipts)
	}
}

// TestEarly: who reads a log while a gateway that was stopped begins again gets all of it, and not what there
// is by then.
func TestEarly(t *testing.T) {
	w, m := newWorld(t)
	half := make(chan struct{})
	newDevice(t, w, "a", 4, func(r *run) error {
		s, _, err := r.join()
		if err != nil {
			return err
		}
		_ = s.Write(link.Frame{Kind: link.Output, Stream: uint8(spool.Stdout), Data: []byte("hel")})
		_ = s.Write(link.Frame{Kind: link.State, Offset: 1_000_000_000})
		_ = r.await(s, link.Receipt)
		close(half)
		<-s.Closed()
		s, at, err := r.join()
		if err != nil {
			return err
		}
		defer s.Close()
		_ = r.write(s, at)
		return r.finish(s, r.ended())
	})
	g := newGateway(t, m)
	g.sees(1)
	id := g.submit("")
	<-half
	g.stop()
	c := New(Config{})
	h, err := c.Mount(m)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	log := make(chan string, 1)
	go func() {
		res, err := http.Get(server.URL + "/jobs/" + id + "/logs?follow=1")
		if err != nil {
			log <- err.Error()
			return
		}
		defer res.Body.Close()
		raw, _ := io.ReadAll(res.Body)
		log <- string(raw)
	}()
	<-asked
	select {
	case got := <-log:
		t.Errorf("before it runs: %q", got)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := c.Listen(role.Place{IP: "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	if got := <-log; got != "hello\n" {
		t.Errorf("%q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
