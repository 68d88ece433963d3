package process

import "github.com/prometheus/client_golang/prometheus"

// Figures are a role's own for /metrics, read when somebody asks for them.
type Figures struct {
	prefix string
	list   []figure
}

type figure struct {
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

// Counters adds one for each value of some labels.
func (f *Figures) Counters(name, help string, labels []string, read func(say func(value float64, labels ...string))) {
	f.add(name, help, prometheus.CounterValue, labels, read)
}

func (f *Figures) add(name, help string, kind prometheus.ValueType, labels []string, read func(func(float64, ...string))) {
	f.list = append(f.list, figure{prometheus.NewDesc(f.prefix+name, help, labels, nil), kind, read})
}

// Describe implements prometheus.Collector.
func (f *Figures) Describe(c chan<- *prometheus.Desc) {
	for _, one := range f.list {
		c <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (f *Figures) Collect(c chan<- prometheus.Metric) {
	for _, one := range f.list {
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
