package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// regional are the packages whose types and functions say of which region something is; engines are those that
// must be told.
var (
	regional = []string{"core/types", "core/receipt", "core/beacon", "core/tally", "ledger", "bus"}
	engines  = []string{"agent", "gateway", "node", "verifier", "witness", "explorer", "network", "manifest", "process", "cmd"}
)

// TestRegions: no engine writes a region down. It neither makes one of a number, nor passes a number where one
// is wanted, nor leaves out the field that says it, which would be region 0 without a word.
func TestRegions(t *testing.T) {
	parameters := map[string]int{} // of functions and methods, by name: which is a region
	fields := map[string]bool{}    // struct types with a field Region, as they are named outside of their package
	for _, dir := range slices.Concat(regional, engines) {
		for _, f := range parsed(t, dir, slices.Contains(engines, dir)) {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					note(parameters, n.Name.Name, n.Type)
				case *ast.InterfaceType:
					for _, m := range n.Methods.List {
						if typ, ok := m.Type.(*ast.FuncType); ok && len(m.Names) == 1 {
							note(parameters, m.Names[0].Name, typ)
						}
					}
				case *ast.TypeSpec:
					if s, ok := n.Type.(*ast.StructType); ok && n.Name.IsExported() {
						for _, field := range s.Fields.List {
							if isRegion(field.Type) && len(field.Names) == 1 && field.Names[0].Name == "Region" {
								fields[f.Name.Name+"."+n.Name.Name] = true
							}
						}
					}
				}
				return true
			})
		}
	}
	if _, ok := parameters["Headers"]; !ok || !fields["ledger.Buy"] || !fields["receipt.Order"] || !fields["bus.Pin"] {
		t.Fatalf("what says a region is not found: %v, %v", parameters, fields)
	}
	for _, dir := range engines {
		for _, f := range parsed(t, dir, true) {
			ast.Inspect(f, func(n ast.Node) bool {
				if why := writes(n, parameters, fields); why != "" {
					t.Errorf("%s: %s", files.Position(n.Pos()), why)
				}
				return true
			})
		}
	}
}

// TestRegionsSeen: the test above sees what it is for.
func TestRegionsSeen(t *testing.T) {
	for code, want := range map[string]bool{
		`l.Headers(ctx, 0, 5)`:                      true,
		`l.Headers(ctx, r, 0)`:                      false,
		`types.Region(0)`:                           true,
		`types.Region(n)`:                           false,
		`ledger.Buy{Amount: 5}`:                     true,
		`ledger.Buy{Region: 0, Amount: 5}`:          true,
		`ledger.Buy{Region: n.region(), Amount: 5}`: false,
		`ledger.Buy{}`:                              false,
	} {
		e, err := parser.ParseExpr(code)
		if err != nil {
			t.Fatal(err)
		}
		if got := writes(e, map[string]int{"Headers": 1}, map[string]bool{"ledger.Buy": true}) != ""; got != want {
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
}

var files = token.NewFileSet()

// writes says how a node writes a region down, "" if it does not.
func writes(n ast.Node, parameters map[string]int, fields map[string]bool) string {
	switch n := n.(type) {
	case *ast.CallExpr:
		if isRegion(n.Fun) && len(n.Args) == 1 && isNumber(n.Args[0]) {
			return "a region is made of a number"
		}
		name := ""
		switch f := n.Fun.(type) {
		case *ast.SelectorExpr:
			name = f.Sel.Name
		case *ast.Ident:
			name = f.Name
		}
		if at, ok := parameters[name]; ok && at < len(n.Args) && isNumber(n.Args[at]) {
			return "a number stands for the region in a call of " + name
		}
	case *ast.CompositeLit:
		typ, ok := n.Type.(*ast.SelectorExpr)
		if !ok || len(n.Elts) == 0 {
			return ""
		}
		pkg, ok := typ.X.(*ast.Ident)
		if !ok || !fields[pkg.Name+"."+typ.Sel.Name] {
			return ""
		}
		for _, e := range n.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				return "" // without names all fields are there
			}
			if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Region" {
				if isNumber(kv.Value) {
					return "a number stands for the region of a " + typ.Sel.Name
				}
				return ""
			}
		}
		return "a " + typ.Sel.Name + " without its Region is of region 0"
	}
	return ""
}

func note(parameters map[string]int, name string, typ *ast.FuncType) {
	at := 0
	for _, p := range typ.Params.List {
		if isRegion(p.Type) {
			parameters[name] = at
		}
		at += max(len(p.Names), 1)
	}
}

// isRegion reports whether an expression is the type of regions.
func isRegion(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Region" {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "types"
}

func isNumber(e ast.Expr) bool {
	l, ok := e.(*ast.BasicLit)
	return ok && l.Kind == token.INT
}

// parsed returns the files of a folder, and of those below it, that are not tests.
func parsed(t *testing.T, dir string, below bool) (list []*ast.File) {
	t.Helper()
	root := filepath.Join("../..", dir)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && path != root && !below {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		list = append(list, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
