package provider

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer"
)

// TestModel: a chat as a whole and as a stream, a text, embeddings: what the server says comes to the customer,
// each token is paid for once, several requests are one job, and the tally has it.
func TestModel(t *testing.T) {
	u := newUpstream(t, "tiny")
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	status, raw, h := w.all("/chat/completions", chat("hello big world", `,"user":"me","temperature":0.5`))
	if status != 200 || !strings.Contains(raw, `"content":"HELLO BIG WORLD "`) || !strings.Contains(raw, `"prompt_tokens":3`) || h.Get("X-Cairn-Device") != w.devices[0].Key().String() {
		t.Fatalf("%d %s %v", status, raw, h)
	}
	if b := u.newest(); b["user"] != nil || b["temperature"] != 0.5 || b["stream_options"] != nil {
		t.Errorf("the server got %v", b)
	}
	want := uint64(3 + 4*3)
	status, raw, h = w.all("/chat/completions", chat("9 words", `,"stream":true`))
	if status != 200 || h.Get("Content-Type") != "text/event-stream" || !strings.HasSuffix(raw, "data: [DONE]\n\n") || strings.Contains(raw, "usage") ||
		text(raw) != "w0 w1 w2 w3 w4 w5 w6 w7 w8 " {
		t.Errorf("%d %s", status, raw)
	}
	want += 2 + 4*9
	if _, raw, _ = w.all("/chat/completions", chat("9 words", `,"stream":true,"stream_options":{"include_usage":true}`)); strings.Count(raw, `"completion_tokens":9`) != 1 {
		t.Error(raw)
	}
	want += 2 + 4*9
	if status, raw, _ = w.all("/completions", `{"model":"tiny","prompt":"one two"}`); status != 200 || !strings.Contains(raw, `"text":"ONE TWO "`) {
		t.Errorf("%d %s", status, raw)
	}
	want += 2 + 4*2
	if status, raw, _ = w.all("/embeddings", `{"model":"tiny","input":["one two","three"]}`); status != 200 || !strings.Contains(raw, `[7,0.5,-1.25]`) {
		t.Errorf("%d %s", status, raw)
	}
	want += 3
	w.paid(0, want)
	if n := w.orders(0); n != 1 {
		t.Errorf("%d orders for five requests, one after the other", n)
	}
	for range 4 {
		w.Next()
	}
	for _, r := range w.Refused() {
		if r.Reason != types.Superseded {
			t.Errorf("epoch %d: item of type %d refused with %s", r.Epoch, r.Type, r.Reason)
		}
	}
	if line := w.State().Line(w.devices[0].Key()); line == nil || line.Paid() != types.Credit(want) {
		t.Errorf("the tally has %+v, want %d", line, want)
	}
}

// TestModelEncodings: a server that knows one encoding of embeddings serves both.
func TestModelEncodings(t *testing.T) {
	u := newUpstream(t, "tiny")
	u.floats = true
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	const packed = `"embedding":"AAAgQQAAAD8AAKC/"`
	if _, raw, _ := w.all("/embeddings", `{"model":"tiny","input":"ten bytes!","encoding_format":"base64"}`); !strings.Contains(raw, packed) {
		t.Error(raw)
	}
	if _, raw, _ := w.all("/embeddings", `{"model":"tiny","input":"ten bytes!","encoding_format":"float"}`); !strings.Contains(raw, `[10,0.5,-1.25]`) {
		t.Error(raw)
	}
}

