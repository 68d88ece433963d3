package customer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/openai"
	"github.com/cairn-network/cairn/service/role"
)

const (
	// defaultModelPrice is the most that 10⁶ tokens cost, three in four of them of prompts, in micro-credits:
	// ten dollars.
	defaultModelPrice = 10_000_000
	modelTries        = 4 // devices that a request is sent to, as long as none has begun to answer
	mostAsked         = 512 << 20
)

// Model is one that devices offer.
type Model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Devices int    `json:"devices"` // that offer it
	Free    uint32 `json:"free"`    // requests that they could take now
	Price   uint64 `json:"price"`   // micro-credits for 10⁶ tokens, three in four of them of prompts, at the device that asks least for its quality
}

// Models is the list of them.
type Models struct {
	Object string  `json:"object"`
	Data   []Model `json:"data"`
}

// ModelRequest is the least of a request, as OpenAI documents the rest.
type ModelRequest struct {
	Model    string         `json:"model"`
	Messages []ModelMessage `json:"messages,omitempty"` // chat/completions
	Prompt   string         `json:"prompt,omitempty"`   // completions
	Input    []string       `json:"input,omitempty"`    // embeddings
	Stream   bool           `json:"stream,omitempty"`
}

// ModelMessage is one of a chat.
type ModelMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Refusal is an error in OpenAI's shape.
type Refusal struct {
	Error RefusalError `json:"error"`
}

// RefusalError is what went wrong. Reason, Try and PassedBy are ours.
type RefusalError struct {
	Message  string         `json:"message"`
	Type     string         `json:"type"`
	Param    *string        `json:"param"`
	Code     string         `json:"code"`
	Reason   types.Reason   `json:"reason,omitempty"`
	Try      string         `json:"try,omitempty"`
	PassedBy map[string]int `json:"passed_over,omitempty"`
}

// modelRoutes are the door for clients of OpenAI's API. Their base URL is where the customer's routes are.
func (c *Customer) modelRoutes() []role.Route {
	ask := func(path, summary string) role.Route {
		return role.Route{
			Method: "POST", Path: "/" + path, Summary: summary, In: ModelRequest{}, Out: []byte(nil), Most: openai.MaxRequest, Refuse: refuseModel,
			Serve: func(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
				return c.serveModel(w, r, wallet, path)
			},
		}
	}
	return []role.Route{
		{Method: "GET", Path: "/models", Summary: "Which language models devices offer (OpenAI's API, whose base URL this is)", Out: Models{}, Refuse: refuseModel, Serve: c.serveModels},
		{Method: "GET", Path: "/models/{id...}", Summary: "One of them", Out: Model{}, Refuse: refuseModel, Serve: c.serveOneModel},
		ask(openai.Chat, "Have a model answer messages, as a whole or with stream as events (OpenAI's API). The header X-Cairn-Price says the most that 10^6 tokens may cost, in micro-credits"),
		ask(openai.Completions, "Have a model go on with a text (OpenAI's API)"),
		ask(openai.Embeddings, "Have a model place texts in a space of its own (OpenAI's API)"),
	}
}

func (c *Customer) model(id string) (m Model, ok bool) {
	book := c.shelves.book(compute.ModelProfile + id)
	if book == nil {
		return m, false
	}
	m = Model{ID: id, Object: "model", Created: c.began.Unix(), OwnedBy: "cairn"}
	asks, free := book.Asks(compute.Model, maxListed, c.now())
	for i := range asks {
		if m.Devices++; i == 0 {
			m.Price = uint64(asks[i].Price) / 4
		}
		m.Free += free[i]
	}
	return m, m.Devices > 0
}

func (c *Customer) serveModels(w http.ResponseWriter, _ *http.Request, _ role.Wallet) error {
	list := Models{Object: "list", Data: []Model{}}
	for _, id := range c.shelves.models() {
		if m, ok := c.model(id); ok {
			list.Data = append(list.Data, m)
		}
	}
	return role.Reply(w, http.StatusOK, list)
}

