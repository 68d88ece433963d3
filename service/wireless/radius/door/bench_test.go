package door_test

import (
	"encoding/hex"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	codec "layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"

	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/wireless/radius"
)

// BenchmarkLogin has Debian's radclient log a user in over and over, 64 at once: through device and gateway, and at
// FreeRADIUS, in turn. Units: logins a second, and their ratio.
func BenchmarkLogin(b *testing.B) {
	f := startFreeradius(b, "-f", "-l", "stdout")
	w := newWorld(b, userFile(b))
	program := testutil.Program(b, "radclient")
	const count = 3000
	run := func(address string) float64 {
		c := exec.Command(program, "-q", "-c", fmt.Sprint(count), "-p", "64", "-r", "3", address, "auth", lan)
		c.Stdin = strings.NewReader("User-Name = \"ada@example.org\"\nUser-Password = \"engine\"\nMessage-Authenticator = 0x00\n")
		start := time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		return count / time.Since(start).Seconds()
	}
	var ours, theirs []float64
	for range 5 {
		theirs = append(theirs, run(fmt.Sprintf("127.0.0.1:%d", f.login)))
		ours = append(ours, run(w.lan))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	b.ReportMetric(ours[2], "logins/s")
	b.ReportMetric(theirs[2], "freeradius-logins/s")
	b.ReportMetric(ours[2]/theirs[2], "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAccounting measures how long an Accounting-Request waits for its answer, eight at once: through device and
// gateway, with a receipt in each, and at FreeRADIUS, in turn. Units: the 99th percentile in microseconds.
func BenchmarkAccounting(b *testing.B) {
	f := startFreeradius(b, "-f", "-l", "stdout")
	w := newWorld(b, userFile(b))
	class, _ := w.login()
	raw, err := hex.DecodeString(class[2:])
	if err != nil {
		b.Fatal(err)
	}
	session := 0
	run := func(address string) time.Duration {
		var mu sync.Mutex
		var all sync.WaitGroup
		var took []time.Duration
		for range 8 {
			all.Go(func() {
				for range 125 {
					mu.Lock()
					session++
					id := fmt.Sprint(session)
					mu.Unlock()
					p := codec.New(codec.CodeAccountingRequest, []byte(lan))
					_ = rfc2865.UserName_SetString(p, "ada@example.org")
					_ = rfc2865.NASIdentifier_SetString(p, "ap")
					_ = rfc2865.Class_Set(p, raw)
					_ = rfc2866.AcctStatusType_Set(p, rfc2866.AcctStatusType_Value_Stop)
					_ = rfc2866.AcctSessionID_SetString(p, id)
					_ = rfc2866.AcctOutputOctets_Set(p, 1000)
					start := time.Now()
					if _, err := radius.Exchange(b.Context(), address, p); err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					took = append(took, time.Since(start))
					mu.Unlock()
				}
			})
		}
		all.Wait()
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	var ours, theirs []time.Duration
	for range 3 {
		theirs = append(theirs, run(net.JoinHostPort("127.0.0.1", fmt.Sprint(f.account))))
		ours = append(ours, run(w.lan))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	w.mu.Lock()
	b.Logf("%d receipts", len(w.receipts))
	w.mu.Unlock()
	b.ReportMetric(float64(ours[1].Microseconds()), "p99-µs")
	b.ReportMetric(float64(theirs[1].Microseconds()), "freeradius-p99-µs")
	b.ReportMetric(float64(ours[1])/float64(theirs[1]), "ratio")
	b.ReportMetric(0, "ns/op")
}