// TestModelRefusals: what is wrong with a request is said in OpenAI's shape, before any device is asked, or by
// the server.
func TestModelRefusals(t *testing.T) {
	u := newUpstream(t, "tiny")
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	for _, c := range []struct {
		path, body string
		status     int
		code       string
	}{
		{"/chat/completions", `{"model":"other","messages":[]}`, 404, "model_not_found"},
		{"/chat/completions", `{"model":"tiny"}`, 400, "invalid_value"},
		{"/chat/completions", `{"messages":[]}`, 400, "invalid_value"},
		{"/chat/completions", `[1]`, 400, "invalid_json"},
		{"/chat/completions", `{"model":"tiny","messages":[],"n":17}`, 400, "invalid_value"},
		{"/chat/completions", `{"model":"tiny","messages":[],"chat_template":"{{x}}"}`, 400, "unknown_parameter"},
		{"/chat/completions", `{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://10.0.0.1/"}}]}]}`, 400, "invalid_value"},
		{"/embeddings", `{"model":"tiny","input":"x","encoding_format":"hex"}`, 400, "invalid_value"},
		{"/chat/completions", chat(strings.Repeat("x", 8<<20)), 413, "request_too_large"},
	} {
		if e, _ := w.refusal(c.path, c.body, c.status); e.Code != c.code {
			t.Errorf("%s %.100s: %+v, want %s", c.path, c.body, e, c.code)
		}
	}
	if e, _ := w.refusal("/chat/completions", chat("x"), 415, "Content-Type", "text/plain"); e.Code == "" {
		t.Errorf("%+v", e)
	}
	var m struct{ ID string }
	if status := w.get("/models/tiny", &m); status != 200 || m.ID != "tiny" {
		t.Errorf("%d %+v", status, m)
	}
	var e customer.Refusal
	if status := w.get("/models/other", &e); status != 404 || e.Error.Code != "model_not_found" || e.Error.PassedBy["model"] != 1 {
		t.Errorf("%d %+v", status, e)
	}
	if u.newest() != nil {
		t.Error("the server was asked")
	}
	refuse := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "GET" {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		w.Write([]byte(`{"error":{"message":"the context is full","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`))
		return true
	}
	u.set(func() { u.refuses = refuse })
	if e, _ := w.refusal("/chat/completions", chat("x"), 400); e.Code != "context_length_exceeded" || e.Message != "the context is full" {
		t.Errorf("%+v", e)
	}
	w.paid(0, 0)
}

// TestModelBusy: where all are busy, too dear or not there, the answer says how many for which reason; and who
// rests makes room.
func TestModelBusy(t *testing.T) {
	u := newUpstream(t, "tiny")
	gate := make(chan struct{})
	u.before = func(ctx context.Context, _ int) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w := newModelWorld(t, 1<<40, func(_ int, c *Config) { c.Slots = 1 }, serverOf(u))
	w.sees(1, 1)
	done := make(chan string)
	go func() {
		_, raw, _ := w.all("/chat/completions", chat("one"))
		done <- raw
	}()
	for end := time.Now().Add(10 * time.Second); u.running.Load() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	e, h := w.refusal("/chat/completions", chat("two"), 429)
	if h.Get("Retry-After") == "" || e.Code != "rate_limit_exceeded" || e.PassedBy["capacity"]+e.PassedBy["device_compute.busy"] != 1 {
		t.Errorf("%+v %v", e, h)
	}
	close(gate)
	if raw := <-done; !strings.Contains(raw, "ONE") {
		t.Error(raw)
	}
	e, h = w.refusal("/chat/completions", chat("two"), 402, "X-Cairn-Price", "1")
	if e.PassedBy["price"] != 1 || h.Get("Retry-After") != "" {
		t.Errorf("%+v %v", e, h)
	}
	e, _ = w.refusal("/chat/completions", `{"model":"large","messages":[]}`, 404)
	if e.PassedBy["model"] != 1 {
		t.Errorf("%+v", e)
	}
}

