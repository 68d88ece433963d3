package provider

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/testutil"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

// serverScript has busybox serve its own folder on 8080, show what it is asked on 9001, say nothing on 9002, talk
// without an end on 9003, and on 9004 change over to a protocol in which it says what it hears.
const serverScript = `
mkdir -p /tmp/www/sub && echo front >/tmp/www/index.html && echo below >"/tmp/www/sub/a b.txt"
cat >/tmp/show <<'END'
printf 'HTTP/1.0 200 OK\r\nSet-Cookie: a=b\r\nStrict-Transport-Security: max-age=99999999\r\n\r\n'
while read l; do l=$(printf %s "$l" | tr -d '\r'); test -z "$l" && exit; echo "$l"; done
END
cat >/tmp/change <<'END'
while read l; do test ${#l} -le 1 && break; done
printf 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
exec busybox cat
END
busybox httpd -p 8080 -h /tmp/www
busybox nc -ll -p 9001 -e sh /tmp/show &
busybox nc -ll -p 9002 -e sleep 1000 &
busybox nc -ll -p 9003 -e yes &
busybox nc -ll -p 9004 -e sh /tmp/change &
sleep 0.3; echo begun; sleep 120`

// serve begins the server's container with some of its ports declared, behind a gateway that listens.
func (s *shop) serve(ports ...int) (id, base string) {
	s.t.Helper()
	front := httptest.NewServer(role.Pace{}.Serve(s.door))
	s.t.Cleanup(front.Close)
	id = s.submitWith(map[string]any{"ports": ports}, 120_000, "sh", "-c", serverScript)
	for end := time.Now().Add(20 * time.Second); !strings.HasPrefix(s.logs(id), "begun\n"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("it does not begin")
		}
	}
	return id, front.URL + "/jobs/" + id + "/port/"
}

// curl returns what comes, and the status.
func curl(t testing.TB, args ...string) (body string, status int) {
	t.Helper()
	out, err := exec.Command(testutil.Program(t, "curl"), append([]string{"-sS", "-w", "\n%{http_code}"}, args...)...).CombinedOutput()
	at := bytes.LastIndexByte(out, '\n')
	if _, e := fmt.Sscan(string(out[at+1:]), &status); e != nil {
		t.Fatalf("curl %v: %s %v", args, out, err)
	}
	return string(out[:at]), status
}

// refused reports the reason of a refusal.
func refused(body string) types.Reason {
	var p role.Problem
	_ = json.Unmarshal([]byte(body), &p) // then it has no reason
	return p.Reason
}

// tcp opens a connection to a port as it is, and returns it with the status of the answer.
func tcp(t testing.TB, url string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	host := strings.TrimPrefix(url, "http://")
	host, path, _ := strings.Cut(host, "/")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", path)
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, r, res
}