func (c *Customer) serveOneModel(w http.ResponseWriter, r *http.Request, _ role.Wallet) error {
	m, ok := c.model(r.PathValue("id"))
	if !ok {
		return c.noModel(r.PathValue("id"))
	}
	return role.Reply(w, http.StatusOK, m)
}

// noModel says that no device offers a model, and how many offer others.
func (c *Customer) noModel(id string) error {
	passed := map[string]int{}
	if n := c.shelves.devices(); n > 0 {
		passed["model"] = n
	}
	return &refused{error: types.Refuse(compute.NoModel, "compute: no device offers the model %.120q (%d offer others)", id, passed["model"]), passed: passed}
}

// refused is a refusal with what was counted, and after what time it may be none.
type refused struct {
	error
	passed map[string]int
	wait   time.Duration
}

func (r *refused) Unwrap() error { return r.error }

// serveModel has a device answer a request.
func (c *Customer) serveModel(w http.ResponseWriter, r *http.Request, wallet role.Wallet, path string) error {
	if !isJSON(r) {
		return types.Refuse(role.BadMedia, "body: Content-Type %.100q", r.Header.Get("Content-Type"))
	}
	body, release, err := c.readRequest(r)
	if err != nil {
		return err
	}
	defer release()
	q, err := openai.Parse(path, body)
	if err != nil {
		return err
	}
	price := uint64(defaultModelPrice)
	if text := r.Header.Get("X-Cairn-Price"); text != "" {
		if price, err = strconv.ParseUint(text, 10, 40); err != nil {
			return types.Refuse(role.BadRequest, "compute: X-Cairn-Price %.40q: want micro-credits for 10⁶ tokens", text)
		}
	}
	if err := c.affords(r.Context(), wallet); err != nil {
		return err
	}
	var not []types.Key
	var last error
	for range modelTries {
		j, warm, err := c.lease(r.Context(), wallet, q.Model, 4*price, not)
		if err != nil {
			return c.unplaced(q.Model, err, last)
		}
		x, err := j.talk.ask(r.Context(), q, body)
		if err == nil {
			var begun bool
			if begun, err = c.answer(w, r, j, x); begun || err == nil || r.Context().Err() != nil {
				return err
			}
		}
		last = err
		c.let(j)
		switch types.ReasonOf(err) {
		case compute.TrapCut, compute.DeviceLost: // one that was at hand has ended a moment ago
			if !warm {
				not = append(not, j.talk.device)
			}
		case compute.Busy, compute.ModelDown, compute.ModelFailed, compute.TokensUnshown:
			not = append(not, j.talk.device)
		default:
			return err
		}
		if r.Context().Err() != nil {
			return r.Context().Err()
		}
	}
	return last
}

// readRequest reads a body, of all of which together no more than mostAsked is in memory.
func (c *Customer) readRequest(r *http.Request) (body []byte, release func(), err error) {
	n := r.ContentLength
	if n < 0 {
		n = openai.MaxRequest
	}
	if n > openai.MaxRequest {
		return nil, nil, &openai.Invalid{Message: fmt.Sprintf("the request has %d bytes, at most %d", n, openai.MaxRequest), Code: "request_too_large", Status: http.StatusRequestEntityTooLarge}
	}
	release = func() { c.reading.Add(-n) }
	if c.reading.Add(n) > mostAsked {
		release()
		return nil, nil, types.Refuse(role.Busy, "compute: %d bytes of requests are being answered", mostAsked)
	}
	if body, err = io.ReadAll(r.Body); err != nil {
		release()
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			return nil, nil, &openai.Invalid{Message: fmt.Sprintf("the request has more than %d bytes", long.Limit), Code: "request_too_large", Status: http.StatusRequestEntityTooLarge}
		}
		return nil, nil, types.Refuse(role.BadRequest, "compute: the body broke off: %v", err)
	}
	return body, release, nil
}

