// Command bench runs the project's benchmarks and prints each of its figures beside a limit, or beside a peer
// that the same run measured, and their ratio, as one table:
//
//	go run ./internal/bench              # all, several minutes
//	go run ./internal/bench -only store  # the figures of one section
//	go run ./internal/bench -json        # one JSON object for each figure, a line each (also with BENCH_JSON=1)
//
// The benchmarks themselves live beside the code that they measure and run with `go test -bench` as well; a
// figure is what this program computes from their metrics. Each benchmark runs several times, and a figure
// takes the median. What is measured in time is compared with something that was measured within the same
// seconds, or counted in processor time, because other programs on the machine come and go. Benchmarks run one
// after another.
//
// The exit status is 1 if a benchmark failed, and 0 otherwise, whether figures reach their targets or not: the
// table says that. See docs/bench.md for how to read it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "sections to run, with commas between them; default all: "+strings.Join(names(), ","))
	asJSON := flag.Bool("json", os.Getenv("BENCH_JSON") == "1", "print JSON lines instead of a table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	rows, err := measure(ctx, *only)
	if *asJSON {
		out := json.NewEncoder(os.Stdout)
		for i := range rows {
			if err := out.Encode(&rows[i]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	} else {
		fmt.Print(table(rows))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// measure runs the sections that are asked for, and says on standard error what it is at.
func measure(ctx context.Context, only string) ([]Row, error) {
	var rows []Row
	var failed error
	for _, s := range sections {
		if only != "" && !contains(only, s.name) {
			continue
		}
		results := metrics{}
		for _, r := range s.runs {
			start := time.Now()
			fmt.Fprintf(os.Stderr, "%s: %s %s …", s.name, r.pkg, r.bench)
			err := r.run(ctx, results)
			fmt.Fprintf(os.Stderr, " %.0f s\n", time.Since(start).Seconds())
			if err != nil {
				failed = err
				fmt.Fprintln(os.Stderr, err)
			}
		}
		for _, f := range s.figures {
			rows = append(rows, f.row(s.name, results))
		}
		if ctx.Err() != nil {
			return rows, ctx.Err()
		}
	}
	return rows, failed
}

func names() (list []string) {
	for _, s := range sections {
		list = append(list, s.name)
	}
	return list
}

func contains(list, name string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if item == name {
			return true
		}
	}
	return false
}
