package provider

import (
	"bytes"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// TestKept: what a public job read is there for whoever is drawn to audit it, however long it took until its
// leaf was worth committing to, also after a restart; and it goes when nobody can audit it any more.
func TestKept(t *testing.T) {
	w := newWorld(t, nil)
	var seats []*roletest.Verifier
	for i := range 3 {
		seats = append(seats, w.Verifier("verifier "+string(rune('a'+i))))
	}
	w.device.Blobs = w.p.Role().Blobs
	text := bytes.Repeat([]byte("an input "), 100)
	s := w.session(100)
	w.end(w.runCall(s, w.callWith(s, text, nil, "cat", "burn:500000000"))) // half of what opens a session
	w.settled()
	const wait = 2 * compute.KeepInputs
	for range wait {
		w.Next()
	}
	if n := len(w.now().jobs); n != 1 {
		t.Fatalf("%d jobs are kept", n)
	}
	w.end(w.run(s, "burn:900000000"))
	w.settled()
	w.Next() // the leaves are committed to
	committed := w.Epoch()
	w.Next()
	if err := w.device.Stop(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.device.Blobs = w.p.Role().Blobs
	w.Next()
	if w.Epoch() != committed+compute.AuditDelay {
		t.Fatal(w.Epoch())
	}
	panel, err := w.device.Panel(t.Context(), compute.ForAudit)
	if err != nil || len(panel) != 3 {
		t.Fatal(panel, err)
	}
	counted, err := seats[0].Counted(t.Context(), committed, compute.KindResults, []types.Key{w.device.Key()})
	if err != nil || len(counted[w.device.Key()]) != 1 {
		t.Fatal(counted, err)
	}
	q := compute.Show{Epoch: w.Epoch(), Results: counted[w.device.Key()][0].Raw}
	show := func() (*compute.Shown, error) {
		raw, err := seats[0].Ask(t.Context(), role.Question{Device: w.device.Key(), Kind: compute.KindShow, Body: q.Encode()})
		if err != nil {
			return nil, err
		}
		return compute.DecodeShown(raw)
	}
	fetch := func(h types.Hash) error {
		_, err := seats[0].Fetch(t.Context(), role.Fetch{Device: w.device.Key(), Hash: h, Most: 1 << 20, Path: filepath.Join(t.TempDir(), "x")})
		return err
	}
	shown, err := show()
	if err != nil || shown.Leaf.Index != 0 {
		t.Fatalf("%+v, %v", shown, err)
	}
	for what, h := range map[string]types.Hash{"the job": shown.Leaf.Job, "the list of files": shown.Files, "an input": types.Sum(text), "the module": types.Sum([]byte("code"))} {
		if err := fetch(h); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 2 + compute.KeepInputs {
		w.Next()
	}
	q.Epoch = w.Epoch()
	if _, err := show(); types.ReasonOf(err) != types.UnknownBlob {
		t.Errorf("when it is over: %v", err)
	}
	d := w.now()
	trees := 0
	if err := d.books.db.View(func(tx *bbolt.Tx) error { trees = tx.Bucket(auditBucket).Stats().KeyN; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(d.jobs) != 0 || trees != 0 || d.pinnedBytes != 0 {
		t.Errorf("%d jobs, %d trees and %d bytes are kept", len(d.jobs), trees, d.pinnedBytes)
	}
}

// TestShortOfDisk: what a session that is worth too little has read is kept only while there is disk for others.
func TestShortOfDisk(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Disk = 4 * 2 * maxStream // two jobs' outputs, and as much for inputs
		c.quiet = 1
	})
	for i := range 5 {
		s := w.session(100)
		text := bytes.Repeat([]byte{byte(i)}, 24<<20)
		c := w.callWith(s, text, nil, "burn:1000000")
		_, reason := w.ask(s, c)
		for tries := 0; reason == compute.NoSpace && tries < 50; tries++ { // it makes room
			w.Tell()
			_, reason = w.ask(s, c)
		}
		if reason != "" {
			t.Fatalf("session %d: %s", i, reason)
		}
		w.settled()
	}
}
