package gateway

import (
	"cmp"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/cairn-network/cairn/service/role"
)

// maxBody bounds the JSON body of a request, in bytes.
const maxBody = 1 << 20

// route is one path of the REST API. The table of routes is both the mux and the OpenAPI description.
type route struct {
	role.Route
	handle func(w http.ResponseWriter, r *http.Request) (any, error)
}

// mount registers the routes on mux.
func mount(mux *http.ServeMux, routes []route) {
	for _, rt := range routes {
		mux.HandleFunc(rt.Method+" "+rt.Path, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			out, err := rt.handle(w, r)
			if err != nil {
				role.Fail(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(out)
		})
	}
}

// openAPI describes routes in OpenAPI 3.1.
func openAPI(version string, routes []role.Route) map[string]any {
	paths := map[string]any{}
	for _, rt := range routes {
		op := map[string]any{
			"summary": rt.Summary,
			"responses": map[string]any{
				strconv.Itoa(cmp.Or(rt.Status, http.StatusOK)): map[string]any{"description": "done", "content": content(rt.Out)},
				"default": map[string]any{"description": "refused, with a coded reason", "content": content(role.Problem{})},
			},
		}
		if rt.In != nil {
			op["requestBody"] = map[string]any{"required": true, "content": content(rt.In)}
		}
		if rt.Open {
			op["security"] = []any{}
		}
		var params []any
		for part := range strings.SplitSeq(rt.Path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok {
				params = append(params, map[string]any{"name": strings.TrimRight(name, ".}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
			}
		}
		for _, name := range rt.Query {
			params = append(params, map[string]any{"name": name, "in": "query", "schema": map[string]any{"type": "string"}})
		}
		if params != nil {
			op["parameters"] = params
		}
		item, ok := paths[rt.Path].(map[string]any)
		if !ok {
			item = map[string]any{}
			paths[rt.Path] = item
		}
		item[strings.ToLower(rt.Method)] = op
	}
	return map[string]any{
		"openapi":    "3.1.0",
		"info":       map[string]any{"title": "Cairn gateway", "version": version, "license": map[string]any{"name": "Apache-2.0", "identifier": "Apache-2.0"}},
		"paths":      paths,
		"security":   []any{map[string]any{"key": []any{}}},
		"components": map[string]any{"securitySchemes": map[string]any{"key": map[string]any{"type": "http", "scheme": "bearer"}}},
	}
}

func content(example any) map[string]any {
	if example == nil {
		return map[string]any{}
	}
	if _, ok := example.([]byte); ok {
		return map[string]any{"application/octet-stream": map[string]any{}}
	}
	return map[string]any{"application/json": map[string]any{"schema": schema(reflect.TypeOf(example))}}
}

// schema describes a Go type as encoding/json writes it, in JSON Schema 2020-12.
func schema(t reflect.Type) map[string]any {
	if text := reflect.TypeFor[interface{ MarshalText() ([]byte, error) }](); t.Implements(text) {
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": schema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schema(t.Elem())}
	case reflect.Struct:
		props, required := map[string]any{}, []string{}
		for i := range t.NumField() {
			name, opts, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			props[name] = schema(t.Field(i).Type)
			if strings.Contains(opts, "string") {
				props[name] = map[string]any{"type": "string"}
			}
			if !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero") {
				required = append(required, name)
			}
		}
		return map[string]any{"type": "object", "properties": props, "required": required}
	case reflect.Interface:
		return map[string]any{}
	}
	return map[string]any{"type": "integer"}
}
