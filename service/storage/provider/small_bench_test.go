package provider_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
)

// BenchmarkSmallPut stores objects of 10 KiB, eight at a time, on eight devices that are a process of their
// own, so that it can say what the gateway's side computes for one and what all eight devices do.
func BenchmarkSmallPut(b *testing.B) {
	const size, parallel, warm = 10 << 10, 8, 64
	devices := startDevices(b)
	w := roletest.New(b, storage.New())
	m := &distant{Market: w.Market("customer", 1<<50), offers: devices.offers}
	handler, err := customer.New(customer.Config{}).Mount(m)
	if err != nil {
		b.Fatal(err)
	}
	n := &net{http: handler}
	var next atomic.Int64
	puts := func(count int64) {
		var group sync.WaitGroup
		left := atomic.Int64{}
		left.Store(count)
		for range parallel {
			group.Go(func() {
				for left.Add(-1) >= 0 {
					data := random(uint64(next.Add(1)), size)
					if w := n.do("PUT", "/objects?name=small", bytes.NewReader(data)); w.Code != http.StatusCreated {
						b.Errorf("%d %s", w.Code, w.Body)
						return
					}
				}
			})
		}
		group.Wait()
	}
	puts(warm) // an account begins with a few
	mine, theirs := computed(), devices.computed()
	b.ResetTimer()
	puts(int64(b.N))
	b.StopTimer()
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
	b.ReportMetric(ms(computed()-mine), "gateway-ms/put")
	b.ReportMetric(ms(devices.computed()-theirs), "devices-ms/put")
}

// computed is the processor time that this process has used.
func computed() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for no valid argument
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// distant is a market of devices that are elsewhere.
type distant struct {
	*roletest.Market
	offers map[types.Class][]role.Offer
}

func (d *distant) Offers(_ context.Context, w role.Want) ([]role.Offer, []role.Passed, error) {
	return d.offers[w.Class], nil, nil
}

func (d *distant) Wallet(*http.Request) (role.Wallet, error) { return d.Market, nil }
func (d *distant) Wallets() []role.Wallet                    { return []role.Wallet{d.Market} }

// others are eight devices in another process.
type others struct {
	offers map[types.Class][]role.Offer
	ask    io.Writer
	answer *bufio.Scanner
}

const devicesEnv = "CAIRN_TEST_DEVICES"

// startDevices runs TestDevices in a process of its own until the benchmark ends.
func startDevices(b *testing.B) *others {
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestDevices$", "-test.timeout", "0")
	cmd.Env = append(os.Environ(), devicesEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	o := &others{offers: map[types.Class][]role.Offer{}, ask: in, answer: bufio.NewScanner(out)}
	for len(o.offers[storage.Hold]) < 8 || len(o.offers[storage.Egress]) < 8 {
		raw, err := hex.DecodeString(o.line(b, "ask "))
		if err != nil {
			b.Fatal(err)
		}
		ask, err := receipt.DecodeAsk(raw, roletest.Chain)
		if err != nil {
			b.Fatal(err)
		}
		owner := types.Account(ask.Ask.Device[:20])
		o.offers[ask.Ask.Class] = append(o.offers[ask.Ask.Class], role.Offer{Ask: ask, Owner: owner, Quality: 5000})
	}
	return o
}

// line returns the rest of the next line that begins so.
func (o *others) line(b *testing.B, prefix string) string {
	for o.answer.Scan() {
		if rest, ok := strings.CutPrefix(o.answer.Text(), prefix); ok {
			return rest
		}
	}
	b.Fatalf("the devices' process ended: %v", o.answer.Err())
	return ""
}

// computed is the processor time that the devices have used.
func (o *others) computed() (d time.Duration) {
	fmt.Fprintln(o.ask)
	for o.answer.Scan() {
		if _, err := fmt.Sscanf(o.answer.Text(), "computed %d", &d); err == nil {
			return d
		}
	}
	return 0
}

// TestDevices is the process of BenchmarkSmallPut's devices. It says what they ask, and what they have computed
// for each line that it reads.
func TestDevices(t *testing.T) {
	if os.Getenv(devicesEnv) == "" {
		t.Skip("it serves BenchmarkSmallPut")
	}
	n := newNet(t, 8)
	n.Next()
	for class := storage.Hold; class <= storage.Egress; class++ {
		offers, _, err := n.market.Offers(t.Context(), role.Want{Class: class})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range offers {
			fmt.Printf("ask %x\n", o.Ask.Encode())
		}
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Printf("computed %d\n", computed())
	}
}
