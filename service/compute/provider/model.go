package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/openai"
)

// ModelPrice is what a device asks by default, in micro-credits for 10⁶ weighted tokens: with the default
// weights, 50 cents for as many tokens of a prompt, and two dollars for those that it answers with.
const ModelPrice = 500_000

// KeyVariable names the variable of the environment that holds the API key of the server, where no file does.
const KeyVariable = "CAIRN_MODEL_KEY"

// Served is a model that a device offers.
type Served struct {
	ID                 string // in the terms
	Name               string // at the server
	Prompt, Completion uint32 // as how many tokens one counts
}

// ModelServer is a server with OpenAI's API that a device passes requests on to.
type ModelServer struct {
	URL    string // with its /v1
	Key    string // API key; "" for none
	Models []Served
	// FirstByte is how long the server has to begin an answer that comes in events (default 2 minutes), Whole
	// until it begins one that comes as a whole (10 minutes), Between from one part to the next (1 minute).
	FirstByte, Whole, Between time.Duration
	// Look is how often it is looked whether the server is there (10 seconds).
	Look time.Duration
}

// Bounds.
const (
	maxModels  = compute.MaxProfiles
	maxWeight  = 10_000
	maxKeyFile = 4096
	lookTime   = 5 * time.Second
	maxList    = 4 << 20 // bytes of a server's list of models
	maxProblem = 64 << 10
)

// parseModels reads the models of an owner's settings: ID, or ID=NAME where the server has another name for it.
func parseModels(list []string, prompt, completion uint32) (models []Served, err error) {
	for _, text := range list {
		id, name, ok := strings.Cut(text, "=")
		if !ok {
			name = id
		}
		if id == "" || name == "" || len(id) > openai.MaxModel || strings.ContainsAny(id, " \t\n\r") {
			return nil, fmt.Errorf("compute: settings: models: %.100q: want ID, or ID=NAME", text)
		}
		models = append(models, Served{ID: id, Name: name, Prompt: prompt, Completion: completion})
	}
	slices.SortFunc(models, func(a, b Served) int { return strings.Compare(a.ID, b.ID) })
	for i := 1; i < len(models); i++ {
		if models[i].ID == models[i-1].ID {
			return nil, fmt.Errorf("compute: settings: models: %q is there twice", models[i].ID)
		}
	}
	if len(models) == 0 || len(models) > maxModels {
		return nil, fmt.Errorf("compute: settings: models: %d of them, want 1 to %d", len(models), maxModels)
	}
	if prompt > maxWeight || completion > maxWeight || prompt+completion == 0 {
		return nil, fmt.Errorf("compute: settings: weights of %d and %d, want 0 to %d, and not both 0", prompt, completion, maxWeight)
	}
	return models, nil
}

// readKey reads the API key of the server: from a file, or else from the environment.
func readKey(path string) (string, error) {
	if path == "" {
		return strings.TrimSpace(os.Getenv(KeyVariable)), nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("compute: settings: model_key_file: %w", err)
	}
	if len(raw) > maxKeyFile {
		return "", fmt.Errorf("compute: settings: model_key_file: %s has %d bytes", path, len(raw))
	}
	return strings.TrimSpace(string(raw)), nil
}

// models runs jobs of class model: each is a run of requests that the gateway sends, one after the other.
type models struct {
	server  ModelServer
	base    *url.URL
	http    *http.Client
	changed func() // what is offered is another thing now

	mu   sync.Mutex
	up   []Served // ascending by ID
	why  error    // why some are missing; nil if none are
	look chan struct{}
}

func newModels(s ModelServer) (*models, error) {
	base, err := url.Parse(strings.TrimSuffix(s.URL, "/"))
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("compute: settings: model_url: %.200q: want http(s)://HOST:PORT/v1; the key goes into model_key_file", s.URL)
	}
	def := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	def(&s.FirstByte, 2*time.Minute)
	def(&s.Whole, 10*time.Minute)
	def(&s.Between, time.Minute)
	def(&s.Look, 10*time.Second)
	x := &models{server: s, base: base, look: make(chan struct{}, 1), changed: func() {}, why: errors.New("the server of models was not looked for yet")}
	x.http = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
			DisableCompression: true, TLSHandshakeTimeout: lookTime, MaxResponseHeaderBytes: 64 << 10,
		},
		// The owner named one host: a server that sends a customer's prompt elsewhere is not followed.
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Host != base.Host || r.URL.Scheme != base.Scheme || len(via) > 3 {
				return fmt.Errorf("it redirects to %s", r.URL.Host)
			}
			return nil
		},
	}
	return x, nil
}

func (x *models) Class() types.Class { return compute.Model }

// Profiles are the models that are there now.
func (x *models) Profiles() []compute.Profile {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]compute.Profile, len(x.up))
	for i, m := range x.up {
		list[i] = compute.Profile{Name: compute.ModelProfile + m.ID, Prompt: m.Prompt, Completion: m.Completion}
	}
	return list
}

