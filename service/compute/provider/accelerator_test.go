package provider

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
	"github.com/cairn-network/cairn/service/compute/provider/card"
)

// init is the card's program where a test starts it. It adds one to each value, so that one sees who computed.
func init() {
	if os.Getenv("CAIRN_TEST_CARD") == "" {
		return
	}
	err := card.Serve(os.Stdin, os.Stdout, card.Hello{Name: "paper"}, func(seed types.Hash, n int, rows ...int) ([]types.Hash, [][]byte, error) {
		p := mac.Compute(seed, n)
		for i := range p.C {
			p.C[i]++
		}
		var shown [][]byte
		for _, i := range rows {
			shown = append(shown, p.Row(i))
		}
		return p.Leaves(), shown, nil
	})
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// TestCard: a device with a card has it compute rounds and rows, and one without computes them itself.
func TestCard(t *testing.T) {
	seed, n := types.Sum([]byte("a round")), mac.MinOrder
	d := &device{cfg: Config{}.withDefaults(), ctx: t.Context()}
	look := func(add int32) {
		t.Helper()
		p := mac.Compute(seed, n)
		for i := range p.C {
			p.C[i] += add
		}
		tree, err := d.product(seed, n)
		if err != nil || tree.Root() != p.Tree().Root() {
			t.Errorf("another product: %v", err)
		}
		rows, err := d.rows(seed, n, []uint32{3, 500})
		if err != nil || len(rows) != 2 || !bytes.Equal(rows[0], p.Row(3)) || !bytes.Equal(rows[1], p.Row(500)) {
			t.Errorf("other rows: %v", err)
		}
		if !mac.Shown(tree.Root(), n, rows[1], tree.Proof(500)) {
			t.Error("a row that is not of the tree")
		}
		if _, err := d.rows(seed, n, []uint32{512}); types.ReasonOf(err) != types.BadEncoding {
			t.Errorf("a row beyond the last: %v", err)
		}
	}
	look(0)
	c, err := card.Start(func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CAIRN_TEST_CARD=1")
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	d.card.Store(c)
	look(1)
	c.Close()
	d.card.Store(nil)
	look(0)

	for number, good := range map[string]bool{"": true, "0": true, "7": true, "-1": false, "07": false, "0 /etc/x": false, "256": false} {
		if _, err := startCard(number); (err == nil) != good {
			t.Errorf("card %q: %v", number, err)
		}
	}
}
