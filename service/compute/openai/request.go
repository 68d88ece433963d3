package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The requests that are served, by their paths below the base URL.
const (
	Chat        = "chat/completions"
	Completions = "completions"
	Embeddings  = "embeddings"
)

// Bounds.
const (
	MaxRequest = 8 << 20  // bytes of a request's body
	MaxAnswer  = 16 << 20 // bytes of an answer that is no stream
	MaxStream  = 64 << 20 // bytes of one that is
	MaxEvent   = 1 << 20  // bytes of an event of a stream
	MaxChoices = 16       // answers to one request
	MaxInputs  = 2048     // inputs of embeddings, and prompts, in one request
	MaxModel   = 120      // bytes of a model's id: a profile is "model/" and the id
)

// Invalid is what is wrong with a request, as OpenAI's API says it.
type Invalid struct {
	Message, Param, Code string
	Status               int // 0 stands for 400
}

func (e *Invalid) Error() string { return e.Message }

func invalid(param, format string, args ...any) error {
	return &Invalid{Message: fmt.Sprintf(format, args...), Param: param, Code: "invalid_value"}
}

// Request is one that was checked.
type Request struct {
	Path    string
	Model   string
	Size    uint64 // bytes of its body
	Text    uint64 // bytes of its texts, without data that is embedded (data: URLs)
	Choices uint64 // answers that were asked for
	Most    uint64 // tokens of all answers together; 0 where the request says none
	Stream  bool
	Usage   bool   // the stream is to end with the usage
	Format  string // of embeddings: "", "float" or "base64"

	fields map[string]json.RawMessage
}

// What a request may have: true for what a server gets, false for what says something about the customer only,
// which nobody gets. A server of somebody's own takes more parameters than these, some of which have it load
// files or run templates: a stranger's request has none of them.
var (
	sampling = map[string]bool{
		"model": true, "stream": true, "stream_options": true, "n": true, "max_tokens": true, "temperature": true, "top_p": true, "top_k": true, "min_p": true,
		"repetition_penalty": true, "frequency_penalty": true, "presence_penalty": true, "logit_bias": true, "logprobs": true, "seed": true, "stop": true,
		"user": false, "metadata": false, "store": false, "service_tier": false, "safety_identifier": false, "prompt_cache_key": false, "prompt_cache_retention": false,
	}
	params = map[string]map[string]bool{
		Chat: with(sampling, "messages", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "max_completion_tokens",
			"top_logprobs", "reasoning_effort", "verbosity"),
		Completions: with(sampling, "prompt", "suffix", "echo", "best_of"),
		Embeddings:  {"model": true, "input": true, "encoding_format": true, "dimensions": true, "user": false},
	}
)

func with(base map[string]bool, more ...string) map[string]bool {
	m := maps.Clone(base)
	for _, name := range more {
		m[name] = true
	}
	return m
}

