package process

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Figures are a role's own for /metrics, read when somebody asks for them. They may be added while they are
// served; one takes the place of another of its name.
type Figures struct {
	prefix string

	mu   sync.Mutex
	list []figure
}

type figure struct {
	name string
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(say func(value float64, labels ...string))
}

// NewFigures returns an empty list. Names begin with cairn_ROLE_.
func NewFigures(role string) *Figures { return &Figures{prefix: "cairn_" + role + "_"} }

// Gauge adds a figure that goes up and down.
func (f *Figures) Gauge(name, help string, read func() float64) {
	f.add(name, help, prometheus.GaugeValue, nil, func(say func(float64, ...string)) { say(read()) })
}

// Counter adds a figure that only grows while the process runs.
func (f *Figures) Counter(name, help string, read func() float64) {
	f.add(name, help, prometheus.CounterValue, nil, func(say func(float64, ...string)) { say(read()) })
}

// Gauges adds one for each value of some labels.
func (f *Figures) Gauges(name, help string, labels []string, read func(say func(value float64, labels ...string))) {
	f.add(name, help, prometheus.GaugeValue, labels, read)
}

func (f *Figures) add(name, help string, kind prometheus.ValueType, labels []string, read func(func(float64, ...string))) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = slices.DeleteFunc(f.list, func(one figure) bool { return one.name == name })
	f.list = append(f.list, figure{name, prometheus.NewDesc(f.prefix+name, help, labels, nil), kind, read})
}

// Describe implements prometheus.Collector: it says nothing, as figures come while the process runs.
func (f *Figures) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (f *Figures) Collect(c chan<- prometheus.Metric) {
	f.mu.Lock()
	list := slices.Clone(f.list)
	f.mu.Unlock()
	for _, one := range list {
		one.read(func(v float64, labels ...string) {
			c <- prometheus.MustNewConstMetric(one.desc, one.kind, v, labels...)
		})
	}
}

// Flag is 1 for true.
func Flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
