package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/service/role/command"
	"github.com/spf13/cobra"
)

// TestSend: what a category's command sends and gets has no limit, is passed on as it comes, and ends with the
// command.
func TestSend(t *testing.T) {
	const size = 256<<20 + 1 // of an answer: one byte more than an earlier limit
	first := make(chan bool, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			r.Body.Read(make([]byte, 1))
			first <- true
			n, _ := io.Copy(io.Discard, r.Body)
			json.NewEncoder(w).Encode(n + 1)
			return
		}
		w.WriteHeader(http.StatusOK)
		piece := make([]byte, 1<<20)
		for left := size; left > 0; left -= len(piece) {
			if _, err := w.Write(piece[:min(left, len(piece))]); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	home := t.TempDir()
	raw, _ := json.Marshal(network.Addresses{API: s.URL})
	for name, content := range map[string][]byte{"network.json": raw, "layout.json": []byte("{}")} {
		if err := os.WriteFile(filepath.Join(home, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var sh shell
	c := sh.Flags(&cobra.Command{}, false)
	c.Flags().Set("home", home)
	ctx, cancel := context.WithCancel(t.Context())
	c.SetContext(ctx)

	res, err := sh.Send(c, command.Request{Method: "GET", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if n != size || err != nil {
		t.Errorf("%d bytes of %d came: %v", n, size, err)
	}

	out, in := io.Pipe()
	go func() {
		in.Write([]byte("a"))
		<-first // it has arrived before the rest was there
		in.Write([]byte("bc"))
		in.Close()
	}()
	res, err = sh.Send(c, command.Request{Method: "PUT", Path: "/x", Body: out})
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got != 3 {
		t.Errorf("%d bytes arrived: %v", got, err)
	}
	res.Body.Close()

	res, err = sh.Send(c, command.Request{Method: "GET", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, res.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled command goes on: %v", err)
	}
	res.Body.Close()
}
