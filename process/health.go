package process

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/buildinfo"
)

// Health is a list of checks. It is safe for concurrent use.
type Health struct {
	mu     sync.Mutex
	checks []check
}

type check struct {
	name string
	look func() error
}

// Add adds a check, or takes the place of the one with its name. look says in words what is missing, nil for
// nothing; it answers at once, from what is known.
func (h *Health) Add(name string, look func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.checks, func(c check) bool { return c.name == name })
	if i < 0 {
		h.checks = append(h.checks, check{name, look})
		return
	}
	h.checks[i].look = look
}

// Report is what /healthz says.
type Report struct {
	Healthy bool    `json:"healthy"`
	Version string  `json:"version"`
	Checks  []Check `json:"checks"`
}

// Check is what was found of one thing that a process needs.
type Check struct {
	Name    string       `json:"name"`
	OK      bool         `json:"ok"`
	Missing string       `json:"missing,omitempty"` // in words
	Reason  types.Reason `json:"reason,omitempty"`
}

// Report looks at everything.
func (h *Health) Report() Report {
	h.mu.Lock()
	checks := slices.Clone(h.checks)
	h.mu.Unlock()
	r := Report{Healthy: true, Version: buildinfo.Version, Checks: []Check{}}
	for _, c := range checks {
		out := Check{Name: c.name, OK: true}
		if err := c.look(); err != nil {
			out.OK, out.Missing, out.Reason = false, err.Error(), types.ReasonOf(err)
			r.Healthy = false
		}
		r.Checks = append(r.Checks, out)
	}
	return r
}

// ServeHTTP answers 200 where all is well, else 503.
func (h *Health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r := h.Report()
	w.Header().Set("Content-Type", "application/json")
	if !r.Healthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(r) // the reader has gone
}

var healthyDesc = prometheus.NewDesc("cairn_healthy", "Whether a process has what it needs: 1 or 0 for each check of /healthz.", []string{"check"}, nil)

// Describe implements prometheus.Collector.
func (h *Health) Describe(c chan<- *prometheus.Desc) { c <- healthyDesc }

// Collect implements prometheus.Collector.
func (h *Health) Collect(c chan<- prometheus.Metric) {
	for _, check := range h.Report().Checks {
		v := 0.0
		if check.OK {
			v = 1
		}
		c <- prometheus.MustNewConstMetric(healthyDesc, prometheus.GaugeValue, v, check.Name)
	}
}
