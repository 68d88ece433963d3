package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Progress shows how far a transfer is: a line that moves on a terminal, nothing in a pipe.
type Progress struct {
	w     io.Writer
	what  string
	total int64
	seen  int64
	shown time.Time
	on    bool
}

// NewProgress returns a line on a command's standard error that says what is done to how much of total, 0 where that
// is not known.
func NewProgress(c *cobra.Command, what string, total int64) *Progress {
	f, ok := c.ErrOrStderr().(*os.File)
	return &Progress{w: c.ErrOrStderr(), what: what, total: total, on: ok && term.IsTerminal(int(f.Fd()))}
}

// Reader counts what is read of r.
func (p *Progress) Reader(r io.Reader) io.Reader { return io.TeeReader(r, p) }

// Write counts what passes.
func (p *Progress) Write(b []byte) (int, error) {
	p.seen += int64(len(b))
	if p.on && time.Since(p.shown) > 100*time.Millisecond {
		p.shown = time.Now()
		if p.total > 0 {
			fmt.Fprintf(p.w, "\r\x1b[K%s %3d %% of %s", p.what, p.seen*100/p.total, Bytes(uint64(p.total)))
		} else {
			fmt.Fprintf(p.w, "\r\x1b[K%s %s", p.what, Bytes(uint64(p.seen)))
		}
	}
	return len(b), nil
}

// Done takes the line away.
func (p *Progress) Done() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// Fetch copies what is at path to w and returns how many bytes came. An answer that ends early is asked for again
// from there, as long as each brings more: a gateway ends one when it can't go on, and tells why to whoever asks for
// the rest.
func Fetch(shell Shell, c *cobra.Command, path string, w io.Writer, show *Progress) (n int64, err error) {
	defer show.Done()
	r := Request{Method: "GET", Path: path}
	for {
		res, err := shell.Send(c, r)
		if err != nil {
			return n, err
		}
		if n > 0 && res.StatusCode != http.StatusPartialContent {
			res.Body.Close()
			return n, fmt.Errorf("asked for the rest, got %s", res.Status)
		}
		show.total = n + res.ContentLength
		more, err := io.Copy(w, show.Reader(res.Body))
		res.Body.Close()
		n += more
		if err == nil || more == 0 || c.Context().Err() != nil {
			return n, err
		}
		r.Header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", n)}}
	}
}

// Target is where a file is written: beside its place, into which it comes once it is whole.
type Target struct {
	io.Writer
	commit func() error
	drop   func()
}

// Commit puts what was written in its place.
func (t *Target) Commit() error { return t.commit() }

// Drop leaves nothing, unless Commit was called before.
func (t *Target) Drop() { t.drop() }

// OpenTarget opens what is to come to path ("-" is standard output). A file that is there already is replaced if
// force says so, or whoever sits at the terminal; it keeps its permissions.
func OpenTarget(shell Shell, c *cobra.Command, path string, force bool) (*Target, error) {
	nothing := func() {}
	if path == "-" {
		return &Target{c.OutOrStdout(), func() error { return nil }, nothing}, nil
	}
	taken := func() error {
		return shell.Advise(fmt.Errorf("%s is there already", path), "name another file, or replace it: --force")
	}
	mode, there := fs.FileMode(0o644), false
	switch info, err := os.Stat(path); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, shell.Advise(err, "choose a file that can be written")
	case err != nil:
	case info.IsDir():
		return nil, shell.Advise(fmt.Errorf("%s is a folder", path), "name a file in it: "+filepath.Join(path, "FILE"))
	case !info.Mode().IsRegular(): // a pipe, or a device such as /dev/null: it stays what it is
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, shell.Advise(err, "choose a file that can be written")
		}
		return &Target{f, f.Close, func() { f.Close() }}, nil
	default:
		if !force && !confirmed(c, path+" is there already. Replace it? [y/N] ") {
			return nil, taken()
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real // what a link points at is replaced, not the link
		}
		mode, there = info.Mode().Perm(), true
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, shell.Advise(err, "choose a folder that can be written")
	}
	commit := func() error {
		if _, err := os.Lstat(path); err == nil && !there { // it came meanwhile
			return taken()
		}
		return errors.Join(f.Chmod(mode), f.Close(), os.Rename(f.Name(), path))
	}
	return &Target{f, commit, func() { f.Close(); os.Remove(f.Name()) }}, nil
}

// confirmed asks whoever sits at the terminal; nobody there means no.
func confirmed(c *cobra.Command, question string) bool {
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false
	}
	fmt.Fprint(c.ErrOrStderr(), question)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