// TestPorts: an unchanged server in a container is reached through the gateway with curl, by its job's declared ports
// alone; it sees neither the customer's key nor its address; what can't be reached says why.
func TestPorts(t *testing.T) {
	s := newShop(t)
	id, base := s.serve(8080, 9001, 9004, 9005)
	for path, want := range map[string]string{"8080/": "front\n", "8080/sub/a%20b.txt": "below\n"} {
		if body, status := curl(t, base+path); status != 200 || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	if body, status := curl(t, "-L", base+"8080"); status != 200 || body != "front\n" {
		t.Errorf("without a slash: %d %q", status, body)
	}
	if _, status := curl(t, base+"8080/missing"); status != 404 {
		t.Errorf("what the server does not have: %d", status)
	}
	// The server itself redirects to a folder, by a path of its own.
	own := "Location: /compute/v1/jobs/" + id + "/port/8080/sub/\r\n"
	if body, status := curl(t, "-D", "-", base+"8080/sub"); status != 302 || !strings.Contains(body, own) {
		t.Errorf("redirect: %d %s", status, body)
	}
	body, status := curl(t, "-i", "-X", "PUT", "-H", "Authorization: Bearer secret", "-H", "X-Own: yes", "-H", "Cookie: c=1",
		base+"9001/a/b?q=1&r=%20")
	for _, want := range []string{"PUT /a/b?q=1&r=%20 HTTP/1.1\n", "X-Own: yes\n", "Cookie: c=1\n"} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("%d %s", status, body)
		}
	}
	for _, bad := range []string{"secret", "127.0.0.1", "Strict-Transport"} {
		if strings.Contains(body, bad) {
			t.Errorf("%s comes through: %s", bad, body)
		}
	}
	if !strings.Contains(body, "Content-Security-Policy: sandbox") {
		t.Errorf("a page may act as the gateway's: %s", body)
	}
	c, err := net.Dial("tcp", strings.Split(base, "/")[2])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "GET /jobs/%s/port/9004/chat HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", id)
	r, got := bufio.NewReader(c), make([]byte, 5)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("websocket: %v %v", res, err)
	}
	fmt.Fprint(c, "hello")
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
		t.Errorf("websocket: %q %v", got, err)
	}
	for path, want := range map[string]types.Reason{
		"9002/": compute.PortUndeclared, "x/": compute.PortUndeclared, "9005/": compute.PortClosed,
	} {
		if body, _ := curl(t, base+path); refused(body) != want {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
	plain, _, _ := strings.Cut(base, id)
	if body, status := curl(t, plain+strings.Repeat("0", 32)+"/port/8080/"); status != 404 || refused(body) != compute.NoJob {
		t.Errorf("another job: %d %s", status, body)
	}
	var state struct{ Ports []int }
	if s.do("GET", "/jobs/"+id, nil, http.StatusOK, &state); len(state.Ports) != 4 {
		t.Errorf("%v", state)
	}
	s.do("DELETE", "/jobs/"+id, nil, http.StatusOK, nil)
	if body, status := curl(t, base+"8080/"); status != 409 || refused(body) != compute.NotRunning {
		t.Errorf("a job that has ended: %d %s", status, body)
	}
}

// TestPortsRaw: a connection as it is, with each direction ended by itself; a server that says nothing keeps nobody
// who leaves; and a job has no more connections than it may, while others are served.
func TestPortsRaw(t *testing.T) {
	s := newShop(t)
	id, base := s.serve(8080, 9002, 9003)
	c, r, res := tcp(t, base+"8080")
	if res.StatusCode != 101 {
		t.Fatalf("%d", res.StatusCode)
	}
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(r); err != nil || !bytes.HasSuffix(raw, []byte("front\n")) {
		t.Errorf("%q %v", raw, err)
	}
	// Whoever leaves a server that says nothing gives its place back.
	var all sync.WaitGroup
	for range link.MaxConns {
		all.Go(func() {
			if out, err := exec.Command("curl", "-sS", "-m", "1", base+"9002/").CombinedOutput(); err == nil || !strings.Contains(string(out), "timed out") {
				t.Errorf("%s %v", out, err)
			}
		})
	}
	all.Wait()
	var held []net.Conn
	for end := time.Now().Add(20 * time.Second); len(held) < link.MaxConns; {
		c, _, res := tcp(t, base+"9003") // it talks, and nobody listens
		if res.StatusCode == 101 {
			held = append(held, c)
			continue
		}
		if c.Close(); time.Now().After(end) {
			t.Fatalf("%d places come back, of %d", len(held), link.MaxConns)
		}
	}
	if body, status := curl(t, base+"8080/"); status != 429 || refused(body) != compute.PortBusy {
		t.Errorf("one more: %d %s", status, body)
	}
	other := s.submit(20_000) // another job of the same device and gateway
	if e := s.result(other); e.State != "done" || s.logs(other) != "hello\n" {
		t.Errorf("beside it: %+v", e)
	}
	for _, c := range held {
		_ = c.Close()
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		body, status := curl(t, base+"8080/")
		if status == 200 && body == "front\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no place comes back: %d %s", status, body)
		}
	}
	s.do("DELETE", "/jobs/"+id, nil, http.StatusOK, nil)
}