// TestModelRests: a job that nobody asks anything is counted as free, and makes room for whoever comes.
func TestModelRests(t *testing.T) {
	u := newUpstream(t, "tiny", "small")
	w := newModelWorld(t, 1<<40, func(_ int, c *Config) { c.Slots, c.rest = 1, 20*time.Millisecond }, serverOf(u, Served{"small", "small", 1, 4}, Served{"tiny", "tiny", 1, 4}))
	w.sees(2, 2)
	if status, raw, _ := w.all("/chat/completions", chat("x")); status != 200 {
		t.Fatalf("%d %s", status, raw)
	}
	d := w.p[0].device.Load()
	count := func() (slots, resting uint32) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.slots, d.resting
	}
	if slots, resting := count(); slots != 1 || resting != 0 {
		t.Errorf("%d slots are taken, %d rest", slots, resting)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, resting := count(); resting == 1 {
			break
		}
	}
	w.sees(2, 2)
	if status, raw, _ := w.all("/completions", `{"model":"small","prompt":"y"}`); status != 200 || !strings.Contains(raw, `"Y "`) {
		t.Errorf("%d %s", status, raw)
	}
	if slots, resting := count(); slots != 1 || resting != 0 {
		t.Errorf("%d slots are taken, %d rest", slots, resting)
	}
	// The gateway has heard that the first one has ended, and asks for another.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, resting := count(); resting == 1 {
			break
		}
	}
	w.sees(2, 2)
	if status, raw, _ := w.all("/chat/completions", chat("x")); status != 200 {
		t.Errorf("%d %s", status, raw)
	}
	w.paid(0, 5*3)
}

// TestModelBudget: who has no credits is told so before any device is.
func TestModelBudget(t *testing.T) {
	u := newUpstream(t, "tiny")
	w := newModelWorld(t, 0, nil, serverOf(u))
	w.sees(1, 4)
	if e, h := w.refusal("/chat/completions", chat("x"), 429); e.Code != "insufficient_quota" || h.Get("Retry-After") == "" {
		t.Errorf("%+v %v", e, h)
	}
}

// TestModelLeaves: a customer who goes away in the middle of a stream has the server stopped, and pays for what came.
func TestModelLeaves(t *testing.T) {
	u := newUpstream(t, "tiny")
	sent := make(chan struct{}, 1000)
	u.before = func(ctx context.Context, word int) error {
		if word < 5 {
			return nil
		}
		sent <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	res := w.post("/chat/completions", chat("900 words", `,"stream":true`))
	lines := bufio.NewScanner(res.Body)
	for n := 0; n < 5 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data:") {
			n++
		}
	}
	<-sent
	res.Body.Close()
	for end := time.Now().Add(10 * time.Second); u.running.Load() > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	u.mu.Lock()
	if u.cut != 1 {
		t.Errorf("%d answers were cut", u.cut)
	}
	u.mu.Unlock()
	u.set(func() { u.before = nil })
	w.paid(0, 4*5+(4+9+3)/4) // five words; the prompt, of which the server said nothing, by its bytes: role and content
	if status, raw, _ := w.all("/chat/completions", chat("2 words")); status != 200 {
		t.Errorf("%d %s", status, raw)
	}
	if n := w.orders(0); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// TestModelSilent: a server that says no usage is counted as SPEC says: four bytes of a prompt, and an event of
// a stream, are a token.
func TestModelSilent(t *testing.T) {
	u := newUpstream(t, "tiny")
	u.silent = true
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	w.all("/chat/completions", chat("7 words", `,"stream":true`))
	want := uint64((4+7+3)/4 + 4*7)
	w.paid(0, want)
	w.all("/chat/completions", chat("7 words"))
	w.paid(0, want+(4+7+3)/4+4*((7*3+3)/4))
}

