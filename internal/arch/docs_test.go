package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// link is an inline link of Markdown, or an image.
var link = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// TestLinks: what the documents point at is there, and so is the heading, if they name one.
func TestLinks(t *testing.T) {
	const root = "../.."
	pages := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			raw, err := os.ReadFile(path)
			pages[path] = string(raw)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 10 {
		t.Fatalf("only %d documents", len(pages))
	}
	for page, text := range pages {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, heading, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), filepath.FromSlash(file))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s: there is no such file", page, m[1])
				continue
			}
			if heading != "" && !headings(pages[target])[heading] {
				t.Errorf("%s: link to %s: there is no such heading", page, m[1])
			}
		}
	}
}

// headings returns the names under which a page's headings can be linked to: lower case, with hyphens for
// spaces, without punctuation.
func headings(text string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		out[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))] = true
	}
	return out
}

// TestCommands: a `go test` that a document tells to run names a test that exists.
func TestCommands(t *testing.T) {
	command := regexp.MustCompile(`go test (\./[\w/]+) -(?:run|fuzz) (\w+)`)
	docs, err := filepath.Glob("../../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(docs, "../../README.md", "../../CONTRIBUTING.md") {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range command.FindAllStringSubmatch(string(raw), -1) {
			if !declares(t, filepath.Join("../..", m[1]), m[2]) {
				t.Errorf("%s: %s: no test of %s begins so", page, m[0], m[1])
			}
		}
	}
}

// declares reports whether a folder's tests declare a function whose name begins with prefix.
func declares(t *testing.T, dir, prefix string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "\nfunc "+prefix) {
			return true
		}
	}
	return false
}
