package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// killHome names, in the environment of a child process, the home that it runs a node in.
const killHome = "CAIRN_TEST_KILL_HOME"

// TestMain runs a node instead of the tests where the environment says so: TestKill kills that process.
func TestMain(m *testing.M) {
	home := os.Getenv(killHome)
	if home == "" {
		os.Exit(m.Run())
	}
	n, err := Start(context.Background(), Config{Home: home})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(n.App().LastBlockHeight()) // the parent starts its clock
	<-n.Done()
}

// TestKill kills a node's process at random moments. Each time it starts again from what is on disk, at no
// lower a height.
func TestKill(t *testing.T) {
	v := initHomes(t, 1)[0]
	last := int64(0)
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killHome+"="+v.Home)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var height int64
		if _, err := fmt.Fscan(out, &height); err != nil {
			cmd.Process.Kill()
			t.Fatalf("the child did not start: %v", err)
		}
		if height < last {
			t.Errorf("it started at block %d after %d", height, last)
		}
		last = height
		time.Sleep(time.Duration(100+rand.IntN(700)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}
	n := start(t, v.Home)
	if h := n.App().LastBlockHeight(); h < last {
		t.Errorf("it started at block %d after %d", h, last)
	}
	reach(t, n, n.App().LastBlockHeight()+2)
}
