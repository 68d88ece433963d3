package openapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// walk follows calls through the source of the keepers and of what they call in core/, by name, to find the
// reasons with which a message can be refused. It does not know types, so it may name a reason too many.
type walk struct {
	reasons map[string]string                // name of the constant → reason
	funcs   map[string]map[string][]ast.Node // folder → name → bodies
	imports map[ast.Node]map[string]string   // body → name of an import → folder
}

// followed are the folders whose functions are followed.
var followed = []string{
	"chain/x/certificate/keeper", "chain/x/certificate/types", "chain/x/credit/keeper", "chain/x/credit/types", "chain/x/device/keeper", "chain/x/device/types", "chain/x/reward/keeper",
	"chain/x/reward/types", "chain/x/tally/keeper", "chain/x/tally/types",
	"core/econ", "core/evidence", "core/fleet", "core/beacon", "core/lot", "core/merkle", "core/tally", "core/types",
}

// stores are methods of collections, which share their names with methods of keepers.
var stores = []string{"Get", "Set", "Has", "Remove", "Walk", "Iterate", "Clear"}

const module = "github.com/cairn-network/cairn/"

func newWalk(t *testing.T) *walk {
	t.Helper()
	w := &walk{reasons: map[string]string{}, funcs: map[string]map[string][]ast.Node{}, imports: map[ast.Node]map[string]string{}}
	set := token.NewFileSet()
	for _, dir := range followed {
		w.funcs[dir] = map[string][]ast.Node{}
		err := filepath.WalkDir("../../../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, ".pb.") {
				return err
			}
			f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err == nil {
				w.read(dir, f)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(w.reasons) < 40 {
		t.Fatalf("only %d reasons are declared in core/types", len(w.reasons))
	}
	return w
}

func (w *walk) read(dir string, f *ast.File) {
	imports := map[string]string{}
	for _, spec := range f.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imports[name] = strings.TrimPrefix(path, module)
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Body != nil {
				w.funcs[dir][d.Name.Name] = append(w.funcs[dir][d.Name.Name], d.Body)
				w.imports[d.Body] = imports
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || dir != "core/types" || len(v.Values) != 1 {
					continue
				}
				if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Reason" {
					value, _ := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
					w.reasons[v.Names[0].Name] = value
				}
			}
		}
	}
}

// of returns the reasons that a function of a folder can refuse with, sorted.
func (w *walk) of(dir, name string) []string {
	found, seen := map[string]bool{}, map[ast.Node]bool{}
	w.visit(dir, name, found, seen)
	var out []string
	for r := range found {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

func (w *walk) visit(dir, name string, found map[string]bool, seen map[ast.Node]bool) {
	for _, body := range w.funcs[dir][name] {
		if seen[body] {
			continue
		}
		seen[body] = true
		imports := w.imports[body]
		ast.Inspect(body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if r, ok := w.reasons[n.Name]; ok && dir == "core/types" {
					found[r] = true
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && imports[x.Name] == "core/types" {
					if r, ok := w.reasons[n.Sel.Name]; ok {
						found[r] = true
					}
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok {
					if id.Name == "attempt" {
						return false
					}
					w.visit(dir, id.Name, found, seen)
				}
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok {
					if sel.Sel.Name == "attempt" {
						return false // what fails in there is logged and goes no further
					}
					w.selector(dir, sel, imports, found, seen)
				}
			}
			return true
		})
	}
}

// selector follows a call x.f(): into x if that is a package, else to methods of that name, of other keepers
// too if they are called through one of the interfaces in expected.go.
func (w *walk) selector(dir string, sel *ast.SelectorExpr, imports map[string]string, found map[string]bool, seen map[ast.Node]bool) {
	name := sel.Sel.Name
	x, plain := sel.X.(*ast.Ident)
	if plain && imports[x.Name] != "" {
		w.visit(imports[x.Name], name, found, seen)
		return
	}
	if !plain && slices.Contains(stores, name) {
		return
	}
	if len(w.funcs[dir][name]) > 0 {
		w.visit(dir, name, found, seen)
		return
	}
	if own := strings.TrimSuffix(dir, "keeper") + "types"; len(w.funcs[own][name]) > 0 {
		w.visit(own, name, found, seen)
		return
	}
	for _, other := range followed {
		if ast.IsExported(name) && (strings.HasSuffix(other, "/keeper") && !plain || strings.HasPrefix(other, "core/") || strings.HasSuffix(other, "/types")) && !slices.Contains(stores, name) {
			w.visit(other, name, found, seen)
		}
	}
}