// affords refuses an account without credits before any device is asked.
func (c *Customer) affords(ctx context.Context, wallet role.Wallet) error {
	if wallet.Balance() > 0 {
		return nil
	}
	if awaited, wait := wallet.Awaited(ctx); awaited > 0 {
		return &refused{error: types.Refuse(role.CreditPending, "compute: the account's credits count from the next epoch on"), wait: wait}
	}
	return types.Refuse(types.OverBudget, "compute: the account, or this key of it, has no credits left")
}

// unplaced is why no device could be asked.
func (c *Customer) unplaced(model string, err, last error) error {
	var n *notPlaced
	if !errors.As(err, &n) || n.job == nil || types.ReasonOf(err) != compute.NoMatch {
		return err
	}
	if _, ok := c.model(model); !ok {
		return c.noModel(model)
	}
	rec, _ := n.job.snapshot()
	if last != nil { // what those said that were asked says more
		return &refused{error: last, passed: rec.Passed, wait: 2 * time.Second}
	}
	err = types.Refuse(compute.TooBusy, "compute: no device takes a request for %s now: %s", model, counts(rec.Passed))
	return &refused{error: err, passed: rec.Passed, wait: 2 * time.Second}
}

// answer passes an answer on as it comes. begun says that the customer has got a part of it; before that,
// another device may answer.
func (c *Customer) answer(w http.ResponseWriter, r *http.Request, j *job, x *reply) (begun bool, err error) {
	ctx := r.Context()
	over := func() { // the job is free again, once the device has stopped
		if x.stop() {
			c.giveBack(j)
		} else {
			c.let(j)
		}
	}
	wait := wholeTime
	if x.request.Stream {
		wait = firstEvent
	}
	if err := x.next(ctx, wait, func() bool { return x.status == 200 && x.request.Stream && len(x.events) > 0 }); err != nil {
		if ctx.Err() == nil {
			return false, err
		}
		c.background.Go(over)
		return true, err
	}
	x.talk.mu.Lock()
	status, raw, kind, answer := x.status, x.raw, x.kind, x.answer
	failed, stalled := x.done && x.why != nil && len(x.events) == 0, x.stalled
	x.talk.mu.Unlock()
	if failed {
		return false, x.why // it stays
	}
	if stalled && !x.request.Stream {
		c.background.Go(over)
		return true, types.Refuse(role.Busy, "compute: %d bytes of answers wait to be taken", mostQueued)
	}
	h := w.Header()
	h.Set("X-Cairn-Device", j.talk.device.String())
	h.Set("X-Request-Id", fmt.Sprintf("%v-%d", j.rec.ID, x.number))
	h.Set("X-Content-Type-Options", "nosniff")
	switch {
	case status != http.StatusOK:
		c.giveBack(j)
		h.Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write(shaped(raw, status)) // whoever asked may be gone
		return true, nil
	case !x.request.Stream:
		whole, err := answer.Whole()
		if err == nil && x.request.Path == openai.Embeddings {
			whole, err = openai.Encode(x.request, whole)
		}
		x.talk.mu.Lock()
		x.drop()
		x.talk.mu.Unlock()
		if err != nil {
			return false, types.Refuse(compute.ModelFailed, "compute: device %v: %v", j.talk.device, err)
		}
		c.giveBack(j)
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(whole)))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(whole)
		return true, nil
	}
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	send := func(events ...[]byte) bool {
		var b []byte
		for _, e := range events {
			b = append(append(append(b, "data: "...), e...), "\n\n"...)
		}
		if _, err := w.Write(b); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	for {
		events, done, why := x.take()
		if len(events) > 0 && !send(events...) {
			c.background.Go(over)
			return true, nil // whoever asked is gone, or does not take what it asked for
		}
		if done && len(events) == 0 {
			if why != nil { // the head is out: an event says it, and no [DONE] follows
				raw, _ := json.Marshal(refusalOf(why))
				send(raw)
				c.let(j)
				return true, nil
			}
			c.giveBack(j)
			send([]byte("[DONE]"))
			return true, nil
		}
		if done {
			continue
		}
		if err := x.next(ctx, nextEvent, func() bool { return len(x.events) > 0 }); err != nil {
			if ctx.Err() != nil {
				c.background.Go(over)
				return true, nil
			}
			raw, _ := json.Marshal(refusalOf(err))
			send(raw)
			c.let(j)
			return true, nil
		}
	}
}