// desk is the shell of a command line at which somebody uses a gateway without a network's home.
type desk struct {
	command.Shell
	api string
}

func (d desk) Flags(c *cobra.Command, _ bool) *cobra.Command { return c }
func (d desk) Pays(c *cobra.Command) *cobra.Command          { return c }
func (d desk) Send(c *cobra.Command, r command.Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.Context(), r.Method, d.api+strings.TrimPrefix(r.Path, "/compute/v1"), r.Body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, r.Header)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode < 300 {
		return res, err
	}
	defer res.Body.Close()
	var p role.Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		return nil, err
	}
	return nil, types.Refuse(p.Reason, "%s", p.Message)
}

func (d desk) Call(c *cobra.Command, method, path string, _, out any) error {
	res, err := d.Send(c, command.Request{Method: method, Path: path})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(out)
}

func (d desk) Print(c *cobra.Command, v any, _ func(io.Writer)) error {
	return json.NewEncoder(c.OutOrStdout()).Encode(v)
}

// TestForward: `cairn job forward` brings a container's port to this machine, for a client that ends its direction
// first too, and ends when the job has.
func TestForward(t *testing.T) {
	s := newShop(t)
	id, base := s.serve(8080, 9005)
	c := customer.New(customer.Config{}).Role().Command(desk{api: base[:strings.Index(base, "/jobs/")]})
	out, in := io.Pipe()
	var said bytes.Buffer
	c.SetOut(in)
	c.SetErr(&said)
	c.SetArgs([]string{"forward", "--local", "0", id, "8080"})
	c.SilenceUsage, c.SilenceErrors = true, true
	done := make(chan error, 1)
	go func() { done <- c.ExecuteContext(t.Context()) }()
	var at struct{ Local string }
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		t.Fatal(err)
	}
	if body, status := curl(t, "http://"+at.Local+"/sub/a%20b.txt"); status != 200 || body != "below\n" {
		t.Errorf("%d %q", status, body)
	}
	local, err := net.Dial("tcp", at.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	_ = local.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(local, "GET / HTTP/1.0\r\n\r\n")
	if err := local.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(local); err != nil || !bytes.HasSuffix(raw, []byte("front\n")) {
		t.Errorf("%q %v", raw, err)
	}
	s.do("DELETE", "/jobs/"+id, nil, http.StatusOK, nil)
	_, _ = exec.Command("curl", "-m", "10", "-sS", "http://"+at.Local).CombinedOutput() // nobody is there any more
	select {
	case err := <-done:
		if types.ReasonOf(err) != compute.NotRunning {
			t.Error(err, said.String())
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on when the job has ended")
	}
}

// TestPortsAdopted: a device that was killed finds the container, and its ports are reached again.
func TestPortsAdopted(t *testing.T) {
	s := newShop(t)
	id, base := s.serve(8080)
	if body, status := curl(t, base+"8080/"); status != 200 || body != "front\n" {
		t.Fatalf("%d %q", status, body)
	}
	if err := s.w.device.Stop(); err != nil {
		t.Fatal(err)
	}
	if body, status := curl(t, base+"8080/"); status != 409 || refused(body) != compute.NotRunning {
		t.Errorf("while it is away: %d %s", status, body)
	}
	s.w.start()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		body, status := curl(t, base+"8080/")
		if status == 200 && body == "front\n" {
			break
		}
		if reason := refused(body); time.Now().After(end) || reason != compute.NotRunning && reason != compute.PortSilent {
			t.Fatalf("%d %s", status, body)
		}
	}
	var e ended
	if s.do("DELETE", "/jobs/"+id, nil, http.StatusOK, &e); e.Tries != 1 {
		t.Errorf("%+v", e)
	}
}
