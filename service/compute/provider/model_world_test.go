package provider

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/roletest"
)

// upstream is a server with OpenAI's API. A token is a word; it answers a chat with "w0 w1 … " of as many words
// as the last message says, and else with what that says in capitals. It sends each word as it comes to it.
type upstream struct {
	*httptest.Server
	names   []string
	before  func(ctx context.Context, word int) error // of each word; nil: nothing
	silent  bool                                      // says no usage
	floats  bool                                      // knows no base64
	refuses func(w http.ResponseWriter, r *http.Request) bool
	pad     string                 // behind each word
	tell    func(u map[string]any) // changes a usage before it is said

	mu      sync.Mutex
	bodies  []map[string]any
	keys    []string
	cut     int          // answers that nobody waited for to the end
	running atomic.Int32 // answers that are being made
}

func newUpstream(t testing.TB, names ...string) *upstream {
	u := &upstream{names: names}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		_, refuses, names := u.hooks()
		if refuses != nil && refuses(w, r) {
			return
		}
		list := map[string]any{"object": "list", "data": []any{}}
		for _, n := range names {
			list["data"] = append(list["data"].([]any), map[string]any{"id": n, "object": "model"})
		}
		json.NewEncoder(w).Encode(list)
	})
	mux.HandleFunc("POST /v1/chat/completions", u.answer)
	mux.HandleFunc("POST /v1/completions", u.answer)
	mux.HandleFunc("POST /v1/embeddings", u.embed)
	u.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

// set changes what the server does while it runs.
func (u *upstream) set(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
}

func (u *upstream) hooks() (func(context.Context, int) error, func(http.ResponseWriter, *http.Request) bool, []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.before, u.refuses, u.names
}

// read notes a request.
func (u *upstream) read(w http.ResponseWriter, r *http.Request) map[string]any {
	if _, refuses, _ := u.hooks(); refuses != nil && refuses(w, r) {
		return nil
	}
	raw, err := io.ReadAll(r.Body)
	var body map[string]any
	if err != nil || json.Unmarshal(raw, &body) != nil {
		http.Error(w, `{"error":{"message":"no JSON"}}`, http.StatusBadRequest)
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bodies = append(u.bodies, body)
	u.keys = append(u.keys, r.Header.Get("Authorization"))
	return body
}

func (u *upstream) newest() map[string]any {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.bodies) == 0 {
		return nil
	}
	return u.bodies[len(u.bodies)-1]
}

