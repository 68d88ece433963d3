package provider

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"

	"github.com/cairn-network/cairn/internal/testutil"
)

var errBreak = errors.New("the server breaks off")

// breaks has a server break off the stream that says so, before its third word.
func breaks(u *upstream) {
	u.before = func(_ context.Context, word int) error {
		u.mu.Lock()
		defer u.mu.Unlock()
		if raw, _ := json.Marshal(u.bodies[len(u.bodies)-1]); word == 2 && strings.Contains(string(raw), "break after this") {
			return errBreak
		}
		return nil
	}
}

// TestOpenAINode: OpenAI's client for JavaScript talks to the gateway unchanged.
func TestOpenAINode(t *testing.T) {
	dir := filepath.Join("testdata", "openai")
	node := testutil.Node(t, dir)
	u := newUpstream(t, "tiny")
	breaks(u)
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	w.warm()
	c := exec.CommandContext(t.Context(), node, "talk.mjs", w.door.URL)
	c.Dir = dir
	c.Env = append(c.Environ(), "NODE_NO_WARNINGS=1")
	raw, err := c.Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			t.Fatalf("%v: %s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	list := func(v ...any) []any { return v }
	vector := list(10., 0.5, -1.25)
	for name, want := range map[string]any{
		"models": list("tiny"), "model": "tiny", "whole": list("FOUR SMALL WORDS HERE ", 4., 4.), "stream": list("FOUR ", "SMALL ", "WORDS ", "HERE "),
		"usage": list(4., 4.), "final": "FOUR SMALL WORDS HERE ", "text": "A B ", "packed": vector, "floats": vector,
		"missing": list("NotFoundError", 404., "model_not_found"), "bad": list("BadRequestError", 400., "invalid_value"),
		"dear": list("APIError", 402., "compute.price_below_ask"), "broken": list("APIError", nil, "compute.model_failed"),
	} {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
}

// TestOpenAIGo: OpenAI's client for Go talks to the gateway unchanged.
func TestOpenAIGo(t *testing.T) {
	u := newUpstream(t, "tiny")
	breaks(u)
	w := newModelWorld(t, 1<<40, nil, serverOf(u))
	w.sees(1, 4)
	w.warm()
	client := openai.NewClient(option.WithBaseURL(w.door.URL+"/"), option.WithAPIKey("cairn_test"), option.WithMaxRetries(0))
	ask := func(text string) openai.ChatCompletionNewParams {
		return openai.ChatCompletionNewParams{Model: "tiny", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
	}
	whole, err := client.Chat.Completions.New(t.Context(), ask("three small words"))
	if err != nil || whole.Choices[0].Message.Content != "THREE SMALL WORDS " || whole.Usage.CompletionTokens != 3 {
		t.Fatalf("%v %+v", err, whole)
	}
	p := ask("three small words")
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	s := client.Chat.Completions.NewStreaming(t.Context(), p)
	var sum openai.ChatCompletionAccumulator
	n := 0
	for ; s.Next(); n++ {
		sum.AddChunk(s.Current())
	}
	if s.Err() != nil || sum.Choices[0].Message.Content != "THREE SMALL WORDS " || sum.Usage.CompletionTokens != 3 || n != 5 {
		t.Errorf("%v, %d chunks: %+v", s.Err(), n, sum.ChatCompletion)
	}
	for _, format := range []openai.EmbeddingNewParamsEncodingFormat{"", openai.EmbeddingNewParamsEncodingFormatFloat} {
		v, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{Model: "tiny", EncodingFormat: format,
			Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("ten bytes!")}})
		if err != nil || !reflect.DeepEqual(v.Data[0].Embedding, []float64{10, 0.5, -1.25}) {
			t.Errorf("%q: %v %+v", format, err, v)
		}
	}
	list, err := client.Models.List(t.Context())
	if err != nil || len(list.Data) != 1 || list.Data[0].ID != "tiny" {
		t.Errorf("%v %+v", err, list)
	}
	_, err = client.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "none", Messages: p.Messages})
	var refused *openai.Error
	if !errors.As(err, &refused) || refused.StatusCode != 404 || refused.Code != "model_not_found" {
		t.Errorf("%v", err)
	}
	s = client.Chat.Completions.NewStreaming(t.Context(), ask("break after this"))
	for n = 0; s.Next(); n++ {
	}
	if s.Err() == nil || n != 2 || !strings.Contains(s.Err().Error(), "compute.model_failed") {
		t.Errorf("%d chunks, %v", n, s.Err())
	}
}
