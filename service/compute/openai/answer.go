package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Usage is how many tokens a server says that a request took.
type Usage struct {
	Prompt     uint64 `json:"prompt_tokens"`
	Completion uint64 `json:"completion_tokens"`
}

// ErrTooLong says that an answer, or one of its events, is longer than it may be.
var ErrTooLong = errors.New("openai: the answer is longer than it may be")

// Event is one of a stream.
type Event struct {
	Data []byte // JSON
	// Last is set in the event that ends a stream; Data is empty then.
	Last bool
	// Usage alone is in it: who did not ask for it does not expect it.
	Usage bool
}

// Answer is an answer as it comes, byte by byte.
type Answer struct {
	request *Request
	stream  bool
	size    int
	rest    []byte // of a stream: the line that has not ended; else all of it
	event   []byte // the data of the event that has not ended

	Content uint64 // bytes of text that came
	Events  uint64 // events of a stream that had some
	Said    *Usage // what the server says; nil while it has not
	Ended   bool   // the stream came to its end
}

// NewAnswer begins an answer to a request. stream says that it comes in events.
func NewAnswer(r *Request, stream bool) *Answer { return &Answer{request: r, stream: stream} }

// Write takes in what came, and returns the events that are whole.
func (a *Answer) Write(p []byte) (events []Event, err error) {
	a.size += len(p)
	if !a.stream {
		if a.size > MaxAnswer {
			return nil, ErrTooLong
		}
		a.rest = append(a.rest, p...)
		return nil, nil
	}
	if a.size > MaxStream {
		return nil, ErrTooLong
	}
	a.rest = append(a.rest, p...)
	from := 0
	for !a.Ended {
		n := bytes.IndexByte(a.rest[from:], '\n')
		if n < 0 {
			break
		}
		line := bytes.TrimSuffix(a.rest[from:from+n], []byte("\r"))
		from += n + 1
		if e := a.line(line); e != nil {
			events = append(events, *e)
		}
		if len(a.event) > MaxEvent {
			return events, ErrTooLong
		}
	}
	a.rest = append(a.rest[:0], a.rest[from:]...)
	if len(a.rest) > MaxEvent {
		return events, ErrTooLong
	}
	return events, nil
}

// line takes in a line of a stream (the HTML standard's "Server-sent events"), and returns the event that it ends.
func (a *Answer) line(line []byte) *Event {
	if len(line) > 0 {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if len(a.event) > 0 {
				a.event = append(a.event, '\n')
			}
			a.event = append(a.event, bytes.TrimPrefix(data, []byte(" "))...)
		}
		return nil
	}
	data := bytes.TrimSpace(a.event)
	a.event = nil
	switch {
	case len(data) == 0:
		return nil
	case string(data) == "[DONE]":
		a.Ended = true
		return &Event{Last: true}
	}
	e := &Event{Data: data}
	content, choices := a.look(data)
	a.Content += content
	if content > 0 {
		a.Events++
	}
	e.Usage = choices == 0 && a.Said != nil
	return e
}

// look counts the text in a JSON value, and keeps the usage that it says.
func (a *Answer) look(data []byte) (content uint64, choices int) {
	var v struct {
		Choices []struct {
			Text    any            `json:"text"`
			Delta   map[string]any `json:"delta"`
			Message map[string]any `json:"message"`
		} `json:"choices"`
		Usage *Usage          `json:"usage"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(data, &v) != nil {
		return 0, 1
	}
	if v.Usage != nil {
		a.Said = v.Usage
	}
	for _, c := range v.Choices {
		for _, m := range []map[string]any{c.Delta, c.Message} {
			delete(m, "role")
			content += all(m)
		}
		content += all(c.Text)
	}
	choices = len(v.Choices)
	if len(v.Error) > 0 {
		choices = max(choices, 1)
	}
	return content, choices
}

// all is how many bytes all texts in a value have.
func all(v any) (n uint64) {
	switch v := v.(type) {
	case string:
		n = uint64(len(v))
	case []any:
		for _, e := range v {
			n += all(e)
		}
	case map[string]any:
		for _, e := range v {
			n += all(e)
		}
	}
	return n
}

// Whole returns an answer that is no stream, once all of it came, and reads what it says.
func (a *Answer) Whole() ([]byte, error) {
	if !json.Valid(a.rest) {
		return nil, errors.New("openai: the answer is no JSON")
	}
	a.Content, _ = a.look(a.rest)
	return a.rest, nil
}

// Bound is what may be charged for at most, given what came so far: no more tokens of the prompt than the
// request has bytes, no more of the completion than bytes of text came, and than the request allowed.
func (a *Answer) Bound() (u Usage) {
	u = Usage{Prompt: a.request.Size, Completion: a.Content}
	if a.request.Most > 0 {
		u.Completion = min(u.Completion, a.request.Most)
	}
	if a.request.Path == Embeddings {
		u.Completion = 0
	}
	return u
}

// Charge is what a device charges for, within the bound: what the server says; while it has said nothing, for
// each event with text a token, and for the prompt, of which the server has not said yet how long it is, an
// eighth of its text's bytes. over says that the answer is over, or was stopped: then what the server did not
// say is taken to be a token for each four bytes, of a stream's text one for each event.
func (a *Answer) Charge(over bool) Usage {
	u, b := Usage{}, a.Bound()
	switch {
	case a.Said != nil:
		u = *a.Said
	case over:
		u.Prompt = (a.request.Text + 3) / 4
	default:
		u.Prompt = a.request.Text / 8
	}
	if a.Said == nil {
		if u.Completion = a.Events; !a.stream {
			u.Completion = (a.Content + 3) / 4
		}
	}
	return Usage{min(u.Prompt, b.Prompt), min(u.Completion, b.Completion)}
}

// Encode turns embeddings into the encoding that the request asked for, where a server answers in the other one.
func Encode(r *Request, body []byte) ([]byte, error) {
	var v struct {
		Data []map[string]json.RawMessage `json:"data"`
	}
	var whole map[string]json.RawMessage
	if json.Unmarshal(body, &v) != nil || json.Unmarshal(body, &whole) != nil {
		return nil, errors.New("openai: embeddings: the answer is no JSON object")
	}
	changed := false
	for i, d := range v.Data {
		raw := bytes.TrimSpace(d["embedding"])
		text := len(raw) > 0 && raw[0] == '"'
		if len(raw) == 0 || text == (r.Format == "base64") {
			continue
		}
		list, err := floats(raw, text)
		if err != nil {
			return nil, fmt.Errorf("openai: embedding %d: %w", i, err)
		}
		var out any = list
		if !text {
			packed := make([]byte, 0, 4*len(list))
			for _, f := range list {
				packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(f))
			}
			out = base64.StdEncoding.EncodeToString(packed)
		}
		if d["embedding"], err = json.Marshal(out); err != nil { // not a number, or endless
			return nil, fmt.Errorf("openai: embedding %d: %w", i, err)
		}
		changed = true
	}
	if !changed {
		return body, nil
	}
	var err error
	if whole["data"], err = json.Marshal(v.Data); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}

// floats reads an embedding in either encoding.
func floats(raw []byte, text bool) (list []float32, err error) {
	if !text {
		err = json.Unmarshal(raw, &list)
		return list, err
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	packed, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(packed)%4 != 0 {
		return nil, fmt.Errorf("%d bytes in base64 that are no numbers: %v", len(s), err)
	}
	list = make([]float32, len(packed)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
	}
	return list, nil
}
