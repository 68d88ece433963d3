package role

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestPace: only the time counts that a server waits for a client, and one connection's requests do not spoil
// each other.
func TestPace(t *testing.T) {
	p := Pace{Idle: 200 * time.Millisecond}
	server := httptest.NewServer(p.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow server":
			raw, err := io.ReadAll(r.Body)
			time.Sleep(2 * p.Idle)
			fmt.Fprintf(w, "%d %v ", len(raw), err)
			time.Sleep(2 * p.Idle)
			if r.Context().Err() != nil {
				t.Error("the request was given up")
			}
			fmt.Fprint(w, "done")
			time.Sleep(2 * p.Idle)
		case "/whatever":
			http.Error(w, "no", http.StatusForbidden)
		}
	})))
	defer server.Close()
	for range 2 {
		res, err := http.Post(server.URL+"/slow%20server", "", strings.NewReader("12345"))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(raw) != "5 <nil> done" {
			t.Fatalf("%q, %v", raw, err)
		}
		time.Sleep(2 * p.Idle) // the connection is kept
	}
	// A body that nobody wants is not waited for either.
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /whatever HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n12345")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusForbidden {
		t.Fatalf("%v, %v", res, err)
	}
	io.Copy(io.Discard, res.Body)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the connection stays: %v", err)
	}
}
