package role

// Route is one path of an HTTP interface. Who serves it makes its mux from the same table from which it is described, in
// OpenAPI and in docs/spec/rest.md.
type Route struct {
	Method, Path string // as in a pattern of http.ServeMux, below where the routes are mounted
	Summary      string
	Open         bool     // needs no API key
	Query        []string // names of the parameters that are read from the URL
	Status       int      // of success; 0 stands for 200
	In, Out      any      // values of the JSON bodies' types; []byte for bytes as they are, nil for none
}

// Described is a Customer that says what its handler serves. Paths are below /<name>/v1.
type Described interface {
	Routes() []Route
}