// TestModelDown: a server that goes away takes its offer along, the status says so, and it is back when the
// server is.
func TestModelDown(t *testing.T) {
	u := newUpstream(t, "tiny", "small")
	w := newModelWorld(t, 1<<40, nil, serverOf(u, Served{"small", "small", 1, 4}, Served{"tiny", "tiny", 1, 4}))
	w.sees(2, 8)
	refuse := func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(401)
		return true
	}
	u.set(func() { u.refuses = refuse })
	e, _ := w.refusal("/chat/completions", chat("x"), 502)
	if e.Reason != compute.ModelFailed || strings.Contains(e.Message, u.URL) {
		t.Errorf("%+v", e)
	}
	w.sees(2, 0)
	e, h := w.refusal("/chat/completions", chat("x"), 429)
	if e.PassedBy["capacity"] != 1 || h.Get("Retry-After") == "" {
		t.Errorf("%+v", e)
	}
	if r := w.p[0].Remarks(); len(r) != 1 || r[0].Reason != compute.ModelDown || !strings.Contains(r[0].Text, "401") {
		t.Errorf("%+v", r)
	}
	if s := w.p[0].Serves(); len(s) != 0 {
		t.Errorf("it serves %q", s)
	}
	u.set(func() { u.refuses = nil })
	u.set(func() { u.names = []string{"tiny"} })
	w.sees(1, 4)
	if s := w.p[0].Serves(); len(s) != 1 || s[0] != "model/tiny for 1000000 micro-credits a million tokens of a prompt, 4000000 of an answer" {
		t.Errorf("it serves %q", s)
	}
	if r := w.p[0].Remarks(); len(r) != 1 || !strings.Contains(r[0].Text, "has no small") {
		t.Errorf("%+v", r)
	}
	if status, raw, _ := w.all("/chat/completions", chat("x")); status != 200 {
		t.Errorf("%d %s", status, raw)
	}
}