// served returns a model by its profile.
func (x *models) served(profile string) (Served, bool) {
	i := slices.IndexFunc(x.server.Models, func(m Served) bool { return compute.ModelProfile+m.ID == profile })
	if i < 0 {
		return Served{}, false
	}
	return x.server.Models[i], true
}

// missing says why something that the owner offers is not there, nil if all of it is.
func (x *models) missing() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.why
}

func (x *models) Close() error {
	x.http.CloseIdleConnections()
	return nil
}

// watch looks whether the server is there, again and again and whenever a request failed, until ctx ends.
func (x *models) watch(ctx context.Context) {
	tick := time.NewTicker(x.server.Look)
	defer tick.Stop()
	for {
		up, why := x.find(ctx)
		if ctx.Err() != nil {
			return
		}
		x.mu.Lock()
		other := !slices.Equal(up, x.up)
		x.up, x.why = up, why
		x.mu.Unlock()
		if other {
			x.changed()
		}
		select {
		case <-tick.C:
		case <-x.look:
		case <-ctx.Done():
			return
		}
	}
}

// failed has the server looked for at once.
func (x *models) failed() {
	select {
	case x.look <- struct{}{}:
	default:
	}
}

// find asks the server which models it has. One that has no list (404) is believed to have all.
func (x *models) find(ctx context.Context) (up []Served, why error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	res, err := x.do(ctx, "GET", "models", nil)
	if err != nil {
		return nil, fmt.Errorf("the server of models at %s does not answer: %w", x.base.Host, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotFound:
		return slices.Clone(x.server.Models), nil
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the server of models at %s answers %s", x.base.Host, res.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxList))
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("the server of models at %s: its list: %w", x.base.Host, err)
	}
	var lacks, has []string
	for _, m := range list.Data {
		has = append(has, m.ID)
	}
	for _, m := range x.server.Models {
		if slices.Contains(has, m.Name) || slices.Contains(has, m.Name+":latest") {
			up = append(up, m)
			continue
		}
		lacks = append(lacks, m.Name)
	}
	if len(lacks) > 0 {
		why = fmt.Errorf("the server of models at %s has no %s; it has %.200s", x.base.Host, strings.Join(lacks, ", "), strings.Join(has, ", "))
	}
	return up, why
}

func (x *models) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, x.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if x.server.Key != "" {
		r.Header.Set("Authorization", "Bearer "+x.server.Key)
	}
	res, err := x.http.Do(r)
	var of *url.Error // its URL says nothing to whoever reads this
	if errors.As(err, &of) {
		err = of.Err
	}
	return res, err
}

// Prepare implements Executor: a model is there or not.
func (x *models) Prepare(_ context.Context, t *Task) error {
	if _, ok := x.served(t.Job.Profile); !ok {
		return types.Refuse(compute.ModelDown, "compute: profile %.100q is not offered any more", t.Job.Profile)
	}
	return nil
}

// tokens is what a run of requests costs, in units. What was said never falls: what an answer turned out to
// cost less is there for the next one.
type tokens struct {
	model Served
	exact uint64 // of the answers that are over
	said  uint64
}

func (a *tokens) units(u openai.Usage) uint64 {
	return uint64(a.model.Prompt)*u.Prompt + uint64(a.model.Completion)*u.Completion
}

