package role

// Figure is one number of a provider's for whoever watches many devices: a node serves it on /metrics as
// cairn_CATEGORY_NAME.
type Figure struct {
	Name  string // "jobs_ended_total"
	Help  string // one sentence
	Grows bool   // it only grows while the node runs (a counter), else it goes up and down (a gauge)
	Label string // what tells its values apart: "reason"; empty for one value
	Each  map[string]float64
	Value float64 // where Label is empty
}