// shaped has what a server refused in OpenAI's shape.
func shaped(raw []byte, status int) []byte {
	var v struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(raw, &v) == nil && len(v.Error) > 0 && v.Error[0] == '{' {
		return raw
	}
	var text string
	if json.Unmarshal(v.Error, &text) != nil {
		text = v.Message
	}
	if text == "" {
		text = fmt.Sprintf("the server of models answers %d", status)
	}
	out, _ := json.Marshal(Refusal{RefusalError{Message: text, Type: "invalid_request_error", Code: "invalid_request"}})
	return out
}

// statuses and codes of OpenAI's API where they are other than our reasons'.
var openAICodes = map[types.Reason]struct {
	status     int
	kind, code string
	wait       time.Duration
}{
	role.NoKey:         {401, "invalid_request_error", "invalid_api_key", 0},
	compute.NoModel:    {404, "invalid_request_error", "model_not_found", 0},
	compute.Unpaid:     {429, "insufficient_quota", "insufficient_quota", time.Minute},
	types.OverBudget:   {429, "insufficient_quota", "insufficient_quota", time.Minute},
	types.UnknownKey:   {429, "insufficient_quota", "insufficient_quota", time.Minute},
	role.CreditPending: {429, "insufficient_quota", "insufficient_quota", 10 * time.Second},
	compute.TooBusy:    {429, "requests", "rate_limit_exceeded", 2 * time.Second},
	compute.Busy:       {429, "requests", "rate_limit_exceeded", 2 * time.Second},
	role.Busy:          {429, "requests", "rate_limit_exceeded", 2 * time.Second},
}

// statusOf is the status and the error of a refusal.
func statusOf(err error) (status int, wait time.Duration, out RefusalError) {
	var bad *openai.Invalid
	if errors.As(err, &bad) {
		out = RefusalError{Message: bad.Message, Type: "invalid_request_error", Code: bad.Code}
		if bad.Param != "" {
			out.Param = &bad.Param
		}
		if status = bad.Status; status == 0 {
			status = http.StatusBadRequest
		}
		return status, 0, out
	}
	reason := types.ReasonOf(err)
	if reason == "" {
		reason = role.Internal
	}
	info := role.Info(reason, compute.New().Spec.Reasons...)
	out = RefusalError{Message: err.Error(), Type: "server_error", Code: string(reason), Reason: reason, Try: info.Try}
	if status = info.Status; status < 500 {
		out.Type = "invalid_request_error"
	}
	if as, ok := openAICodes[reason]; ok {
		status, out.Type, out.Code, wait = as.status, as.kind, as.code, as.wait
	}
	var r *refused
	if errors.As(err, &r) {
		if out.PassedBy = r.passed; r.wait > 0 {
			wait = r.wait
		}
		if _, dear := r.passed["price"]; dear && len(r.passed) == 1 { // waiting changes nothing
			status, wait = http.StatusPaymentRequired, 0
			out.Type, out.Code = "invalid_request_error", string(compute.PriceBelowAsk)
		}
	}
	return status, wait, out
}

func refusalOf(err error) Refusal {
	_, _, e := statusOf(err)
	return Refusal{e}
}

// refuseModel answers with a refusal in OpenAI's shape.
func refuseModel(w http.ResponseWriter, err error) {
	status, wait, e := statusOf(err)
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
	_ = role.Reply(w, status, Refusal{e}) // it has no value that JSON lacks
}

// allRoutes are those of jobs and of models.
func (c *Customer) allRoutes() []role.Route { return slices.Concat(c.routes(), c.modelRoutes()) }