// Run implements Executor.
func (x *models) Run(ctx context.Context, t *Task) (*compute.Result, compute.Files, error) {
	m, ok := x.served(t.Job.Profile)
	if !ok || t.talk == nil {
		return nil, nil, errNoTalk
	}
	a := &tokens{model: m}
	for a.said < t.Job.Limit {
		if err := x.await(ctx, t, a); err != nil {
			return nil, nil, err
		}
		e, err := t.talk.Next(ctx)
		if err != nil {
			return nil, nil, err
		}
		if e == nil {
			break
		}
		if err := x.serve(t, a, e); err != nil {
			return nil, nil, err
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
	}
	return &compute.Result{Stdout: compute.Nothing, Stderr: compute.Nothing, Output: compute.Files{}.Root(), Fuel: a.said}, nil, nil
}

// claim says what an answer costs so far.
func (x *models) claim(t *Task, a *tokens, answer *openai.Answer, over bool) {
	units := a.exact + a.units(answer.Charge(over))
	if over {
		a.exact = units
	}
	if units > a.said {
		a.said = units
		t.Meter.Used(units)
	}
}

// await waits while the account owes as much as it may.
func (x *models) await(ctx context.Context, t *Task, a *tokens) error {
	for {
		allowed, more := t.Meter.Allowed()
		if a.said < allowed {
			return nil
		}
		select {
		case t.talk.hurry <- struct{}{}:
		default:
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// serve answers one request. Its errors end the job; what is wrong with the request or the server, the gateway
// is told.
func (x *models) serve(t *Task, a *tokens, e *exchange) error {
	r, err := openai.Parse(e.path, e.body)
	if err == nil && r.Model != a.model.ID {
		err = fmt.Errorf("model %.100q in a job of model %q", r.Model, a.model.ID)
	}
	if err != nil { // the gateway has looked at it before
		return e.done(types.Refuse(compute.Policy, "%v", err))
	}
	begin := x.server.Whole
	if r.Stream {
		begin = x.server.FirstByte
	}
	ctx, cancel := context.WithCancelCause(e.ctx)
	defer cancel(nil)
	late := time.AfterFunc(begin, func() {
		cancel(types.Refuse(compute.ModelFailed, "the server of models did not begin to answer within %v", begin))
	})
	defer late.Stop()
	why := func(err error) error {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
		return types.Refuse(compute.ModelFailed, "%v", err)
	}
	answer := openai.NewAnswer(r, r.Stream)
	res, err := x.do(ctx, "POST", e.path, r.Upstream(a.model.Name))
	if err != nil {
		if e.ctx.Err() == nil {
			x.failed()
			return e.done(types.Refuse(compute.ModelDown, "the server of models does not answer: %v", why(err)))
		}
		x.claim(t, a, answer, true) // it may have read the prompt
		return e.done(errCancelled)
	}
	defer res.Body.Close()
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode != http.StatusOK {
		return x.problem(e, res, kind)
	}
	if r.Stream && kind != "text/event-stream" {
		return e.done(types.Refuse(compute.ModelFailed, "the server of models answers with %.60q instead of a stream", kind))
	}
	buf, first := make([]byte, 16<<10), true
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			late.Reset(x.server.Between)
			if _, e2 := answer.Write(buf[:n]); e2 != nil { // what it counted of these bytes never came to the gateway
				return e.done(types.Refuse(compute.ModelFailed, "%v", e2))
			}
			if r.Stream {
				if first {
					if err := e.head(http.StatusOK, kind); err != nil {
						return err
					}
					first = false
				}
				if err := e.data(buf[:n]); err != nil {
					return err
				}
				x.claim(t, a, answer, false)
				late.Stop() // a customer's gateway has a time of its own to pay
				if err := x.await(ctx, t, a); err != nil && t.talk.j.ctx.Err() != nil {
					return err
				}
				late.Reset(x.server.Between)
			}
		}
		if answer.Ended || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if !first || e.ctx.Err() != nil { // else the gateway has no part of an answer, and pays for none
				x.claim(t, a, answer, true)
			}
			if e.ctx.Err() != nil {
				return e.done(errCancelled)
			}
			x.failed()
			return e.done(why(err))
		}
	}
	if r.Stream && !answer.Ended {
		if !first {
			x.claim(t, a, answer, true)
		}
		return e.done(types.Refuse(compute.ModelFailed, "the server of models ended the stream before its end"))
	}
	if !r.Stream {
		raw, err := answer.Whole()
		if err != nil {
			return e.done(types.Refuse(compute.ModelFailed, "%v", err))
		}
		if err := e.head(http.StatusOK, "application/json"); err != nil {
			return err
		}
		if err := e.data(raw); err != nil {
			return err
		}
		err = e.done(nil) // before the claim: the gateway counts its text once it is whole
		x.claim(t, a, answer, true)
		return err
	}
	x.claim(t, a, answer, true)
	return e.done(nil)
}

// problem passes on what a server says of a request that it does not take. What it says of itself or of the
// owner's key is the owner's affair.
func (x *models) problem(e *exchange, res *http.Response, kind string) error {
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	switch s := res.StatusCode; {
	case err != nil:
		return e.done(types.Refuse(compute.ModelFailed, "%v", err))
	case s == http.StatusTooManyRequests || s == http.StatusServiceUnavailable:
		return e.done(types.Refuse(compute.Busy, "the server of models is busy"))
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s < 400, s >= 500, kind != "application/json" || !json.Valid(raw):
		x.failed()
		return e.done(types.Refuse(compute.ModelFailed, "the server of models answers %d", s))
	}
	if err := e.head(res.StatusCode, kind); err != nil {
		return err
	}
	if err := e.data(raw); err != nil {
		return err
	}
	return e.done(nil)
}

// away reports whether a model that the owner offers is not there now.
func (x *models) away(profile string) bool {
	_, ok := x.served(profile)
	return ok && !slices.ContainsFunc(x.Profiles(), func(p compute.Profile) bool { return p.Name == profile })
}

// offerModels has the device serve a server's models.
func (d *device) offerModels(s ModelServer) error {
	m, err := newModels(s)
	if err != nil {
		return err
	}
	m.changed = func() {
		d.mu.Lock()
		d.tell()
		d.mu.Unlock()
		select {
		case d.remodel <- struct{}{}:
		default:
		}
	}
	d.models, d.executors[compute.Model] = m, m
	return nil
}