func (u *upstream) answer(w http.ResponseWriter, r *http.Request) {
	body := u.read(w, r)
	if body == nil {
		return
	}
	u.running.Add(1)
	defer u.running.Add(-1)
	last, prompt := "", 0
	if p, ok := body["prompt"].(string); ok {
		last, prompt = p, len(strings.Fields(p))
	}
	messages, _ := body["messages"].([]any)
	for _, m := range messages {
		last, _ = m.(map[string]any)["content"].(string)
		prompt += len(strings.Fields(last))
	}
	var words []string
	var n int
	if _, err := fmt.Sscanf(last, "%d words", &n); err == nil {
		for i := range n {
			words = append(words, fmt.Sprintf("w%d ", i)+u.pad)
		}
	} else {
		for _, s := range strings.Fields(strings.ToUpper(last)) {
			words = append(words, s+" ")
		}
	}
	usage := map[string]any{"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}
	if u.tell != nil {
		u.tell(usage)
	}
	chat := messages != nil
	piece := func(text string, finish any, whole bool) map[string]any {
		c := map[string]any{"index": 0, "finish_reason": finish}
		switch {
		case !chat:
			c["text"] = text
		case whole:
			c["message"] = map[string]any{"role": "assistant", "content": text}
		default:
			c["delta"] = map[string]any{"role": "assistant", "content": text}
		}
		return map[string]any{"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": []any{c}}
	}
	if body["stream"] != true {
		for i := range words {
			if before, _, _ := u.hooks(); before != nil && before(r.Context(), i) != nil {
				u.cuts()
				return
			}
		}
		out := piece(strings.Join(words, ""), "stop", true)
		out["object"] = "chat.completion"
		if !u.silent {
			out["usage"] = usage
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(out)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(v any) bool {
		raw, _ := json.Marshal(v)
		_, err := fmt.Fprintf(w, "data: %s\n\n", raw)
		return err == nil && http.NewResponseController(w).Flush() == nil
	}
	fmt.Fprint(w, ": a comment\r\n\r\n")
	for i, s := range words {
		if before, _, _ := u.hooks(); before != nil && before(r.Context(), i) != nil || !send(piece(s, nil, false)) || r.Context().Err() != nil {
			u.cuts()
			return
		}
	}
	send(piece("", "stop", false))
	if o, _ := body["stream_options"].(map[string]any); o["include_usage"] == true && !u.silent {
		send(map[string]any{"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": []any{}, "usage": usage})
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func (u *upstream) cuts() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cut++
}

func (u *upstream) embed(w http.ResponseWriter, r *http.Request) {
	body := u.read(w, r)
	if body == nil {
		return
	}
	inputs, _ := body["input"].([]any)
	if s, ok := body["input"].(string); ok {
		inputs = []any{s}
	}
	tokens, data := 0, []any{}
	for i, in := range inputs {
		text, _ := in.(string)
		tokens += len(strings.Fields(text))
		v := []float32{float32(len(text)), 0.5, -1.25}
		var e any = v
		if body["encoding_format"] == "base64" && !u.floats {
			var raw []byte
			for _, f := range v {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
			}
			e = base64.StdEncoding.EncodeToString(raw)
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": e})
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(map[string]any{"object": "list", "model": body["model"], "data": data, "usage": map[string]any{"prompt_tokens": tokens, "total_tokens": tokens}})
}

// modelWorld is devices that sell a server's models, and the gateway's door before them.
type modelWorld struct {
	*roletest.World
	t       testing.TB
	market  *roletest.Market
	door    *httptest.Server
	devices []*roletest.Device
	p       []*Provider
	stop    func()
}

// modelPrice of a world's devices: a micro-credit for each weighted token, so that few of them cost something.
const modelPrice = 1_000_000

func serverOf(u *upstream, models ...Served) *ModelServer {
	if len(models) == 0 {
		models = []Served{{ID: "tiny", Name: "tiny", Prompt: 1, Completion: 4}}
	}
	return &ModelServer{URL: u.URL + "/v1", Models: models, Look: 20 * time.Millisecond}
}

func newModelWorld(t testing.TB, credits types.Credit, change func(i int, c *Config), servers ...*ModelServer) *modelWorld {
	t.Helper()
	w := &modelWorld{World: roletest.New(t, compute.New()), t: t}
	w.MinOpening = 100
	w.market = w.Market("buyer", credits)
	for i, s := range servers {
		cfg := Config{
			Slots: 4, Prices: map[types.Class]uint64{compute.Model: modelPrice}, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Models: s, Unopened: 1 << 40,
			Open: func(string) ([]Executor, []Lack, error) { return nil, nil, nil },
		}
		if change != nil {
			change(i, &cfg)
		}
		p, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d := w.Device(fmt.Sprintf("device %d", i))
		w.devices, w.p = append(w.devices, d), append(w.p, p)
		d.Requests = p.Role().Requests
		d.Start(p)
		d.Payer(t.Context(), w.market.Payer())
	}
	w.Tell()
	w.open()
	return w
}

// open starts the gateway, anew after stop.
func (w *modelWorld) open() {
	t := w.t
	t.Helper()
	c := customer.New(customer.Config{})
	h, err := c.Mount(w.market)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Listen(role.Place{IP: "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	w.door = httptest.NewServer(role.Pace{Idle: time.Second}.Serve(h))
	w.stop = sync.OnceFunc(func() {
		w.door.CloseClientConnections()
		w.door.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
}

// sees waits until so many models are listed, with so many requests that could be taken.
func (w *modelWorld) sees(models int, free uint32) {
	w.t.Helper()
	var list customer.Models
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		w.Tell()
		w.get("/models", &list)
		n := uint32(0)
		for _, m := range list.Data {
			n += m.Free
		}
		if len(list.Data) == models && n == free {
			return
		}
	}
	w.t.Fatalf("the gateway lists %+v, want %d models and %d free", list.Data, models, free)
}

func (w *modelWorld) get(path string, out any) int {
	w.t.Helper()
	res, err := http.Get(w.door.URL + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode
}

// warm has a job at hand for what comes next.
func (w *modelWorld) warm() {
	w.t.Helper()
	if status, raw, _ := w.all("/embeddings", `{"model":"tiny","input":""}`); status != http.StatusOK {
		w.t.Fatalf("%d %s", status, raw)
	}
}

// post sends a request, again where the device did not answer an order within 300 ms: this machine may have
// much else to do.
func (w *modelWorld) post(path, body string, header ...string) *http.Response {
	w.t.Helper()
	for range 20 {
		res := w.once(path, body, header...)
		if res.StatusCode != http.StatusTooManyRequests {
			return res
		}
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		if !bytes.Contains(raw, []byte(`"device_compute.device_lost"`)) {
			res.Body = io.NopCloser(bytes.NewReader(raw))
			return res
		}
	}
	w.t.Fatal("no device answers an order")
	return nil
}

func (w *modelWorld) once(path, body string, header ...string) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), "POST", w.door.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { res.Body.Close() })
	return res
}

func (w *modelWorld) all(path, body string, header ...string) (int, string, http.Header) {
	w.t.Helper()
	res := w.post(path, body, header...)
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(raw), res.Header
}

// refusal sends a request that is to be refused.
func (w *modelWorld) refusal(path, body string, status int, header ...string) (customer.RefusalError, http.Header) {
	w.t.Helper()
	got, raw, h := w.all(path, body, header...)
	var r customer.Refusal
	if err := json.Unmarshal([]byte(raw), &r); err != nil || got != status || r.Error.Message == "" {
		w.t.Errorf("%s %.200s: %d %s, want %d and an error (%v)", path, body, got, raw, status, err)
	}
	return r.Error, h
}

// chat is a request of the model tiny.
func chat(text string, more ...string) string {
	raw, _ := json.Marshal(text)
	return `{"model":"tiny","messages":[{"role":"user","content":` + string(raw) + `}]` + strings.Join(more, "") + `}`
}

// used waits until nothing runs on a device, and returns the units that its sessions were paid for.
func (w *modelWorld) covered(i int) (units uint64) {
	d := w.p[i].device.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sessions {
		units += s.Covered
	}
	return units
}

// paid waits until a device was paid for so many units in all.
func (w *modelWorld) paid(i int, units uint64) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); w.covered(i) < units && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	if got := w.covered(i); got != units {
		w.t.Errorf("device %d was paid for %d units, want %d", i, got, units)
	}
}

// orders is how many jobs a device has taken.
func (w *modelWorld) orders(i int) (n uint64) {
	d := w.p[i].device.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sessions {
		n += s.Next
	}
	return n
}

func text(raw string) (out string) {
	for line := range strings.SplitSeq(raw, "\n") {
		var v struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok && json.Unmarshal([]byte(data), &v) == nil && len(v.Choices) > 0 {
			out += v.Choices[0].Delta.Content
		}
	}
	return out
}