// Parse checks a request. What is wrong with it is an Invalid.
func Parse(path string, body []byte) (*Request, error) {
	known := params[path]
	if known == nil {
		return nil, &Invalid{Message: fmt.Sprintf("%.100q is not served here", path), Code: "unknown_url", Status: 404}
	}
	if len(body) > MaxRequest {
		return nil, &Invalid{Message: fmt.Sprintf("the request has more than %d bytes", MaxRequest), Code: "request_too_large", Status: 413}
	}
	r := &Request{Path: path, Size: uint64(len(body)), Choices: 1, fields: map[string]json.RawMessage{}}
	if err := json.Unmarshal(body, &r.fields); err != nil || r.fields == nil {
		return nil, &Invalid{Message: fmt.Sprintf("the body is no JSON object: %v", err), Code: "invalid_json"}
	}
	for name, raw := range r.fields {
		switch passes, ok := known[name]; {
		case !ok:
			return nil, &Invalid{Message: fmt.Sprintf("unknown parameter: %.80q", name), Param: name, Code: "unknown_parameter"}
		case !passes || string(raw) == "null":
			delete(r.fields, name)
		}
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	for _, name := range []string{"messages", "prompt", "input", "tools", "functions", "suffix", "response_format"} {
		raw, ok := r.fields[name]
		if !ok {
			continue
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, invalid(name, "%s: %v", name, err)
		}
		if name == "messages" && remote(v) {
			return nil, invalid(name, "messages: images, sounds and files have to be in the request, as data: URLs: devices fetch nothing from elsewhere")
		}
		r.Text += text(v)
	}
	return r, nil
}

// read takes what it has to know out of the fields.
func (r *Request) read() (err error) {
	get := func(name string, into any) {
		if raw, ok := r.fields[name]; ok && err == nil {
			if e := json.Unmarshal(raw, into); e != nil {
				err = invalid(name, "%s: %v", name, e)
			}
		}
	}
	need := map[string]string{Chat: "messages", Completions: "prompt", Embeddings: "input"}[r.Path]
	n, best, most, newer := uint64(1), uint64(1), uint64(0), uint64(0)
	var options struct {
		Usage bool `json:"include_usage"`
	}
	get("model", &r.Model)
	get("stream", &r.Stream)
	get("stream_options", &options)
	get("n", &n)
	get("best_of", &best)
	get("max_tokens", &most)
	get("max_completion_tokens", &newer)
	get("encoding_format", &r.Format)
	r.Usage = options.Usage
	count := uint64(1)
	var list []json.RawMessage
	if raw := r.fields[need]; r.Path != Chat && json.Unmarshal(raw, &list) == nil && len(list) > 0 && !isNumber(list[0]) {
		count = uint64(len(list))
	}
	switch {
	case err != nil:
		return err
	case r.Model == "" || len(r.Model) > MaxModel || strings.ContainsFunc(r.Model, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return invalid("model", "model: want the id of one, as /models lists them")
	case r.fields[need] == nil:
		return invalid(need, "%s: it is missing", need)
	case n == 0 || n > MaxChoices || best > MaxChoices:
		return invalid("n", "n: want 1 to %d", MaxChoices)
	case count > MaxInputs:
		return invalid(need, "%s: %d of them, at most %d", need, count, MaxInputs)
	case r.Format != "" && r.Format != "float" && r.Format != "base64":
		return invalid("encoding_format", "encoding_format: want float or base64")
	}
	r.Choices = max(n, best) * count
	if most = max(most, newer); most > 0 && most < 1<<32 {
		r.Most = most * r.Choices
	}
	return nil
}

func isNumber(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

// text is how many bytes the texts in a value have, but for data that is embedded.
func text(v any) (n uint64) {
	switch v := v.(type) {
	case string:
		if !strings.HasPrefix(v, "data:") {
			n = uint64(len(v))
		}
	case []any:
		for _, e := range v {
			n += text(e)
		}
	case map[string]any:
		for _, e := range v {
			n += text(e)
		}
	}
	return n
}

// remote reports whether a message names something that whoever answers would fetch: an image, a sound or a
// file at a URL.
func remote(v any) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, remote)
	case map[string]any:
		for name, e := range v {
			s, is := e.(string)
			if is && (name == "url" || strings.HasSuffix(name, "_url")) && !strings.HasPrefix(s, "data:") || remote(e) {
				return true
			}
		}
	}
	return false
}

// Upstream returns the body for a server that has the model under a name. It always asks for the usage.
// Whatever else travels is what was checked: a field that the customer's body had twice is there once.
func (r *Request) Upstream(name string) []byte {
	fields := maps.Clone(r.fields)
	fields["model"], _ = json.Marshal(name) // a string
	if r.Stream && r.Path != Embeddings {
		fields["stream_options"] = json.RawMessage(`{"include_usage":true}`)
	} else {
		delete(fields, "stream_options")
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(fields) // was decoded from JSON
	return b.Bytes()
}
