package server

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

func word(i int) string { return bus.Word(types.Key{1, byte(i >> 16), byte(i >> 8), byte(i)}) }

// bench is a keeper without a connection that keeps so many asks and receipts, and a few notices.
func keeperOf(t *testing.T, each int) *keeper {
	t.Helper()
	k := &keeper{config: Config{KeepFor: time.Hour}, log: slog.New(slog.DiscardHandler), shelves: bus.NewShelves(nil),
		pass: func(types.Key, time.Duration) (bus.Pass, error) { return bus.Full(bus.RoleGateway), nil }}
	if err := k.open(filepath.Join(t.TempDir(), "kept.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	var list []*nats.Msg
	add := func(subject string) { list = append(list, &nats.Msg{Subject: subject, Data: []byte(subject)}) }
	for i := range each {
		add(fmt.Sprintf("last.ask.%s.%d.%d.0", word(i), i%5, i%7))
		add(fmt.Sprintf("last.receipt.%s.%s.%032x", word(i%50), word(i), i))
	}
	for i := range 4 {
		add(fmt.Sprintf("last.notice.%s.0", word(i)))
	}
	add(fmt.Sprintf("last.ask.%s.2.11.0", word(7)))
	add(fmt.Sprintf("last.ask.%s.2.1.0", word(7)))
	for page := range slices.Chunk(list, keepBatch) {
		k.put(page)
	}
	return k
}

// ask asks for all pages of a pattern, and returns the subjects and how many records were looked at.
func (k *keeper) ask(t *testing.T, pattern string) (subjects []string, steps uint64, refused types.Reason) {
	t.Helper()
	before, query := k.steps.Load(), bus.KeepQuery{Pattern: pattern}
	for {
		page, why := k.page(types.Encode(&query))
		if why != "" {
			return nil, k.steps.Load() - before, why
		}
		for _, m := range page.Kept {
			if string(m.Data) != m.Subject {
				t.Fatalf("%s holds %q", m.Subject, m.Data)
			}
			subjects = append(subjects, m.Subject)
			query.After = m.Subject
		}
		if !page.More {
			return subjects, k.steps.Load() - before, ""
		}
	}
}

// TestQueriesCostWhatTheyFind: of each pattern that the protocol uses, an answer looks at what is in it, and at
// one record more for each page. Patterns that would need a search are refused.
func TestQueriesCostWhatTheyFind(t *testing.T) {
	const each = 12_000
	k := keeperOf(t, each)
	var all []string
	err := k.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(keptBucket).ForEach(func(s, _ []byte) error {
			all = append(all, string(s))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{
		bus.AskSubject(types.Key{}, 0, 0, 0), "last.ask.>", bus.AskSubject(types.Key{}, 3, 1, 0), bus.AskSubject(types.Key{}, 3, 0, 0), "last.ask.*.3.>",
		"last.ask." + word(7) + ".>", "last.ask." + word(7) + ".2.0.*", "last.ask." + word(7) + ".2.1.0", "last.ask.*.2.1.0", "last.ask." + word(7) + ".2.>", "last.receipt.*." + word(7) + ".*",
		"last.receipt." + word(7) + ".*.*", "last.receipt.*." + word(9999999) + ".*", "last.notice.*.0", "last.held.*.0", "last.>",
	} {
		var want []string
		for _, s := range all {
			if bus.Match(pattern, s) {
				want = append(want, s)
			}
		}
		got, steps, refused := k.ask(t, pattern)
		slices.Sort(got)
		if refused != "" || !slices.Equal(got, want) {
			t.Errorf("%s: %d messages, want %d (%q)", pattern, len(got), len(want), refused)
		}
		if most := uint64(len(want) + 3*(len(want)/1000+1)); steps > most {
			t.Errorf("%s: %d records were looked at for %d messages, at most %d should be", pattern, steps, len(want), most)
		}
	}
	for _, pattern := range []string{
		"last.*.*.0", "last.*.>", "last.ask.*.*.3.*", "last.receipt.*.*." + fmt.Sprintf("%032x", 7), "last.receipt." + word(7) + ".*." + fmt.Sprintf("%032x", 7),
		"last.ask.*.3", "last.ask.*.3.1.0.>", "last.notice.*", "last.other.>", "last", "last.", "ask.>", "kept.ask.>", ">", "", "last.ask.*.3.1.0.*", "last.ask..3.1.0",
	} {
		if _, steps, refused := k.ask(t, pattern); refused != types.BadEncoding || steps != 0 {
			t.Errorf("%q: %q after %d records, want bad_encoding", pattern, refused, steps)
		}
	}
	if _, refused := k.page(append(types.Encode(&bus.KeepQuery{Pattern: "last.>"}), 0)); refused != types.BadEncoding {
		t.Errorf("a query with something behind it: %q, want bad_encoding", refused)
	}
}

// TestRestartingNodeWaits: while somebody asks for everything a thousand times, a node that restarts is
// answered after one page of the other.
func TestRestartingNodeWaits(t *testing.T) {
	k := keeperOf(t, 5000)
	q := bus.NewFair[*nats.Msg](askEach)
	ask := func(by int, pattern string) bool {
		m := &nats.Msg{Subject: "keep." + word(by), Data: types.Encode(&bus.KeepQuery{Pattern: pattern})}
		return q.Put(bus.Owner(m.Subject), len(m.Data), m)
	}
	waiting := 0
	for range 1000 {
		if ask(1, "last.>") {
			waiting++
		}
	}
	if waiting != askEach {
		t.Fatalf("%d queries of one asker wait, at most %d may", waiting, askEach)
	}
	if !ask(2, "last.notice.*.0") {
		t.Fatal("there is no room for the node's query")
	}
	before := k.steps.Load()
	for pages := 1; ; pages++ {
		m, ok := q.Take()
		if !ok {
			t.Fatal("the node's query is lost")
		}
		page, refused := k.page(m.Data)
		if refused != "" {
			t.Fatal(refused)
		}
		if bus.Owner(m.Subject) != word(2) {
			continue
		}
		if steps := k.steps.Load() - before; pages != 2 || steps > uint64(pageBytes/keptHead) || len(page.Kept) != 4 {
			t.Fatalf("the node got %d notices as the %dth, after %d records", len(page.Kept), pages, steps)
		}
		return
	}
}
