package node

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"errors"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/evidence"
	"github.com/cairn-network/cairn/core/types"
)

// TestKill kills a process that signs and sends as fast as it can, again and again, and looks at what it had sent and what it
// had promised: no two envelopes with one number, an unbroken chain, nothing lost that Submit had returned for.
func TestKill(t *testing.T) {
	if home := os.Getenv("CAIRN_TEST_KILL"); home != "" {
		signUntilKilled(home)
	}
	home := t.TempDir()
	if _, err := CreateKey(home); err != nil {
		t.Fatal(err)
	}
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
	key, err := LoadKey(home)
	if err != nil {
		t.Fatal(err)
	}
	o, err := openOutbox(filepath.Join(home, "node.db"), key, chain)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
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
	key, err := LoadKey(home)
	if err != nil {
		panic(err)
	}
	o, err := openOutbox(filepath.Join(home, "node.db"), key, chain)
	if err != nil {
		panic(err)
	}
	verifier := types.Key{1}
	set := bus.Set{{Key: verifier, Power: 1}}
	for n := 0; ; n++ {
		if _, err := o.addEvidence(evidence.Payload{Category: 3, Kind: 1, Epoch: 1, Body: fmt.Append(nil, n, os.Getpid())}); err != nil {
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
			if _, _, err := o.ack(ack, verifier, set); err != nil {
				panic(err)
			}
		}
	}
}

func TestKey(t *testing.T) {
	home := filepath.Join(t.TempDir(), "new", "home")
	key, err := CreateKey(home)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadKey(home)
	if err != nil || loaded.Public() != key.Public() {
		t.Fatalf("loaded %v, %v", loaded.Public(), err)
	}
	if _, err := CreateKey(home); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a key was made in place of another: %v", err)
	}
	path := filepath.Join(home, keyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if list, err := os.ReadDir(home); err != nil || len(list) != 1 {
		t.Errorf("%d files are left behind, %v", len(list), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(home); err == nil {
		t.Error("a key was loaded that others can read")
	}
	for _, bad := range []string{"", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key"} {
		other := t.TempDir()
		if err := os.WriteFile(filepath.Join(other, keyFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(other); err == nil {
			t.Errorf("%q was loaded as a key", bad)
		}
	}
}

func TestInit(t *testing.T) {
	home := t.TempDir()
	set := bus.Set{{Key: types.Key{1}, Power: 1}}
	s := Settings{Join: Join{Bus: []string{"nats://127.0.0.1:4222"}, Pin: bus.Pin{Chain: chain, Epoch: 1, Set: set}},
		Owner: types.Account{7}, Expiry: 99, Offers: map[string]Offers{"storage": Offers(`{"bytes":1}`), "compute": Offers(`{}`)}}
	if err := Init(home, s, nil); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadSettings(home)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := loaded.Claim(home)
	if err != nil {
		t.Fatal(err)
	}
	read, err := evidence.ParseCode(claim.Code(), chain)
	if err != nil || !read.Verify() {
		t.Fatalf("the claim code does not read back: %v", err)
	}
	if st := read.Statement; st.Owner != s.Owner || st.Expiry != 99 || len(st.Categories) != 2 || st.Categories[0] != types.Compute {
		t.Errorf("statement: %+v", st)
	}
	again, err := loaded.Claim(home)
	if err != nil || again.Code() != claim.Code() {
		t.Error("the claim code changes")
	}
	before, _ := LoadKey(home)
	if err := Init(home, *loaded, nil); err != nil {
		t.Fatal(err)
	}
	if after, _ := LoadKey(home); after.Public() != before.Public() {
		t.Error("a second init made another key")
	}
	s.Offers = map[string]Offers{"teleport": nil}
	if err := Init(home, s, nil); types.ReasonOf(err) != types.UnknownCategory {
		t.Errorf("offers what does not exist: %v", err)
	}
	s.Offers = nil
	if err := Init(home, s, nil); err == nil {
		t.Error("offers nothing")
	}
}
