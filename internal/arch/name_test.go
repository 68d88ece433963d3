package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/service/all/spec"
)

// mechanism is what a category adds to the chain: certificates are energy's.
var mechanism = regexp.MustCompile(`^chain/x/certificate(/|$)`)

// named are files that name a category all the same, each with the reason. The list can only shrink: a file that
// needs to be here no more fails the test.
var named = map[string]string{
	"core/types/unit.go":              "numbers the protocol's categories",
	"ledger/ledgertest/ledgertest.go": "the category of the ledgers' tests",
	"internal/bench/figures.go":       "names the benchmarks of every folder",
}

// names returns what in a file names one of some categories: identifiers, import paths and texts, not comments.
func names(f *ast.File, category *regexp.Regexp) (found []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if category.MatchString(n.Name) {
				found = append(found, n.Name)
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING && category.MatchString(n.Value) {
				found = append(found, n.Value)
			}
		}
		return true
	})
	return found
}

// naming matches texts and identifiers in which one of some words stands: computeFee and "compute", not recomputed.
func naming(words []string) *regexp.Regexp {
	var any []string
	for _, w := range words {
		title := strings.ToUpper(w[:1]) + w[1:]
		any = append(any, `(?:^|[^a-zA-Z])`+w+`(?:[^a-z]|$)`, title+`(?:[^a-z]|$)`, strings.ToUpper(w))
	}
	return regexp.MustCompile(strings.Join(any, "|"))
}

// TestNoNames: nothing knows a category by name but its own folders, its line in each list, and its mechanism on the
// chain.
func TestNoNames(t *testing.T) {
	var words []string
	for _, v := range spec.Categories() {
		words = append(words, regexp.QuoteMeta(v.Spec.Name))
	}
	category := naming(words)
	owners := regexp.MustCompile(`^service/(all|` + strings.Join(words, "|") + `)(/|$)`)
	needed := map[string]bool{}
	for _, f := range load(t) {
		if strings.HasSuffix(f.path, "_test.go") || f.generated || owners.MatchString(f.pkg) {
			continue
		}
		found := names(f.ast, category)
		if len(found) == 0 || mechanism.MatchString(f.pkg) {
			continue
		}
		needed[f.path] = true
		if named[f.path] == "" {
			t.Errorf("%s names a category: %q: have the category's value say it", f.path, found[:min(len(found), 5)])
		}
	}
	for path, why := range named {
		if !needed[path] {
			t.Errorf("%s names no category (%s): take it off the list", path, why)
		}
	}
}

// TestMechanism: what a category adds to the chain only the application links. Everything else reaches it by a
// client of the category's.
func TestMechanism(t *testing.T) {
	linked := false
	for _, f := range load(t) {
		if strings.HasSuffix(f.path, "_test.go") || mechanism.MatchString(f.pkg) {
			continue
		}
		for _, spec := range f.ast.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if !mechanism.MatchString(strings.TrimPrefix(path, module)) {
				continue
			}
			if linked = true; f.pkg != "chain/app" {
				t.Errorf("%s imports %s: reach it through ledger.Querier and ledger.ModuleMsg", f.path, path)
			}
		}
	}
	if !linked {
		t.Error("nothing was looked at")
	}
}

// TestNames: names are seen wherever they are.
func TestNames(t *testing.T) {
	const source = `package x // of storage
import _ "example.org/service/energy/customer"
var storageDir, fine = "gateway/" + "STORAGE", 1
type t struct{ f int ` + "`json:\"energy\"`" + ` }
func f() { types.Storage(); restorage(); x = "energyless" }
`
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`"example.org/service/energy/customer"`, "storageDir", `"STORAGE"`, "`json:\"energy\"`", "Storage"}
	if got := names(f, naming([]string{"storage", "energy"})); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
