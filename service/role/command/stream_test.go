package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/service/role/command"
)

// door is a Shell whose gateway is a test's server.
type door struct {
	command.Shell
	url string
}

func (d door) Send(c *cobra.Command, r command.Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.Context(), r.Method, d.url+r.Path, r.Body)
	if err != nil {
		return nil, err
	}
	req.Header = r.Header
	return http.DefaultClient.Do(req)
}

func (door) Advise(err error, _ string) error { return err }

func run(t *testing.T, ctx context.Context) *cobra.Command {
	c := &cobra.Command{}
	c.SetContext(ctx)
	c.SetErr(io.Discard)
	return c
}

// TestFetch: an answer that ends early is asked for again from where it ended, as long as each brings more; one that
// brings nothing, or begins anew, is an error, and so is a command that was cancelled.
func TestFetch(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	asked, most, whole := 0, 4000, false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		from := 0
		if whole && asked > 1 {
			w.Write(content)
			return
		}
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		}
		w.Write(content[from:min(len(content), from+most)])
		if from+most < len(content) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler) // it cannot go on
		}
	}))
	defer s.Close()
	fetch := func(ctx context.Context) ([]byte, int64, error) {
		asked = 0
		var got bytes.Buffer
		c := run(t, ctx)
		n, err := command.Fetch(door{url: s.URL}, c, "/x", &got, command.NewProgress(c, "x", 0))
		return got.Bytes(), n, err
	}
	if got, n, err := fetch(t.Context()); err != nil || n != int64(len(content)) || !bytes.Equal(got, content) || asked != 3 {
		t.Errorf("%d of %d bytes in %d answers: %v", n, len(content), asked, err)
	}
	if whole = true; true {
		if _, n, err := fetch(t.Context()); err == nil || n != 4000 {
			t.Errorf("an answer that begins anew is taken for the rest: %d bytes, %v", n, err)
		}
	}
	whole, most = false, 0
	if _, n, err := fetch(t.Context()); err == nil || n != 0 || asked != 1 {
		t.Errorf("nothing comes, and it was asked for %d times: %d bytes, %v", asked, n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled command: %v", err)
	}
}

// TestTarget: a file comes into its place by the whole or not at all, and what is there is replaced only if that was
// said.
func TestTarget(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	write := func(force, commit bool) error {
		to, err := command.OpenTarget(door{}, run(t, t.Context()), path, force)
		if err != nil {
			return err
		}
		defer to.Drop()
		io.WriteString(to, "new")
		if commit {
			return to.Commit()
		}
		return nil
	}
	if err := write(false, false); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("what was dropped leaves %v", left)
	}
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(false, true); err == nil {
		t.Error("a file was replaced unasked")
	}
	if err := write(true, true); err != nil {
		t.Error(err)
	}
	raw, _ := os.ReadFile(path)
	if info, err := os.Stat(path); err != nil || string(raw) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, %v, %v", raw, info, err)
	}
}
