package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/cairn-network/cairn/"

const (
	category = `service/(storage|compute|wireless|energy|mapping|iot)`
	roles    = `(provider|customer|witness)`
	parts    = `(?:fuel|mac|pob)`                                                   // pure, beneath a category's Verify
	shared   = `(?:guest|gwmp|line|link|lorawan|oci|openai|radius|spool|tunnel|wg)` // what several roles of a category run
)

// rows are the layers from the bottom up. A package may import packages of lower rows, packages of its own folder
// (same first capture group), and nothing else.
var rows = []*regexp.Regexp{
	regexp.MustCompile(`^internal/(?:buildinfo|testutil)$`),
	regexp.MustCompile(`^core/types$`),
	regexp.MustCompile(`^core/(?:merkle|evidence|receipt|beacon|fixed|lot|fleet)$`),
	regexp.MustCompile(`^core/econ$`),
	regexp.MustCompile(`^core/tally$`),
	regexp.MustCompile(`^service$`),
	regexp.MustCompile(`^(` + category + `/` + parts + `)$`),
	regexp.MustCompile(`^` + category + `$`),
	regexp.MustCompile(`^(ledger|bus)(?:/.*)?$`),
	regexp.MustCompile(`^(service/role)(?:/[a-z]+)?$`),
	regexp.MustCompile(`^(` + category + `/` + shared + `)(?:/.*)?$`),
	regexp.MustCompile(`^agent$|^manifest$|^process$`),
	regexp.MustCompile(`^(` + category + `/` + roles + `)(?:/.*)?$|^service/servicetest$`),
	regexp.MustCompile(`^chain/(?:refusal|testbank|churn)$`),
	regexp.MustCompile(`^chain/base$`),
	regexp.MustCompile(`^(chain/x/[a-z]+)(?:/.*)?$|^(node|verifier|witness|gateway|explorer)(?:/.*)?$`),
	regexp.MustCompile(`^service/all/(?:customer|provider|simulator|spec|witness)$|^(chain/(?:app|client|proto))(?:/.*)?$`),
	regexp.MustCompile(`^network$|^sim(?:/.*)?$`),
	regexp.MustCompile(`^(` + category + `/study)(?:/.*)?$`), // above all that runs: only a person at a desk needs it
	regexp.MustCompile(`^service/all/study$`),
	regexp.MustCompile(`^(cmd/[a-z-]+)(?:/.*)?$`),
}

// exceptions are imports inside one row, each with its reason.
var exceptions = map[string]string{
	"core/evidence core/merkle": "one signature covers many readings through a Merkle root",
	"core/fleet core/merkle":    "a fleet is a Merkle root over its things",
	"chain/client chain/app":    "the client needs the application's codec",
}

// pure packages are deterministic: no clock, no network, no files, no goroutines, no floats, no randomness.
var pure = regexp.MustCompile(`^core/|^service$|^` + category + `(/` + parts + `)?$`)

var impure = []string{"net", "net/http", "os", "os/exec", "io/ioutil", "math/rand", keyed, "crypto/rand", "syscall", "sync", "sync/atomic"}

// keyed has a stream that its key determines, beside what is drawn by chance: pure packages may use that alone
// (purity).
const keyed = "math/rand/v2"

var keyedNames = []string{"ChaCha8", "NewChaCha8"}

var drawers = regexp.MustCompile(`(^|/)(util|utils|common|helper|helpers|misc)$`)

// own is the folder of a category that a package is in.
var own = regexp.MustCompile(`^` + category + `\b`)

func row(pkg string) (int, string) {
	for i, r := range rows {
		if m := r.FindStringSubmatch(pkg); m != nil {
			for _, g := range m[1:] {
				if g != "" {
					return i, g
				}
			}
			return i, pkg
		}
	}
	return -1, ""
}

func allowed(from, to string) bool {
	if strings.HasPrefix(to, "internal/") {
		return true
	}
	if exceptions[from+" "+to] != "" {
		return true
	}
	if a, b := own.FindString(from), own.FindString(to); a != "" && b != "" && a != b {
		return false // a category never imports another
	}
	fr, fg := row(from)
	tr, tg := row(to)
	return fr > tr || fr == tr && fg == tg
}