// TestModelLost: a device that dies before it has begun to answer is not noticed; one that dies in the middle
// of a stream ends that with an error, and the next request goes to the other one.
func TestModelLost(t *testing.T) {
	a, b := newUpstream(t, "tiny"), newUpstream(t, "tiny")
	sent := make(chan int, 10)
	hold := func(i int) func(context.Context, int) error {
		return func(ctx context.Context, word int) error {
			if word == 3 {
				sent <- i
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	}
	a.before, b.before = hold(0), hold(1)
	w := newModelWorld(t, 1<<40, nil, serverOf(a), serverOf(b))
	w.sees(1, 8)
	res := w.post("/chat/completions", chat("6 words", `,"stream":true`))
	lines := bufio.NewReader(res.Body)
	raw := ""
	for strings.Count(raw, "data:") < 3 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		raw += line
	}
	first := <-sent
	a.set(func() { a.before = nil })
	b.set(func() { b.before = nil })
	if err := w.devices[first].Stop(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	raw += string(rest)
	if text(raw) != "w0 w1 w2 " || strings.Contains(raw, "[DONE]") || !strings.Contains(raw, `"code":"compute.device_lost"`) {
		t.Errorf("%s", raw)
	}
	status, raw, h := w.all("/chat/completions", chat("6 words", `,"stream":true`))
	if status != 200 || text(raw) != "w0 w1 w2 w3 w4 w5 " || h.Get("X-Cairn-Device") != w.devices[1-first].Key().String() {
		t.Errorf("%d %s %v", status, raw, h)
	}
}

// TestModelStalls: a customer who does not take its answer loses the connection, and the server is stopped.
func TestModelStalls(t *testing.T) {
	u := newUpstream(t, "tiny")
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	u.pad = strings.Repeat("x", 256<<10)
	res := w.post("/chat/completions", chat("200 words", `,"stream":true`))
	if _, err := res.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(60 * time.Second); u.running.Load() > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cut != 1 {
		t.Error("the server goes on for nobody")
	}
}

// TestModelBreaks: a server that breaks off an answer as a whole has the customer told so, and nothing paid;
// the device is not taken for a cheat.
func TestModelBreaks(t *testing.T) {
	u := newUpstream(t, "tiny")
	u.before = func(context.Context, int) error { panic(http.ErrAbortHandler) }
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	if e, _ := w.refusal("/chat/completions", chat("hello"), 503); e.Reason != compute.ModelDown {
		t.Errorf("%+v", e)
	}
	u.set(func() { u.before = nil })
	w.sees(1, 4)
	if status, raw, _ := w.all("/chat/completions", chat("hello")); status != 200 {
		t.Errorf("%d %s", status, raw)
	}
	w.paid(0, 1+4)
}

// TestModelRedirect: a server that sends a prompt to another host is not followed, and the owner is told.
func TestModelRedirect(t *testing.T) {
	other := newUpstream(t, "tiny")
	u := newUpstream(t, "tiny")
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	refuse := func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	u.set(func() { u.refuses = refuse })
	w.refusal("/chat/completions", chat("secret"), 503)
	if other.newest() != nil {
		t.Error("the prompt went to another host")
	}
	w.sees(1, 0)
	if r := w.p[0].Remarks(); len(r) != 1 || !strings.Contains(r[0].Text, "it redirects to") {
		t.Errorf("%+v", r)
	}
}

// TestModelKey: the server's key comes from a file or the environment, goes to the server, and nowhere else.
func TestModelKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("sk-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(KeyVariable, "sk-env")
	for _, c := range []struct{ file, want string }{{path, "sk-file"}, {"", "sk-env"}} {
		s := Settings{ModelURL: "http://127.0.0.1:1/v1", Models: []string{"b=x", "a"}, ModelKey: c.file}
		m, err := s.server()
		if err != nil || m.Key != c.want || len(m.Models) != 2 || m.Models[0] != (Served{"a", "a", 1, 4}) || m.Models[1] != (Served{"b", "x", 1, 4}) {
			t.Errorf("%+v, %v", m, err)
		}
	}
	for _, s := range []Settings{
		{ModelURL: "ftp://x/v1", Models: []string{"a"}}, {ModelURL: "http://u:p@x/v1", Models: []string{"a"}}, {ModelURL: "http://x/v1"}, {Models: []string{"a"}},
		{ModelURL: "http://x/v1", Models: []string{"a", "a=b"}}, {ModelURL: "http://x/v1", Models: []string{"a b"}}, {ModelURL: "http://x/v1", Models: []string{"a"}, ModelKey: "/nowhere"},
		{ModelURL: "http://x/v1", Models: []string{"a"}, Prompt: 10_001},
	} {
		if _, err := s.server(); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	u := newUpstream(t, "tiny")
	s := serverOf(u)
	s.Key = "sk-file"
	w := newModelWorld(t, 1<<40, nil, s)
	w.sees(1, 4)
	if status, raw, _ := w.all("/chat/completions", chat("x"), "Authorization", "Bearer cairn_customer"); status != 200 || u.keys[0] != "Bearer sk-file" {
		t.Errorf("%d %s; the server got %q", status, raw, u.keys)
	}
}

// TestModelRestart: a gateway that was stopped lets go of the jobs that it had open, pays what they had used,
// and the next request is answered; so is one after the device was stopped.
func TestModelRestart(t *testing.T) {
	u := newUpstream(t, "tiny")
	w := newModelWorld(t, 1<<40, func(_ int, c *Config) { c.Slots = 1 }, serverOf(u))
	w.sees(1, 1)
	w.all("/chat/completions", chat("200 words"))
	w.paid(0, 2+4*200)
	free := func() {
		t.Helper()
		d := w.p[0].device.Load()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			d.mu.Lock()
			slots, open := d.slots, d.open
			d.mu.Unlock()
			if slots == 0 && open == 0 {
				return
			}
		}
		t.Fatal("the job does not end")
	}
	w.stop()
	w.open()
	free()
	w.sees(1, 1)
	if status, raw, _ := w.all("/chat/completions", chat("200 words")); status != 200 {
		t.Fatalf("%d %s", status, raw)
	}
	w.paid(0, 2*(2+4*200))
	if err := w.devices[0].Stop(); err != nil {
		t.Fatal(err)
	}
	w.devices[0].Start(w.p[0])
	w.Tell()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		w.Tell()
		if status, raw, _ := w.all("/chat/completions", chat("200 words")); status == 200 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d %s", status, raw)
		}
	}
	w.paid(0, 3*(2+4*200))
	for range 4 {
		w.Next()
	}
	if line := w.State().Line(w.devices[0].Key()); line == nil || line.Paid() != types.Credit(3*(2+4*200)) {
		t.Errorf("the tally has %+v", line)
	}
}
