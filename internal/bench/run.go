package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// run is one call of `go test`.
type run struct {
	pkg   string
	bench string // regular expression, as go test takes it
	time  string // -benchtime
	count int    // -count
}

// metrics are the values of benchmarks by "name unit", in the order in which they were measured.
type metrics map[string][]float64

// run adds what the benchmarks report to results.
func (r run) run(ctx context.Context, results metrics) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", r.bench, "-benchtime", r.time, "-count", strconv.Itoa(r.count), "-timeout", "15m", r.pkg)
	out, err := cmd.CombinedOutput()
	results.parse(out)
	if err != nil {
		return fmt.Errorf("bench: %s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(out))
	}
	return nil
}

// tail is what a person needs of a failed run.
func tail(out []byte) []byte { return out[max(0, len(out)-4<<10):] }

// line is a benchmark's result: its name with the count of processors, iterations, and pairs of value and unit.
var line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(\S.*)$`)

func (m metrics) parse(out []byte) {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		found := line.FindStringSubmatch(s.Text())
		if found == nil {
			continue
		}
		words := strings.Fields(found[2])
		for ; len(words) >= 2; words = words[2:] {
			v, err := strconv.ParseFloat(words[0], 64)
			if err != nil {
				break
			}
			key := found[1] + " " + words[1]
			m[key] = append(m[key], v)
		}
	}
}

// median returns the middle value of a metric, and false if it was not measured.
func (m metrics) median(key string) (float64, bool) {
	list := slices.Sorted(slices.Values(m[key]))
	if len(list) == 0 {
		return 0, false
	}
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2, true
	}
	return list[len(list)/2], true
}
