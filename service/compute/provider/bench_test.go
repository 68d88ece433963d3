package provider

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// BenchmarkFirstOutput: from an order of a warm guest to its answer, its first output and its end, with a
// journal on a real disk.
func BenchmarkFirstOutput(b *testing.B) {
	dir, err := os.MkdirTemp(os.Getenv("CAIRN_BENCH_DIR"), "")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := newWasmWorld(b, nil)
	if err := w.device.Stop(); err != nil {
		b.Fatal(err)
	}
	w.device.SetDir(dir)
	w.start()
	w.code = program(1)
	s := w.session(maxExpiry)
	w.end(w.run(s, "warm"))
	var answered, first, ended []time.Duration
	for b.Loop() {
		c := w.callWith(s, nil, func(c *compute.Call) { c.Order.Order.Mode = compute.Private }, "bench")
		began := time.Now()
		j, reason := w.ask(s, c)
		for reason == compute.Busy { // the one before is about to end
			j, reason = w.ask(s, c)
		}
		if reason != "" {
			b.Fatal(reason)
		}
		answered = append(answered, time.Since(began))
		for {
			w.mu.Lock()
			n := j.out[1].Len()
			w.mu.Unlock()
			if n > 0 {
				break
			}
			<-j.more
		}
		first = append(first, time.Since(began))
		w.end(j)
		ended = append(ended, time.Since(began))
	}
	for name, list := range map[string][]time.Duration{"answer": answered, "first": first, "end": ended} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(list[len(list)*99/100].Microseconds())/1000, name+"-p99-ms")
	}
	w.clean(types.Superseded)
}

// BenchmarkModel: from a request to a model to the first part of its answer, through the gateway and straight
// to the server, in turn.
func BenchmarkModel(b *testing.B) {
	b.Setenv("TMPDIR", cmp.Or(os.Getenv("CAIRN_BENCH_DIR"), "/var/tmp")) // journals on a real disk
	u := newUpstream(b, "tiny")
	w := newModelWorld(b, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	w.warm()
	first := func(url string) time.Duration {
		began := time.Now()
		res, err := http.Post(url, "application/json", strings.NewReader(chat("a small question", `,"stream":true`)))
		if err != nil {
			b.Fatal(err)
		}
		defer res.Body.Close()
		line := bufio.NewReader(res.Body)
		for {
			text, err := line.ReadString('\n')
			if err != nil {
				b.Fatalf("%s: %v", res.Status, err)
			}
			if strings.HasPrefix(text, "data: {") {
				break
			}
		}
		took := time.Since(began)
		if _, err := io.Copy(io.Discard, line); err != nil {
			b.Fatal(err)
		}
		return took
	}
	ways := []string{u.URL + "/v1/chat/completions", w.door.URL + "/chat/completions"}
	for range 20 {
		first(ways[0])
		first(ways[1])
	}
	var took [2][]time.Duration
	for b.Loop() {
		for i, url := range ways {
			took[i] = append(took[i], first(url))
		}
	}
	var p50, p99 [2]float64
	for i, list := range took {
		slices.Sort(list)
		p50[i], p99[i] = float64(list[len(list)/2].Microseconds())/1000, float64(list[len(list)*99/100].Microseconds())/1000
	}
	b.ReportMetric(p50[0], "direct-p50-ms")
	b.ReportMetric(p50[1], "p50-ms")
	b.ReportMetric(p50[1]-p50[0], "added-p50-ms")
	b.ReportMetric(p99[1]-p99[0], "added-p99-ms")
	if n := w.orders(0); n > 2 {
		b.Errorf("%d orders", n)
	}
}

// firstByte notes when the first byte of an answer came.
type firstByte struct {
	*httptest.ResponseRecorder
	at time.Time
}

func (f *firstByte) Write(p []byte) (int, error) {
	if f.at.IsZero() && len(p) > 0 {
		f.at = time.Now()
	}
	return f.ResponseRecorder.Write(p)
}

// BenchmarkContainer: from the submission of a container, whose image the device has, to the first of its
// output that the gateway gives to the customer; and the same of runc alone. One after the other, in the same
// seconds.
func BenchmarkContainer(b *testing.B) {
	s := newShop(b)
	s.result(s.submit(20_000, "/bin/echo", "warm"))
	bundle := b.TempDir()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(bundle, "rootfs/bin"), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "rootfs/bin/sh"), program, 0o755); err != nil {
		b.Fatal(err)
	}
	// What runc proposes is an interactive shell: its input has one line.
	if out, err := exec.Command("sh", "-c", `cd "$0" && runc spec && sed -i 's/"terminal": true/"terminal": false/' config.json`, bundle).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var ours, theirs []time.Duration
	for n := 0; b.Loop(); n++ {
		began := time.Now()
		cmd := exec.Command("runc", "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, fmt.Sprintf("cairn-bench-%d-%d", os.Getpid(), n))
		cmd.Stdin = strings.NewReader("echo x\n")
		out := &firstByte{ResponseRecorder: httptest.NewRecorder()}
		cmd.Stdout = out
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		theirs = append(theirs, out.at.Sub(began))
		began = time.Now()
		id := s.submit(20_000, "/bin/echo", "x")
		rec := &firstByte{ResponseRecorder: httptest.NewRecorder()}
		s.door.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/jobs/"+id+"/logs?follow=1", nil))
		ours = append(ours, rec.at.Sub(began))
		s.result(id)
		s.w.settled()
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2].Microseconds()) / 1000
	}
	b.ReportMetric(median(ours), "p50-ms")
	b.ReportMetric(median(theirs), "bare-p50-ms")
	b.ReportMetric(median(ours)/median(theirs), "ratio")
}