// TestAllowed holds the law itself to what CONTRIBUTING says of it, package by package.
func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"service/energy/customer", "service/energy", true},
		{"service/energy/customer", "service/role/command", true},
		{"service/energy/provider/street", "service/energy/provider", true},
		{"service/energy", "service/energy/provider", false},
		{"service/energy/customer", "service/energy/provider", false},

		{"service/compute", "service/compute/mac", true},
		{"service/compute/mac", "service/compute", false},
		{"service/compute/guest", "service/compute/fuel", true},
		{"service/compute/witness", "service/compute/guest", true},
		{"service/compute", "service/compute/guest", false},

		// Whatever runs at a device, a gateway or a verifier has no study in it.
		{"service/energy/customer", "service/energy/study", false},
		{"service/energy/provider", "service/energy/study", false},
		{"service/energy/provider/street", "service/energy/study", false},
		{"gateway", "service/energy/study", false},
		{"node", "service/energy/study", false},
		{"verifier", "service/energy/study", false},
		{"network", "service/energy/study", false},
		{"service/all/customer", "service/energy/study", false},
		{"service/all/customer", "service/all/study", false},
		{"network", "service/all/study", false},
		{"service/all/study", "service/energy/study", true},
		{"cmd/cairn", "service/all/study", true},
		{"service/energy/study", "service/energy/provider/street", true},

		// A category never imports another, not even from a higher row.
		{"service/storage/provider", "service/energy", false},
		{"service/energy/study", "service/storage/provider", false},
	} {
		if got := allowed(c.from, c.to); got != c.want {
			t.Errorf("%s may import %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

type file struct {
	pkg, path string // both relative to the repository's root
	ast       *ast.File
	lines     int
	generated bool
}

func TestImportLaw(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range load(t) {
		if row, _ := row(f.pkg); row < 0 && !strings.HasPrefix(f.pkg, "internal/") {
			t.Errorf("%s: package %s is in no layer: add it to rows", f.path, f.pkg)
		}
		if drawers.MatchString(f.pkg) {
			t.Errorf("%s: a drawer: name the package after what it does", f.pkg)
		}
		if f.lines > 1000 && !f.generated {
			t.Errorf("%s: %d lines: split it", f.path, f.lines)
		}
		test := strings.HasSuffix(f.path, "_test.go")
		if f.ast.Doc != nil && !test {
			if documented[f.pkg] {
				t.Errorf("%s: a second package comment in %s", f.path, f.pkg)
			}
			documented[f.pkg] = true
		} else if !test && !f.generated {
			documented[f.pkg] = documented[f.pkg] || false
		}
		for _, spec := range f.ast.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			to, own := strings.CutPrefix(path, module)
			if own && to != f.pkg && !test && !allowed(f.pkg, to) {
				t.Errorf("%s: %s must not import %s", f.path, f.pkg, to)
			}
			if to == "internal/testutil" && !test {
				t.Errorf("%s: testutil is for tests", f.path)
			}
			chain := strings.HasPrefix(path, "github.com/cosmos/cosmos-sdk") || strings.HasPrefix(path, "github.com/cometbft/")
			if chain && !regexp.MustCompile(`^(chain|network|cmd/cairn)(/|$)`).MatchString(f.pkg) {
				t.Errorf("%s: %s: chain code belongs in chain/, network/ and cmd/cairn", f.path, path)
			}
			if !test && pure.MatchString(f.pkg) && slices.Contains(impure, path) && (path != keyed || spec.Name != nil) {
				t.Errorf("%s: a pure package must not import %s", f.path, path)
			}
		}
		if !test && pure.MatchString(f.pkg) {
			purity(t, f)
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

// forms are what net/http reads a form with. Each reads the body of a request whose type is a form's, and curl
// says so of whatever it sends: parameters are read with role.Query, bodies by who wants them.
var forms = []string{
	"FormValue", "PostFormValue", "FormFile", "ParseForm", "ParseMultipartForm", "MultipartReader", "Form", "PostForm", "MultipartForm",
}

// TestNoForms: no handler reads a request as a form.
func TestNoForms(t *testing.T) {
	web := false
	for _, f := range load(t) {
		if f.generated || strings.HasSuffix(f.path, "_test.go") ||
			!slices.ContainsFunc(f.ast.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"net/http"` }) {
			continue
		}
		web = true
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(forms, s.Sel.Name) {
				t.Errorf("%s: %s reads the body of a form: use role.Query", f.path, s.Sel.Name)
			}
			return true
		})
	}
	if !web {
		t.Error("nothing was looked at")
	}
}

// TestServers: every server says how long it waits for a request's head and for the next request, and how long
// a head may be.
func TestServers(t *testing.T) {
	servers := 0
	for _, f := range load(t) {
		if f.generated || strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if s, ok := lit.Type.(*ast.SelectorExpr); !ok || s.Sel.Name != "Server" || fmt.Sprint(s.X) != "http" {
				return true
			}
			servers++
			set := map[string]bool{}
			for _, e := range lit.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					set[fmt.Sprint(kv.Key)] = true
				}
			}
			for _, name := range []string{"ReadHeaderTimeout", "IdleTimeout", "MaxHeaderBytes"} {
				if !set[name] {
					t.Errorf("%s: an http.Server without %s", f.path, name)
				}
			}
			return true
		})
	}
	if servers < 4 {
		t.Errorf("only %d servers were looked at", servers)
	}
}

// unguarded are packages that listen without a bound for each address, with the reason.
var unguarded = map[string]string{
	"bus/server":                     "tries the port only; the server's own connections are watched",
	"internal/health":                "tries ports only",
	"internal/testutil":              "tries ports only",
	"service/energy/provider/street": "a simulator of hardware on this machine",
	"internal/conns":                 "the bound itself",
}

// TestDoors: whoever listens bounds the connections from one address (package conns).
func TestDoors(t *testing.T) {
	listens, bounds := map[string]bool{}, map[string]bool{}
	for _, f := range load(t) {
		if f.generated || strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				switch fmt.Sprint(s.X) + "." + s.Sel.Name {
				case "net.Listen", "net.ListenConfig", "net.ListenTCP", "tls.Listen", "http.ListenAndServe":
					listens[f.pkg] = true
				case "conns.Limit":
					bounds[f.pkg] = true
				}
			}
			return true
		})
	}
	for pkg := range listens {
		if !bounds[pkg] && unguarded[pkg] == "" {
			t.Errorf("%s listens without conns.Limit: one address could hold all its connections", pkg)
		}
	}
	if len(bounds) < 5 {
		t.Errorf("only %d packages have conns.Limit", len(bounds))
	}
}

// TestSkips: a test whose client is missing says so through testutil, which fails it in CI.
func TestSkips(t *testing.T) {
	missing := regexp.MustCompile(`(?i)make clients|install|missing|not here`)
	seen := 0
	for _, f := range load(t) {
		if !strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "Skip" && s.Sel.Name != "Skipf" {
				return true
			}
			if why, ok := call.Args[0].(*ast.BasicLit); ok {
				seen++
				if missing.MatchString(why.Value) {
					t.Errorf("%s: Skip(%s): use testutil.Missing", f.path, why.Value)
				}
			}
			return true
		})
	}
	if seen == 0 {
		t.Error("nothing was looked at")
	}
}

// purity reports goroutines, floats, clocks and what is drawn by chance.
func purity(t *testing.T, f file) {
	random := slices.ContainsFunc(f.ast.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(keyed) })
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: a pure package starts a goroutine", f.path)
		case *ast.Ident:
			if n.Name == "float64" || n.Name == "float32" {
				t.Errorf("%s: a pure package uses %s", f.path, n.Name)
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "After", "Sleep", "NewTimer"}, n.Sel.Name) {
				t.Errorf("%s: a pure package uses time.%s", f.path, n.Sel.Name)
			} else if ok && random && x.Name == "rand" && !slices.Contains(keyedNames, n.Sel.Name) {
				t.Errorf("%s: a pure package uses rand.%s", f.path, n.Sel.Name)
			}
		}
		return true
	})
}

func load(t *testing.T) []file {
	t.Helper()
	root := "../.."
	var files []file
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (name == "tools" || name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(set, path, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		files = append(files, file{
			pkg: filepath.ToSlash(filepath.Dir(rel)), path: rel, ast: parsed,
			lines: strings.Count(string(src), "\n"), generated: ast.IsGenerated(parsed),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDeviceLinksNoChain proves that what runs on a device stays small.
func TestDeviceLinksNoChain(t *testing.T) {
	if _, err := os.Stat("../../cmd/cairn-node"); err != nil {
		t.Skip("cmd/cairn-node does not exist yet")
	}
	out, err := exec.Command("go", "list", "-deps", "../../cmd/cairn-node").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	bad := map[string]string{
		"github.com/cosmos/cosmos-sdk":   "devices carry no chain code",
		"github.com/cometbft/":           "devices carry no chain code",
		"github.com/versity/versitygw":   "the S3 front belongs to the gateway",
		"github.com/nats-io/nats-server": "devices are clients of the bus",
		"modernc.org/sqlite":             "the explorer's index belongs to the network",
	}
	others := regexp.MustCompile(`^` + module + `service/[a-z]+/(study|customer|witness)(/|$)`)
	for dep := range strings.FieldsSeq(string(out)) {
		if others.MatchString(dep) {
			t.Errorf("cmd/cairn-node links %s, which runs elsewhere", dep)
		}
		for prefix, why := range bad {
			if strings.HasPrefix(dep, prefix) {
				t.Errorf("cmd/cairn-node links %s: %s", dep, why)
			}
		}
	}
}
