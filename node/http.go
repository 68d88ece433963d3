package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/process"
	"github.com/cairn-network/cairn/service/role"
)

// addressFile holds, while a node runs, where it serves its status: host:port.
const addressFile = "node.address"

// listen opens the status port, and returns what serves it.
func (n *Node) listen() (serve func(context.Context), err error) {
	if n.config.Listen == "" {
		return func(context.Context) {}, nil
	}
	l, err := process.Listen("node: status", n.config.Listen)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(n.config.Home, addressFile)
	if err := files.Replace(path, []byte(l.Addr().String()), 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("node: status: %w", err)
	}
	return func(ctx context.Context) {
		defer os.Remove(path)
		process.Door(ctx, l, n.Handler(), n.log)
	}, nil
}

// StatusAddress returns where the node that runs in home serves its status.
func StatusAddress(home string) (string, error) {
	b, err := os.ReadFile(filepath.Join(home, addressFile))
	if err != nil {
		return "", fmt.Errorf("node: no node runs in %s: %w", home, err)
	}
	return string(b), nil
}

// Routes describes what Handler serves.
func Routes() []role.Route {
	return []role.Route{
		{Method: "GET", Path: "/status", Summary: "What the node is, does and last heard", Open: true, Out: Status{}},
		{Method: "GET", Path: "/metrics", Summary: "The same and more, for Prometheus", Open: true, Out: []byte(nil)},
		{Method: "GET", Path: "/healthz", Summary: "200 while the node follows the chain, else 503, with what is missing", Open: true, Out: process.Report{}},
	}
}

// Handler serves Routes.
func (n *Node) Handler() http.Handler {
	health := new(process.Health)
	health.Add("network", func() error {
		if s := n.Status(); !s.Online || s.Epoch == 0 {
			if s.Reason == "" {
				return errors.New(s.Next)
			}
			return types.Refuse(s.Reason, "%s", s.Next)
		}
		return nil
	})
	serve := map[string]http.Handler{
		"/status": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(n.Status()) // the reader has gone
		}),
		"/metrics": process.Metrics(health, metrics{n}),
		"/healthz": health,
	}
	mux := http.NewServeMux()
	for _, rt := range Routes() {
		mux.Handle(rt.Method+" "+rt.Path, serve[rt.Path])
	}
	return mux
}

// metrics shows Status to Prometheus.
type metrics struct{ n *Node }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cairn_node_"+name, help, labels, nil)
}

var (
	onlineDesc    = desc("online", "Whether the bus is reachable.")
	epochDesc     = desc("epoch", "The current epoch.")
	heightDesc    = desc("height", "The newest block that is believed.")
	skewDesc      = desc("clock_skew_seconds", "How far this machine's clock is ahead of the chain's.")
	totalDesc     = desc("earned_ustone", "What tallies have given the device, ever.")
	finalDesc     = desc("earned_final_ustone", "Of which is final.")
	pendingDesc   = desc("pending_items", "Items that wait to be acknowledged.")
	bytesDesc     = desc("pending_bytes", "Bytes of items that wait to be acknowledged.")
	submittedDesc = desc("submitted_total", "Items that providers handed in since the start.")
	ackedDesc     = desc("acknowledged_total", "Items that more than two thirds of power acknowledged since the start.")
	countedDesc   = desc("counted_total", "Items that tallies counted since the start.")
	refusedDesc   = desc("refused_total", "Items refused since the start, by reason.", "reason")
	ignoredDesc   = desc("notices_ignored_total", "Notices that were thrown away since the start.")
	runningDesc   = desc("provider_running", "Whether a category's provider runs.", "category")
	restartsDesc  = desc("provider_restarts_total", "How often a category's provider failed since the start.", "category")
	remarksDesc   = desc("remarks", "What the owner should know of the home (no category) or of a provider, by reason.", "category", "reason")
	qualityDesc   = desc("quality_basis_points", "Quality in the newest tally, by category.", "category")
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, c) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(c chan<- prometheus.Metric) {
	s := m.n.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge(onlineDesc, process.Flag(s.Online))
	gauge(epochDesc, float64(s.Epoch))
	gauge(heightDesc, float64(s.Height))
	gauge(skewDesc, float64(s.Skew))
	gauge(totalDesc, float64(s.Earned.Total))
	gauge(finalDesc, float64(s.Earned.Final))
	gauge(pendingDesc, float64(s.Pending))
	gauge(bytesDesc, float64(s.Bytes))
	counter(submittedDesc, float64(s.Submitted))
	counter(ackedDesc, float64(s.Acked))
	counter(countedDesc, float64(s.Counted))
	counter(ignoredDesc, float64(m.n.agent.Ignored()))
	for _, r := range s.Refused {
		counter(refusedDesc, float64(r.Count), string(r.Reason))
	}
	remarks := map[[2]string]int{}
	for _, p := range s.Remarks {
		remarks[[2]string{"", string(p.Reason)}]++
	}
	for _, p := range s.Providers {
		for _, remark := range p.Remarks {
			remarks[[2]string{p.Category, string(remark.Reason)}]++
		}
	}
	for at, count := range remarks {
		gauge(remarksDesc, float64(count), at[0], at[1])
	}
	for _, p := range s.Providers {
		gauge(runningDesc, process.Flag(p.State == "running"), p.Category)
		counter(restartsDesc, float64(p.Restarts), p.Category)
		if p.Quality != nil {
			gauge(qualityDesc, float64(*p.Quality), p.Category)
		}
	}
	for _, r := range m.n.providers {
		if r.provider.Figures == nil {
			continue
		}
		for _, f := range r.provider.Figures() {
			say := gauge
			if f.Grows {
				say = counter
			}
			name := "cairn_" + r.provider.Category.String() + "_" + f.Name
			if f.Label == "" {
				say(prometheus.NewDesc(name, f.Help, nil, nil), f.Value)
				continue
			}
			d := prometheus.NewDesc(name, f.Help, []string{f.Label}, nil)
			for value, n := range f.Each {
				say(d, n, value)
			}
		}
	}
}
