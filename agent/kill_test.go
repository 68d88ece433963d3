package agent

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/bus/bustest"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// TestKill kills a process that signs and sends as fast as it can, again and again, and looks at what it had
// sent and what it had promised: no two envelopes with one number, an unbroken chain, nothing lost that
// Evidence had returned for.
func TestKill(t *testing.T) {
	if home := os.Getenv("CAIRN_TEST_KILL"); home != "" {
		signUntilKilled(home)
	}
	home := t.TempDir()
	sent, promised := map[uint64]*evidence.Envelope{}, map[uint64]bool{}
	for range 12 {
		for _, line := range runUntilKilled(t, home) {
			word, rest, _ := strings.Cut(line, " ")
			raw, err := base64.StdEncoding.DecodeString(rest)
			if err != nil {
				continue // the line that the kill cut short
			}
			switch word {
			case "sent":
				e, err := evidence.Decode(raw, chain)
				if err != nil {
					continue
				}
				if before := sent[e.Seq]; before != nil && before.Hash != e.Hash {
					t.Fatalf("two envelopes with number %d", e.Seq)
				}
				sent[e.Seq] = e
			case "promised":
				if len(raw) == 8 {
					promised[binary.BigEndian.Uint64(raw)] = true
				}
			}
		}
	}
	if len(sent) < 100 || len(promised) < 100 {
		t.Fatalf("too little happened: %d sent, %d promised", len(sent), len(promised))
	}
	for seq, e := range sent {
		if before := sent[seq-1]; before != nil && e.Prev != before.Hash {
			t.Errorf("envelope %d does not follow %d", seq, seq-1)
		}
	}
	o, err := OpenSpool(filepath.Join(home, "spool.db"), bustest.Key(1), chain)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	kept := map[uint64]bool{}
	err = o.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(evidenceBucket).ForEach(func(k, _ []byte) error {
			kept[binary.BigEndian.Uint64(k)] = true
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := o.waiting.Size(); n != len(kept) {
		t.Errorf("%d envelopes wait, %d are on disk", n, len(kept))
	}
	for seq := range promised {
		if sent[seq] == nil && !kept[seq] {
			t.Errorf("envelope %d is lost", seq)
		}
		if seq > o.seq {
			t.Errorf("number %d was used, and the outbox stands at %d", seq, o.seq)
		}
	}
}

func runUntilKilled(t *testing.T, home string) []string {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestKill$")
	c.Env = append(os.Environ(), "CAIRN_TEST_KILL="+home)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(50+rand.IntN(150))*time.Millisecond, func() { c.Process.Kill() })
	defer timer.Stop()
	var lines []string
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	c.Wait()
	return lines
}

// signUntilKilled signs, prints what it sends before it says that it has signed, as a network would see it, and
// acknowledges some.
func signUntilKilled(home string) {
	o, err := OpenSpool(filepath.Join(home, "spool.db"), bustest.Key(1), chain)
	if err != nil {
		panic(err)
	}
	verifier := types.Key{1}
	set := bus.Set{{Key: verifier, Power: 1}}
	for n := 0; ; n++ {
		if _, err := o.Evidence(evidence.Payload{Category: 3, Kind: 1, Epoch: 1, Body: fmt.Append(nil, n, os.Getpid())}); err != nil {
			panic(err)
		}
		fmt.Println("promised", base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, o.seq)))
		if n%3 != 0 {
			continue
		}
		for _, s := range o.waiting.Due(chain, time.Now(), time.Millisecond) {
			ack := &bus.Ack{Chain: chain, Epoch: 1}
			for _, i := range s.Items {
				fmt.Println("sent", base64.StdEncoding.EncodeToString(i.Raw))
				ack.Accepted = append(ack.Accepted, i.Hash())
			}
			if _, _, err := o.Acked(ack, verifier, set); err != nil {
				panic(err)
			}
		}
	}
}
