package testutil

import (
	"go/ast"
	"go/parser"
	"go/token"
	gotypes "go/types"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// elsewhere stands for other packages, of which only the locks are known.
type elsewhere struct{}

func (elsewhere) Import(path string) (*gotypes.Package, error) {
	p := gotypes.NewPackage(path, path[strings.LastIndex(path, "/")+1:])
	if path == "sync" {
		for _, lock := range []string{"Mutex", "RWMutex"} {
			name := gotypes.NewTypeName(token.NoPos, p, lock, nil)
			gotypes.NewNamed(name, gotypes.NewStruct(nil, nil), nil)
			p.Scope().Insert(name)
		}
	}
	p.MarkComplete()
	return p, nil
}

// Guarded holds a package to the rule that what a struct's lock guards, which is every field from the lock on, only
// the struct's own methods touch, and functions that make one. It returns the names of the structs that have a lock.
func Guarded(t *testing.T, dir string) (locked []string) {
	t.Helper()
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &gotypes.Info{Selections: map[*ast.SelectorExpr]*gotypes.Selection{}, Defs: map[*ast.Ident]gotypes.Object{}}
	conf := gotypes.Config{Importer: elsewhere{}, Error: func(error) {}}
	pkg, _ := conf.Check(dir, set, files, info)

	guarded := map[gotypes.Object]string{} // field → its part
	for _, name := range pkg.Scope().Names() {
		s, ok := pkg.Scope().Lookup(name).Type().Underlying().(*gotypes.Struct)
		if !ok {
			continue
		}
		found := false
		for i := range s.NumFields() {
			typ := s.Field(i).Type().String()
			if found = found || typ == "sync.Mutex" || typ == "sync.RWMutex"; found {
				guarded[s.Field(i)] = name
			}
		}
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			sig := info.Defs[f.Name].Type().(*gotypes.Signature)
			owners := []string{}
			if sig.Recv() != nil {
				owners = append(owners, nameOf(sig.Recv().Type()))
			}
			for i := range sig.Results().Len() {
				owners = append(owners, nameOf(sig.Results().At(i).Type()))
			}
			ast.Inspect(f, func(n ast.Node) bool {
				e, ok := n.(*ast.SelectorExpr)
				if !ok || info.Selections[e] == nil {
					return true
				}
				if field, ok := info.Selections[e].Obj().(*gotypes.Var); ok {
					if part, ok := guarded[field.Origin()]; ok && !slices.Contains(owners, part) {
						t.Errorf("%s: %s touches %s of %s", set.Position(e.Pos()), f.Name.Name, e.Sel.Name, part)
					}
				}
				return true
			})
		}
	}
	return slices.Compact(slices.Sorted(maps.Values(guarded)))
}

// nameOf is the name of a type, or of what a pointer to it points at.
func nameOf(t gotypes.Type) string {
	if p, ok := t.(*gotypes.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*gotypes.Named); ok {
		return n.Obj().Name()
	}
	return ""
}
