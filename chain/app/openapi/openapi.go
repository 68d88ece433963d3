// Package openapi holds the description of the REST interface of Cairn's own modules (OpenAPI 2.0). It is
// generated from the protobuf files in chain/proto, as is the Go code in chain/x/*/types; the go:generate line
// below does both.
package openapi

import (
	_ "embed"
	"net/http"
)

//go:generate go run -C ../../../tools ./protogen -root ..

// Document is the description, as JSON.
//
//go:embed openapi.json
var Document []byte

// Path is where a node serves Document.
const Path = "/openapi.json"

// ServeHTTP serves Document.
func ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(Document)
}
