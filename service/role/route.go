package role

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/cairn-network/cairn/core/types"
)

// Route is one path of an HTTP interface. Who serves it makes its mux from the same table from which it is described,
// in OpenAPI and in docs/spec/rest.md.
type Route struct {
	Method, Path string // as in a pattern of http.ServeMux, below where the routes are mounted
	Summary      string
	Open         bool     // needs no API key
	Query        []string // names of the parameters that are read from the URL
	Status       int      // of success; 0 stands for 200
	In, Out      any      // values of the JSON bodies' types; []byte for bytes as they are, nil for none
	// Serve answers a request at a gateway (Handler), or returns why it does not: never both. Of an open route
	// there is no wallet.
	Serve func(w http.ResponseWriter, r *http.Request, wallet Wallet) error
	// Most bounds a JSON body, in bytes; 0 stands for MaxBody.
	Most int64
	// Refuse is optional: it answers with a refusal where the route's protocol has a shape of its own for them.
	// Else it is a Problem.
	Refuse func(w http.ResponseWriter, err error)
}

// MaxBody bounds a request's JSON body, in bytes. What takes bytes as they are bounds them itself.
const MaxBody = 64 << 10

// Handler serves a category's routes to those whose API keys the market knows. reasons is the category's table.
func Handler(market Market, routes []Route, reasons []types.ReasonInfo) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes {
		_, raw := rt.In.([]byte)
		mux.HandleFunc(rt.Method+" "+rt.Path, func(w http.ResponseWriter, r *http.Request) {
			if !raw {
				r.Body = http.MaxBytesReader(w, r.Body, cmp.Or(rt.Most, MaxBody))
			}
			var wallet Wallet
			var err error
			if !rt.Open {
				wallet, err = market.Wallet(r)
			}
			if err == nil {
				err = rt.Serve(w, r, wallet)
			}
			switch {
			case err != nil && rt.Refuse != nil:
				rt.Refuse(w, err)
			case err != nil:
				Fail(w, err, reasons...)
			}
		})
	}
	return Coherent(mux)
}

// Reply answers a request with v as JSON.
func Reply(w http.ResponseWriter, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // whoever asked may be gone
	return nil
}

// Number reads a parameter of the request's URL that is a number; without it, otherwise.
func Number(r *http.Request, name string, otherwise, most uint64) (uint64, error) {
	text := Query(r, name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most {
		return 0, types.Refuse(BadRequest, "%s %.40q: want a number, at most %d", name, text, most)
	}
	return n, nil
}
