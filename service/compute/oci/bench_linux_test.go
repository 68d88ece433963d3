package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cairn-network/cairn/internal/testutil"
)

// stamp notes when the first byte came.
type stamp struct{ at time.Time }

func (s *stamp) Write(p []byte) (int, error) {
	if s.at.IsZero() {
		s.at = time.Now()
	}
	return len(p), nil
}

// bare makes a bundle as `runc spec` makes it, without our limits, and returns what runs a program in it.
func bare(b *testing.B, w *world, args ...string) func(out io.Writer) {
	b.Helper()
	dir := b.TempDir()
	if out, err := exec.Command(w.e.runc, "spec", "--bundle", dir).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	path := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(raw, &s); err != nil {
		b.Fatal(err)
	}
	s.Process.Terminal, s.Process.Args = false, args
	s.Root.Path = filepath.Join(w.dir, "images", w.image.String(), treeDir)
	if raw, err = json.Marshal(&s); err != nil {
		b.Fatal(err)
	}
	// runc makes the folders that it mounts on.
	for _, d := range []string{"proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(s.Root.Path, d), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		b.Fatal(err)
	}
	n := 0
	return func(out io.Writer) {
		n++
		cmd := exec.Command(w.e.runc, "--root", filepath.Join(dir, "state"), "run", "--bundle", dir, fmt.Sprintf("cairn-bench-%d-%d", os.Getpid(), n))
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart: from a job that is handed over, whose image is unpacked, to its first output; and the same of
// runc alone. One after the other, in the same seconds.
func BenchmarkStart(b *testing.B) {
	w := newWorld(b)
	peer := bare(b, w, "/bin/echo", "x")
	var ours, theirs []time.Duration
	for b.Loop() {
		var first stamp
		began := time.Now()
		peer(&first)
		theirs = append(theirs, first.at.Sub(began))
		j := w.job("echo x")
		first = stamp{}
		began = time.Now()
		if _, err := w.e.Run(b.Context(), j, &first, io.Discard, unmetered{}); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, first.at.Sub(began))
		if err := w.e.Release(j.Order); err != nil {
			b.Fatal(err)
		}
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2].Microseconds()) / 1000
	}
	b.ReportMetric(median(ours), "p50-ms")
	b.ReportMetric(median(theirs), "bare-p50-ms")
	b.ReportMetric(median(ours)/median(theirs), "ratio")
}

var metrics = regexp.MustCompile(`\bcpu +(\d+) +[0-9.]+ +([0-9.]+) +([0-9.]+)`)

// BenchmarkCPU: the processor time of stress-ng's work in a container, and of the same outside. One after the other.
func BenchmarkCPU(b *testing.B) {
	program := testutil.Program(b, "stress-ng")
	w := newWorld(b)
	l := []entry{{name: "tmp/", kind: tar.TypeDir, mode: 0o1777}}
	add := func(path string) {
		raw, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		l = append(l, entry{name: path, body: string(raw)})
	}
	add(program)
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range strings.Fields(string(out)) {
		if strings.HasPrefix(f, "/") {
			add(f)
		}
	}
	args := []string{program, "--cpu", "1", "--cpu-method", "int64", "--cpu-ops", "6000", "--metrics-brief", "--temp-path", "/tmp"}
	w.image = w.blobs.image(b, `{"Env":["LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"]}`, l)
	if err := w.e.Prepare(b.Context(), w.image, w.blobs.open); err != nil {
		b.Fatal(err)
	}
	spent := func(text string) float64 {
		m := metrics.FindStringSubmatch(text)
		if m == nil {
			b.Fatalf("stress-ng says: %s", text)
		}
		user, _ := strconv.ParseFloat(m[2], 64)
		system, _ := strconv.ParseFloat(m[3], 64)
		return user + system
	}
	var inside, outside []float64
	for b.Loop() {
		raw, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, raw)
		}
		outside = append(outside, spent(string(raw)))
		j := w.job(args...)
		j.Memory, j.Limit = 512<<20, 600_000
		var buf bytes.Buffer
		end, err := w.e.Run(b.Context(), j, &buf, &buf, unmetered{})
		if err != nil || end.Exit != 0 {
			b.Fatalf("%+v %v %s", end, err, buf.String())
		}
		inside = append(inside, spent(buf.String()))
		if err := w.e.Release(j.Order); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(inside)
	slices.Sort(outside)
	b.ReportMetric(inside[len(inside)/2], "cpu-s")
	b.ReportMetric(outside[len(outside)/2], "bare-cpu-s")
	b.ReportMetric(inside[len(inside)/2]/outside[len(outside)/2], "ratio")
}
