package card

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// TestMain is the program where a test starts it.
func TestMain(m *testing.M) {
	switch os.Getenv("CAIRN_TEST_CARD") {
	case "":
		os.Exit(m.Run())
	case "good":
		err := Serve(os.Stdin, os.Stdout, Hello{Name: "paper"}, func(seed types.Hash, n int, rows ...int) ([]types.Hash, [][]byte, error) {
			switch n {
			case 1024:
				return nil, nil, errors.New(strings.Repeat("no ", 1000))
			case 2048:
				os.Exit(3)
			}
			var shown [][]byte
			for _, i := range rows {
				shown = append(shown, bytes.Repeat([]byte{byte(i)}, 4*n))
			}
			return slices.Repeat([]types.Hash{types.Sum(seed[:])}, n), shown, nil
		})
		if err != nil {
			os.Exit(1)
		}
	case "none":
		Serve(os.Stdin, os.Stdout, Hello{Error: "there is none"}, nil)
	case "garbage":
		fmt.Print(strings.Repeat("x", 2*maxHello))
		time.Sleep(time.Minute)
	case "babble":
		fmt.Println(`{"name":"paper"}`)
		os.Stdout.Write([]byte{1, 0xff, 0xff, 0xff, 0xff})
		time.Sleep(time.Minute)
	}
}

func program(kind string) func() *exec.Cmd {
	return func() *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "CAIRN_TEST_CARD="+kind)
		return c
	}
}

// TestCard: rows come, errors come with their text and change nothing, and a program that ends is started again
// after a rest.
func TestCard(t *testing.T) {
	c, err := Start(program("good"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seed := types.Hash{1}
	if got, shown, err := c.Compute(seed, 512, 3, 5); err != nil || len(got) != 512 || got[511] != types.Sum(seed[:]) || len(shown) != 2 || len(shown[1]) != 2048 || shown[1][2047] != 5 || c.Hello().Name != "paper" {
		t.Errorf("%d rows of %+v: %v", len(got), c.Hello(), err)
	}
	if _, _, err := c.Compute(seed, 1024); err == nil || len(err.Error()) > 2*maxMessage {
		t.Errorf("a round that fails: %v", err)
	}
	if _, _, err := c.Compute(seed, 512); err != nil {
		t.Errorf("after it: %v", err)
	}
	if _, _, err := c.Compute(seed, 2048); err == nil {
		t.Error("a program that ended gave rows")
	}
	if _, _, err := c.Compute(seed, 512); err == nil || !strings.Contains(err.Error(), "started again in") {
		t.Errorf("at once after it ended: %v", err)
	}
	c.mu.Lock()
	c.begun = c.begun.Add(-restTime)
	c.mu.Unlock()
	if got, _, err := c.Compute(seed, 512); err != nil || len(got) != 512 {
		t.Errorf("started again: %d rows: %v", len(got), err)
	}
	c.Close()
	if _, _, err := c.Compute(seed, 512); err == nil {
		t.Error("a closed one gave rows")
	}
}

// TestPrograms: programs that have no card, or that say what nobody understands, cost neither memory nor time.
func TestPrograms(t *testing.T) {
	if _, err := Start(program("none")); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("no card: %v", err)
	}
	if _, err := Start(program("garbage")); err == nil {
		t.Error("a line without an end was taken")
	}
	c, err := Start(program("babble"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Compute(types.Hash{}, 512, make([]int, MaxRows+1)...); err == nil {
		t.Error("too many rows are shown")
	}
	if _, _, err := c.Compute(types.Hash{}, 512); err == nil || !strings.Contains(err.Error(), "nobody understands") {
		t.Errorf("a message of 4 GiB: %v", err)
	}
	if _, err := Start(func() *exec.Cmd { return exec.Command("/nowhere/" + Program) }); err == nil {
		t.Error("a program that is not there was started")
	}
}
