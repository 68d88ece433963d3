package openai

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func parsed(t testing.TB, path, body string) *Request {
	t.Helper()
	r, err := Parse(path, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestStream: however a stream is cut into pieces, its events, its text and its usage are the same.
func TestStream(t *testing.T) {
	r := parsed(t, Chat, `{"model":"m","messages":[],"stream":true}`)
	raw := ": hello\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"äb\"}}]}\r\n\r\n" +
		"event: x\ndata: {\"choices\":\ndata: [{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n" +
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\ndata: [DONE]\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"late\"}}]}\n\n"
	for cut := range len(raw) {
		a := NewAnswer(r, true)
		var events []Event
		for _, p := range []string{raw[:cut], raw[cut:]} {
			more, err := a.Write([]byte(p))
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, more...)
		}
		if len(events) != 4 || events[0].Usage || !events[2].Usage || !events[3].Last || a.Content != 3+1+2 || a.Events != 2 || !a.Ended || *a.Said != (Usage{7, 2}) {
			t.Fatalf("cut at %d: %+v, %+v", cut, events, a)
		}
	}
	a := NewAnswer(r, true)
	if _, err := a.Write([]byte("data: " + strings.Repeat("x", MaxEvent))); !errors.Is(err, ErrTooLong) {
		t.Errorf("an endless event: %v", err)
	}
}

// TestCharge: what is charged never exceeds what the bytes bound, whatever a server says, and is what it says
// within that.
func TestCharge(t *testing.T) {
	for _, c := range []struct {
		more, say string
		events    int
		want      Usage // once it is over
	}{
		{"", `{"prompt_tokens":3,"completion_tokens":2}`, 2, Usage{3, 2}},
		{"", `{"prompt_tokens":3,"completion_tokens":9}`, 2, Usage{3, 4}},
		{"", `{"prompt_tokens":3000,"completion_tokens":2}`, 2, Usage{80, 2}},
		{`,"max_tokens":1`, `{"prompt_tokens":3,"completion_tokens":4}`, 2, Usage{3, 1}},
		{`,"max_tokens":1,"n":2`, `{"prompt_tokens":3,"completion_tokens":4}`, 2, Usage{3, 2}},
		{"", "", 2, Usage{3, 2}},
		{`,"max_completion_tokens":1`, "", 2, Usage{3, 1}},
	} {
		r := parsed(t, Chat, `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]`+c.more+`}`)
		if c.want.Prompt == 80 {
			c.want.Prompt = r.Size
		}
		a := NewAnswer(r, true)
		for range c.events {
			if _, err := a.Write([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"ab\"}}]}\n\n")); err != nil {
				t.Fatal(err)
			}
			if now, most := a.Charge(false), a.Bound(); now.Prompt > most.Prompt || now.Completion > most.Completion || now.Prompt != (4+5)/8 {
				t.Errorf("%+v: charges %+v of %+v in between", c, now, most)
			}
		}
		if c.say != "" {
			if _, err := fmt.Fprintf(writer{a}, "data: {\"choices\":[],\"usage\":%s}\n\n", c.say); err != nil {
				t.Fatal(err)
			}
		}
		if got := a.Charge(true); got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

type writer struct{ a *Answer }

func (w writer) Write(p []byte) (int, error) {
	_, err := w.a.Write(p)
	return len(p), err
}

// TestUpstream: a server gets what was checked, once, under its own name, and nothing about the customer.
func TestUpstream(t *testing.T) {
	r := parsed(t, Chat, `{"model":"m","model":"m2","messages":[],"user":"me","stream":true,"stream_options":{"x":1},"top_k":null}`)
	if got := strings.TrimSpace(string(r.Upstream("small:1b"))); r.Model != "m2" || got != `{"messages":[],"model":"small:1b","stream":true,"stream_options":{"include_usage":true}}` {
		t.Errorf("%s: %s", r.Model, got)
	}
}

// TestInvalid: what a stranger may not have a server do.
func TestInvalid(t *testing.T) {
	for _, body := range []string{
		``, `null`, `{}`, `{"model":"m"}`, `{"model":"","messages":[]}`, `{"model":"a b","messages":[]}`, `{"model":1,"messages":[]}`, `{"model":"m","messages":[],"n":0}`,
		`{"model":"m","messages":[],"lora":"/x"}`, `{"model":"m","messages":[{"content":[{"image_url":"http://x"}]}]}`, `{"model":"m","messages":[{"content":[{"file":{"file_url":"file:///x"}}]}]}`,
		`{"model":"m","messages":[],"max_tokens":-1}`,
	} {
		if r, err := Parse(Chat, []byte(body)); err == nil {
			t.Errorf("%s is taken: %+v", body, r)
		}
	}
	if r := parsed(t, Chat, `{"model":"m","messages":[{"content":[{"image_url":{"url":"data:image/png;base64,AAAA"}}]}],"tools":[{"function":{"parameters":{"properties":{"url":{"type":"string"}}}}}]}`); r.Text != 6 {
		t.Errorf("%d bytes of text", r.Text)
	}
	if r := parsed(t, Embeddings, `{"model":"m","input":["a","b","c"]}`); r.Choices != 3 {
		t.Errorf("%d inputs", r.Choices)
	}
	if _, err := Parse(Embeddings, []byte(`{"model":"m","input":["`+strings.Repeat(`a","`, MaxInputs)+`"]}`)); err == nil {
		t.Error("too many inputs are taken")
	}
}

func FuzzAnswer(f *testing.F) {
	r := parsed(f, Chat, `{"model":"m","messages":[],"stream":true}`)
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"), 3)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		if cut < 0 || cut > len(raw) {
			return
		}
		whole, parts := NewAnswer(r, true), NewAnswer(r, true)
		_, err := whole.Write(raw)
		_, err1 := parts.Write(raw[:cut])
		_, err2 := parts.Write(raw[cut:])
		if err == nil && err1 == nil && err2 == nil && (whole.Content != parts.Content || whole.Events != parts.Events || whole.Ended != parts.Ended) {
			t.Errorf("%+v, in parts %+v", whole, parts)
		}
		if c, b := whole.Charge(true), whole.Bound(); c.Prompt > b.Prompt || c.Completion > b.Completion {
			t.Errorf("charges %+v of %+v", c, b)
		}
	})
}
