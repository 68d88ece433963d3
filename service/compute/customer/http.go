package customer

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

const (
	maxName   = 256
	maxListed = 1000
)

// Input is something that jobs read.
type Input struct {
	Hash  string `json:"hash"` // SHA-256, in hexadecimal
	Bytes uint64 `json:"bytes"`
}

// JobFile is a file that a job finds.
type JobFile struct {
	Path  string `json:"path"`
	Hash  string `json:"hash"`
	Bytes uint64 `json:"bytes,omitempty"`
}

// Submit is what runs, and on what. Everything but the code may be left out.
type Submit struct {
	Code    string    `json:"code,omitempty"`  // hash of an uploaded module
	Image   string    `json:"image,omitempty"` // of class oci: NAME[:TAG] or NAME@sha256:DIGEST in the gateway's registry
	Name    string    `json:"name,omitempty"`
	Args    []string  `json:"args,omitempty"` // without the program's own name, which is Name, or "job"
	Env     []string  `json:"env,omitempty"`  // NAME=value
	Stdin   string    `json:"stdin,omitempty"`
	Files   []JobFile `json:"files,omitempty"`
	Limit   uint64    `json:"limit,omitempty"`   // units of the class; default 10^10 fuel, 60,000 slot·ms
	Pages   uint32    `json:"pages,omitempty"`   // of 64 KiB; default 4,096
	Price   uint64    `json:"price,omitempty"`   // the most, in micro-credits; default 20 for 10^9 fuel, 40,000 for a slot's hour
	Quality types.Bp  `json:"quality,omitempty"` // the least
	Private bool      `json:"private,omitempty"` // nobody but the device sees it, and nobody runs it again
	Near    []string  `json:"near,omitempty"`    // H3 cells
	Profile string    `json:"profile,omitempty"` // wasm/1 (the default), oci/1
	Slots   uint32    `json:"slots,omitempty"`   // of class oci; default 1
	Ports   []uint16  `json:"ports,omitempty"`   // of class oci: those on which its program is to be reached, at most 4
	Egress  []string  `json:"egress,omitempty"`  // of class oci: HOST:PORT that it has to be able to reach; else only what the device allows anyway
}

// Placement is the answer to a job that is submitted.
type Placement struct {
	ID       string         `json:"id"`
	State    State          `json:"state"`
	Device   string         `json:"device"`
	Price    uint64         `json:"price"` // micro-credits for 10^9 fuel
	MaxCost  types.Credit   `json:"max_cost,string"`
	PassedBy map[string]int `json:"passed_over"`
}

// JobState is a job as it is.
type JobState struct {
	ID      string         `json:"id"`
	Name    string         `json:"name,omitempty"`
	State   State          `json:"state"`
	Created time.Time      `json:"created"`
	Ended   *time.Time     `json:"ended,omitempty"`
	Device  string         `json:"device,omitempty"`
	Tries   int            `json:"tries"`
	Price   uint64         `json:"price"`
	Limit   uint64         `json:"limit"`
	Fuel    uint64         `json:"fuel"`
	Paid    types.Credit   `json:"paid,string"` // micro-credits, of all tries
	Stdout  uint64         `json:"stdout"`      // bytes
	Stderr  uint64         `json:"stderr"`
	Ports   []uint16       `json:"ports,omitempty"`
	Exit    *uint32        `json:"exit,omitempty"`
	Reason  types.Reason   `json:"reason,omitempty"`
	Message string         `json:"message,omitempty"`
	Passed  map[string]int `json:"passed_over"`
}

// JobResult is how a job ended, with what its device signed.
type JobResult struct {
	JobState
	Job    string     `json:"job"`           // its hash
	Result string     `json:"result"`        // SHA-256 of the result
	Hashes [2]string  `json:"output_hashes"` // of standard output and standard error
	Root   string     `json:"files_root"`    // what the result says of the files
	Files  []LeftFile `json:"files,omitempty"`
	Unkept bool       `json:"files_unkept,omitempty"` // the gateway had no room for them
	Leaf   string     `json:"leaf,omitempty"`         // what the device signed, in hexadecimal
}

// Quote is what a job would be placed for now.
type Quote struct {
	Device   string         `json:"device"`
	Price    uint64         `json:"price"`
	Ask      uint64         `json:"ask"`                // of that device
	Next     *uint64        `json:"next_ask,omitempty"` // of the next one, of another owner, by which the price is made
	MaxCost  types.Credit   `json:"max_cost,string"`
	Mode     string         `json:"mode"`             // public: drawn verifiers may run it again
	Egress   []string       `json:"egress,omitempty"` // what containers may reach there
	PassedBy map[string]int `json:"passed_over"`
}

// MarketAsk is what one device asks.
type MarketAsk struct {
	Device  string   `json:"device"`
	Class   string   `json:"class"`
	Model   string   `json:"model,omitempty"` // of class model: one line for each that the device offers
	Price   uint64   `json:"price"`           // of class model, for 10^6 tokens, three in four of them of prompts
	Free    uint32   `json:"free"`            // slots
	Quality types.Bp `json:"quality"`
	Cell    string   `json:"cell,omitempty"`
	// Cost is what a job of limit units would cost at that price, and Passed why the device would be passed
	// over for it now.
	Cost   types.Credit `json:"cost,string"`
	Passed string       `json:"passed_over,omitempty"`
	// Egress is what containers may reach there: HOST:PORT, *.DOMAIN:PORT or NETWORK:PORT.
	Egress []string `json:"egress,omitempty"`
}

func (c *Customer) routes() []role.Route {
	return append(c.portRoutes(), []role.Route{
		{Method: "POST", Path: "/inputs", Summary: "Keep the body for jobs to read, by its SHA-256; what no job uses makes room in time", Status: http.StatusCreated, In: []byte(nil), Out: Input{}, Serve: c.serveInput},
		{Method: "POST", Path: "/jobs", Summary: "Run a job: a JSON body names an uploaded module, any other body is the module itself and the query says the rest (arg, env and file=PATH:HASH more than once). Idempotency-Key is taken",
			Query: []string{"name", "arg", "env", "stdin", "file", "limit", "pages", "price", "quality", "private", "near"}, Status: http.StatusCreated, In: []byte(nil), Out: Placement{}, Serve: c.serveSubmit},
		{Method: "GET", Path: "/jobs", Summary: "List the account's jobs, the newest first", Query: []string{"limit"}, Out: []JobState(nil), Serve: c.serveList},
		{Method: "GET", Path: "/jobs/{id}", Summary: "How a job is", Out: JobState{}, Serve: c.serveJob},
		{Method: "GET", Path: "/jobs/{id}/logs", Summary: "What a job wrote (stream: stdout or stderr), from an offset on; follow=1 goes on until it has ended", Query: []string{"stream", "offset", "follow"}, Out: []byte(nil), Serve: c.serveLogs},
		{Method: "GET", Path: "/jobs/{id}/result", Summary: "How a job ended, with what its device signed; wait=1 waits for that", Query: []string{"wait"}, Out: JobResult{}, Serve: c.serveResult},
		{Method: "GET", Path: "/jobs/{id}/files", Summary: "Which files a job left: name, SHA-256 and length; found says that the job found one and left it as it was",
			Out: []LeftFile(nil), Serve: c.serveFiles},
		{Method: "GET", Path: "/jobs/{id}/files/{name...}", Summary: "A file that a job left; Range is taken, and the Etag is its SHA-256", Out: []byte(nil), Serve: c.serveFile},
		{Method: "DELETE", Path: "/jobs/{id}", Summary: "Cancel a job; one that has ended is forgotten", Out: JobState{}, Serve: c.serveCancel},
		{Method: "POST", Path: "/quotes", Summary: "Which device would run a job now, and for how much", In: Submit{}, Out: Quote{}, Serve: c.serveQuote},
		{Method: "GET", Path: "/market", Summary: "What devices ask now, by class, best first; what a job of limit units would cost at that, and which of them would be passed over for one of such a price and quality, and why", Open: true, Query: []string{"class", "limit", "price", "quality"}, Out: []MarketAsk(nil), Serve: c.serveMarket},
	}...)
}

func (c *Customer) serveInput(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	h, n, err := c.upload(r, wallet.Account(), compute.MaxInputs)
	if err != nil {
		return err
	}
	c.inputs.Unpin(h)
	return role.Reply(w, http.StatusCreated, Input{h.String(), n})
}

// upload keeps a request's body, pinned.
func (c *Customer) upload(r *http.Request, account types.Account, limit uint64) (types.Hash, uint64, error) {
	if r.ContentLength > int64(limit) {
		return types.Hash{}, 0, types.Refuse(compute.TooLarge, "compute: %d bytes, at most %d", r.ContentLength, limit)
	}
	h, n, err := c.inputs.AddFor(account, r.Body, limit)
	switch {
	case types.ReasonOf(err) == types.Oversize:
		return h, n, types.Refuse(compute.TooLarge, "compute: %v", err)
	case err != nil && types.ReasonOf(err) == "":
		return h, n, types.Refuse(role.BadRequest, "compute: the body broke off: %v", err)
	case err == nil && r.ContentLength >= 0 && n != uint64(r.ContentLength):
		c.inputs.Unpin(h)
		return h, n, types.Refuse(role.BadRequest, "compute: %d bytes came of %d", n, r.ContentLength)
	}
	return h, n, err
}

// pins are inputs that a request has pinned.
type pins struct {
	c       *Customer
	account types.Account
	list    []size
}

// add pins an input that was uploaded.
func (p *pins) add(text string) (types.Hash, uint64, error) {
	h, err := types.ParseHash(text)
	if err != nil {
		return h, 0, types.Refuse(role.BadRequest, "compute: %.80q is no SHA-256", text)
	}
	if h == compute.Nothing {
		return h, 0, nil
	}
	for _, s := range p.list {
		if s.Hash == h {
			return h, s.Size, nil
		}
	}
	if !p.c.inputs.Pin(h) {
		return h, 0, types.Refuse(compute.InputMissing, "compute: input %v was not uploaded here, or made room since", h)
	}
	n, _ := p.c.inputs.Size(h)
	p.list = append(p.list, size{h, n})
	return h, n, nil
}

func (p *pins) drop() {
	for _, s := range p.list {
		p.c.inputs.Unpin(s.Hash)
	}
}

// isJSON reports whether a request says that its body is JSON.
func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

func (c *Customer) serveSubmit(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	key := r.Header.Get("Idempotency-Key")
	if err := role.CheckText("Idempotency-Key", key, maxName); err != nil {
		return err
	}
	if key != "" {
		end, err := c.begin(wallet.Account(), key)
		if err != nil {
			return err
		}
		defer end()
		if id, ok := c.books.named(wallet.Account(), key); ok {
			rec, err := c.record(wallet.Account(), id)
			if err != nil {
				return err
			}
			return role.Reply(w, http.StatusOK, placement(rec))
		}
	}
	p := &pins{c: c, account: wallet.Account()}
	ask, err := c.asked(r, p)
	if err == nil {
		var s *submitted
		if s, err = c.check(wallet.Account(), ask, p); err == nil {
			s.key = key
			var j *job
			if j, err = c.submit(r.Context(), wallet, s); err == nil {
				rec, _ := j.snapshot()
				return role.Reply(w, http.StatusCreated, placement(&rec))
			}
		}
	}
	p.drop()
	var n *notPlaced
	if errors.As(err, &n) && n.job != nil && types.ReasonOf(err) == compute.NoMatch {
		rec, _ := n.job.snapshot()
		return passedOver(w, err, rec.Passed)
	}
	return err
}

// begin has only one submission of an Idempotency-Key going on at a time.
func (c *Customer) begin(account types.Account, key string) (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := string(idempotency(account, key))
	if c.keys[k] {
		return nil, types.Refuse(role.Busy, "compute: a job with this Idempotency-Key is being submitted")
	}
	c.keys[k] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.keys, k)
	}, nil
}

// passedOver answers with a refusal that counts why devices were passed over.
func passedOver(w http.ResponseWriter, err error, passed map[string]int) error {
	info := role.Info(types.ReasonOf(err), compute.New().Spec.Reasons...)
	return role.Reply(w, info.Status, struct {
		role.Problem
		Passed map[string]int `json:"passed_over"`
	}{role.Problem{Reason: info.Reason, Message: err.Error() + ": " + counts(passed), Try: info.Try}, passed})
}

// counts says for people why devices were passed over.
func counts(passed map[string]int) string {
	if len(passed) == 0 {
		return "no device offers this"
	}
	var list []string
	for why, n := range passed {
		list = append(list, fmt.Sprintf("%d %s", n, why))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// asked reads what a request wants to run.
func (c *Customer) asked(r *http.Request, p *pins) (*Submit, error) {
	s := new(Submit)
	if isJSON(r) {
		d := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
		d.DisallowUnknownFields()
		if err := d.Decode(s); err != nil {
			return nil, types.Refuse(role.BadRequest, "compute: %v", err)
		}
		return s, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, types.Refuse(role.BadRequest, "compute: %v", err)
	}
	number := func(name string, most uint64) uint64 {
		n, e := role.Number(r, name, 0, most)
		err = errors.Join(err, e)
		return n
	}
	s.Name, s.Args, s.Env, s.Stdin = q.Get("name"), q["arg"], q["env"], q.Get("stdin")
	s.Limit, s.Pages, s.Price = number("limit", compute.MaxFuel), uint32(number("pages", compute.MaxPages)), number("price", 1<<40)
	s.Quality, s.Near, s.Private = types.Bp(number("quality", 10_000)), q["near"], q.Get("private") != "" && q.Get("private") != "0"
	for _, f := range q["file"] {
		path, hash, ok := cutLast(f, ":")
		if !ok {
			return nil, types.Refuse(role.BadRequest, "compute: file %.100q: want PATH:HASH", f)
		}
		s.Files = append(s.Files, JobFile{Path: path, Hash: hash})
	}
	if err != nil {
		return nil, err
	}
	if r.ContentLength == 0 {
		return nil, types.Refuse(role.BadRequest, "compute: no module came: send it as the body")
	}
	h, n, err := c.upload(r, p.account, compute.MaxModule)
	if err != nil {
		return nil, err
	}
	p.list = append(p.list, size{h, n})
	s.Code = h.String()
	return s, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// check makes a job of what was asked for.
func (c *Customer) check(account types.Account, a *Submit, p *pins) (*submitted, error) {
	if err := role.CheckText("name", a.Name, maxName); err != nil {
		return nil, err
	}
	profile, class, err := profileOf(a)
	if err != nil {
		return nil, err
	}
	def := defaultsOf(class)
	or := func(n, otherwise uint64) uint64 {
		if n == 0 {
			return otherwise
		}
		return n
	}
	s := &submitted{name: a.Name, want: want{Slots: uint32(or(uint64(a.Slots), 1)), Price: or(a.Price, def.price), Quality: a.Quality, Mode: compute.Public}}
	if a.Private {
		s.want.Mode = compute.Private
	}
	for _, text := range a.Near {
		cell, err := types.ParseCell(text)
		if err != nil {
			return nil, types.Refuse(role.BadRequest, "compute: near: %v", err)
		}
		s.want.Near = append(s.want.Near, cell)
	}
	if len(s.want.Near) > role.MaxNear {
		return nil, types.Refuse(role.BadRequest, "compute: near %d cells, at most %d", len(s.want.Near), role.MaxNear)
	}
	if s.want.Ports, err = portsOf(a, class); err != nil {
		return nil, err
	}
	if s.want.Egress, err = egressOf(a, class); err != nil {
		return nil, err
	}
	code, err := c.code(account, class, a, p)
	if err != nil {
		return nil, err
	}
	program := a.Name
	if program == "" {
		program = "job"
	}
	s.job = compute.Job{
		Profile: profile, Code: code, Args: append([]string{program}, a.Args...), Env: append([]string{}, a.Env...), Stdin: compute.Nothing,
		Limit: or(a.Limit, def.limit), Pages: uint32(or(uint64(a.Pages), uint64(def.pages))),
	}
	for _, list := range [][]string{s.job.Args, s.job.Env} {
		for _, text := range list {
			if strings.ContainsRune(text, 0) {
				return nil, types.Refuse(role.BadRequest, "compute: an argument or entry of the environment with a zero byte")
			}
		}
	}
	for _, e := range s.job.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return nil, types.Refuse(role.BadRequest, "compute: env %.80q: want NAME=value", e)
		}
	}
	if a.Stdin != "" {
		if s.job.Stdin, _, err = p.add(a.Stdin); err != nil {
			return nil, err
		}
	}
	s.files = compute.Files{}
	for _, f := range a.Files {
		h, n, err := p.add(f.Hash)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, compute.File{Path: f.Path, Size: n, Hash: h})
	}
	slices.SortFunc(s.files, func(a, b compute.File) int { return strings.Compare(a.Path, b.Path) })
	s.job.Input = s.files.Root()
	s.sizes = p.list
	return s, c.fits(s)
}

// fits refuses what no device would be sent: a job beyond the profile's limits, files that can't be.
func (c *Customer) fits(s *submitted) error {
	call := &compute.Call{Job: s.job, Files: s.files, Order: compute.SignedOrder{Order: compute.Order{Job: s.job.Hash(), Class: compute.ClassOf(s.job.Profile)}}}
	for _, in := range s.sizes {
		call.Inputs = append(call.Inputs, compute.Input{Hash: in.Hash, Size: in.Size})
	}
	slices.SortFunc(call.Inputs, func(a, b compute.Input) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	if n := len(call.Encode()); n > compute.MaxInline/2 {
		return types.Refuse(compute.TooLarge, "compute: arguments, environment and the list of files take %d bytes, at most %d", n, compute.MaxInline/2)
	}
	return call.Check()
}

func placement(r *record) Placement {
	p := Placement{ID: r.ID.String(), State: r.State, PassedBy: r.Passed}
	if p.PassedBy == nil {
		p.PassedBy = map[string]int{}
	}
	if n := len(r.Tries); n > 0 {
		t := r.Tries[n-1]
		p.Device, p.Price, p.MaxCost = t.Device.String(), t.Price, cost(r.Job.Limit, t.Price, compute.ClassOf(r.Job.Profile))
	}
	return p
}

// cost is what so many units of a class cost at a price.
func cost(units, price uint64, class types.Class) types.Credit {
	full, err := types.U64(units).MulDiv(price, compute.Scale(class))
	if n, ok := full.Uint64(); err == nil && ok {
		return types.Credit(n)
	}
	return ^types.Credit(0)
}

func (c *Customer) describe(r *record) JobState {
	s := JobState{
		ID: r.ID.String(), Name: r.Name, State: r.State, Created: time.UnixMilli(r.Created).UTC(), Tries: len(r.Tries), Limit: r.Job.Limit,
		Fuel: r.Fuel, Paid: r.Paid, Reason: r.Reason, Message: r.Message, Passed: r.Passed, Ports: r.Want.Ports,
	}
	if s.Passed == nil {
		s.Passed = map[string]int{}
	}
	if n := len(r.Tries); n > 0 {
		s.Device, s.Price = r.Tries[n-1].Device.String(), r.Tries[n-1].Price
	}
	if r.Ended > 0 {
		t := time.UnixMilli(r.Ended).UTC()
		s.Ended = &t
	}
	if r.Result != nil && r.Result.Trap == "" {
		s.Exit = &r.Result.Exit
	}
	if out, close, err := c.outputs(r); err == nil {
		s.Stdout, _ = out.Size(spool.Stdout)
		s.Stderr, _ = out.Size(spool.Stderr)
		close()
	}
	return s
}

// outputs opens what a job wrote. close is to be called afterwards.
func (c *Customer) outputs(r *record) (out *spool.Outputs, close func(), err error) {
	if j := c.find(r.Account, r.ID); j != nil {
		return j.out, func() {}, nil
	}
	if out, err = spool.ReadOutputs(c.dir(r.ID)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, types.Refuse(compute.NoJob, "compute: the output of job %s is forgotten", r.ID)
	} else if err != nil {
		return nil, nil, err
	}
	return out, func() { _ = out.Close() }, nil // was only read
}

func (c *Customer) serveList(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	limit, err := role.Number(r, "limit", 100, maxListed)
	if err != nil {
		return err
	}
	var all []*record
	if err := c.books.each(wallet.Account(), func(r *record) { all = append(all, r) }); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b *record) int { return int(b.Created - a.Created) })
	list := []JobState{}
	for _, r := range all[:min(len(all), int(limit))] {
		if j := c.find(r.Account, r.ID); j != nil {
			now, _ := j.snapshot()
			r = &now
		}
		list = append(list, c.describe(r))
	}
	return role.Reply(w, http.StatusOK, list)
}

// named returns the job that a request's path names.
func (c *Customer) named(r *http.Request, wallet role.Wallet) (*record, error) {
	var id ID
	if err := id.UnmarshalText([]byte(r.PathValue("id"))); err != nil {
		return nil, err
	}
	return c.record(wallet.Account(), id)
}

func (c *Customer) serveJob(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.named(r, wallet)
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, c.describe(rec))
}

func (c *Customer) serveLogs(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.named(r, wallet)
	if err != nil {
		return err
	}
	stream := spool.Stdout
	if name := role.Query(r, "stream"); name != "" {
		var ok bool
		if stream, ok = spool.ParseStream(name); !ok {
			return types.Refuse(role.BadRequest, "compute: stream %.40q: want stdout or stderr", name)
		}
	}
	at, err := role.Number(r, "offset", 0, 1<<62)
	if err != nil {
		return err
	}
	follow := role.Query(r, "follow")
	out, closer, err := c.outputs(rec)
	if err != nil {
		return fmt.Errorf("compute: outputs: %w", err)
	}
	defer closer()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	ctx := r.Context()
	if follow == "" || follow == "0" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel() // what is there, and no waiting
	}
	buf := make([]byte, 32<<10)
	control := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	for {
		n, err := out.ReadAt(ctx, stream, buf, at)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return nil // whoever asked is gone
			}
			at += uint64(n)
			if n < len(buf) {
				_ = control.Flush()
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, context.Canceled):
			return nil
		case err != nil: // the head is out: only a break says that this is not all
			panic(http.ErrAbortHandler)
		}
	}
}

func (c *Customer) serveResult(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.named(r, wallet)
	if err != nil {
		return err
	}
	if wait := role.Query(r, "wait"); wait != "" && wait != "0" {
		if j := c.find(rec.Account, rec.ID); j != nil {
			if rec, err = j.wait(r.Context()); err != nil {
				return err
			}
		}
	}
	if !rec.State.Ended() {
		return types.Refuse(role.NotFound, "compute: job %v has not ended: it is %s", rec.ID, rec.State)
	}
	res := JobResult{JobState: c.describe(rec), Job: rec.Job.Hash().String(), Leaf: hex.EncodeToString(rec.Leaf)}
	if rec.Result != nil {
		res.Result, res.Hashes = rec.Result.Hash().String(), [2]string{rec.Result.Stdout.String(), rec.Result.Stderr.String()}
		res.Root = rec.Result.Output.String()
	}
	if list, err := c.filesOf(rec); err == nil && len(list) > 0 { // else the output is forgotten
		res.Files, res.Unkept = shown(list), rec.Unkept
	}
	return role.Reply(w, http.StatusOK, res)
}

// wait returns the job once it has ended.
func (j *job) wait(ctx context.Context) (*record, error) {
	for {
		j.mu.Lock()
		rec, ended, more := j.copy(), j.ended, j.more
		j.mu.Unlock()
		if ended {
			return &rec, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Customer) serveCancel(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.named(r, wallet)
	if err != nil {
		return err
	}
	j := c.find(rec.Account, rec.ID)
	if j == nil {
		state := c.describe(rec)
		if err := errors.Join(c.books.forget(rec), c.removeOutputs(rec.ID)); err != nil {
			return err
		}
		return role.Reply(w, http.StatusOK, state)
	}
	j.cancel(errCancelled)
	ctx, cancel := context.WithTimeout(r.Context(), lostAfter+time.Second)
	defer cancel()
	if ended, err := j.wait(ctx); err == nil {
		rec = ended
	}
	return role.Reply(w, http.StatusOK, c.describe(rec))
}

func (c *Customer) serveQuote(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	p := &pins{c: c, account: wallet.Account()}
	defer p.drop()
	a := new(Submit)
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(a); err != nil && !errors.Is(err, io.EOF) {
		return types.Refuse(role.BadRequest, "compute: %v", err)
	}
	_, class, err := profileOf(a)
	if err != nil {
		return err
	}
	def := defaultsOf(class)
	need := match.Need{Account: wallet.Account(), Class: class, Slots: max(a.Slots, 1), Price: types.Credit(a.Price), Quality: a.Quality, Epoch: c.market.Notice().Epoch, Now: c.now()}
	limit := a.Limit
	if limit == 0 {
		limit = def.limit
	}
	if need.Price == 0 {
		need.Price = types.Credit(def.price)
	}
	egress, err := egressOf(a, class)
	if err != nil {
		return err
	}
	need.Reach = reaches(egress)
	if a.Code != "" || a.Image != "" {
		s, err := c.check(wallet.Account(), a, p)
		if err != nil {
			return err
		}
		need.Job, need.Near = s.job.Hash(), s.want.Near
	}
	found, ok := c.book.Find(&need)
	if !ok {
		return passedOver(w, types.Refuse(compute.NoMatch, "compute: %d devices were passed over", found.Passed.Total()), found.Passed.Map())
	}
	q := Quote{Device: found.Ask.Device.String(), Price: uint64(found.Price), Ask: uint64(found.Ask.Price), MaxCost: cost(limit, uint64(found.Price), class), Mode: "public", Egress: strings.Fields(found.Ask.Egress), PassedBy: found.Passed.Map()}
	if a.Private {
		q.Mode = "private"
	}
	if found.Next != nil {
		next := uint64(found.Next.Price)
		q.Next = &next
	}
	return role.Reply(w, http.StatusOK, q)
}

func (c *Customer) serveMarket(w http.ResponseWriter, r *http.Request, _ role.Wallet) error {
	of := role.Query(r, "class")
	limit, err := role.Number(r, "limit", 0, compute.MaxFuel)
	if err != nil {
		return err
	}
	price, err := role.Number(r, "price", 1<<40, 1<<40)
	if err != nil {
		return err
	}
	quality, err := role.Number(r, "quality", 0, 10_000)
	if err != nil {
		return err
	}
	list := []MarketAsk{}
	known := of == ""
	for _, class := range sold {
		if of != "" && of != className(class) {
			continue
		}
		known = true
		units := limit
		if units == 0 {
			units = defaultsOf(class).limit
		}
		need := &match.Need{Class: class, Slots: 1, Price: types.Credit(price), Quality: types.Bp(quality), Epoch: c.market.Notice().Epoch, Now: c.now()}
		for _, a := range c.book.Look(need, maxListed) {
			m := MarketAsk{Device: a.Device.String(), Class: className(class), Price: uint64(a.Price), Free: a.Free, Quality: a.Quality,
				Cost: cost(units, uint64(a.Price), class), Egress: strings.Fields(a.Egress)}
			if a.Passed {
				m.Passed = a.Why.String()
			}
			if a.Cell != 0 {
				m.Cell = a.Cell.String()
			}
			list = append(list, m)
		}
	}
	if of == "" || of == className(compute.Model) {
		known = true
		list = append(list, c.modelMarket(price, types.Bp(quality), limit, maxListed-min(len(list), maxListed))...)
	}
	if !known {
		return types.Refuse(role.BadRequest, "compute: class %.40q is not sold here", of)
	}
	return role.Reply(w, http.StatusOK, list)
}

// modelMarket is what devices ask for language models, a line for each model: prices are of 10⁶ tokens, of
// which three in four are of prompts.
func (c *Customer) modelMarket(price uint64, quality types.Bp, limit uint64, most int) (list []MarketAsk) {
	if limit == 0 {
		limit = compute.Scale(compute.Model)
	}
	for _, id := range c.shelves.models() {
		book := c.shelves.book(compute.ModelProfile + id)
		if book == nil || len(list) >= most {
			continue
		}
		need := &match.Need{Class: compute.Model, Slots: 1, Price: types.Credit(4*price + 3), Quality: quality, Epoch: c.market.Notice().Epoch, Now: c.now()}
		for _, a := range book.Look(need, most-len(list)) {
			m := MarketAsk{Device: a.Device.String(), Class: className(compute.Model), Model: id, Price: uint64(a.Price) / 4, Free: a.Free, Quality: a.Quality,
				Cost: cost(limit, uint64(a.Price)/4, compute.Model)}
			if a.Passed {
				m.Passed = a.Why.String()
			}
			list = append(list, m)
		}
	}
	return list
}

func className(class types.Class) string {
	for _, k := range compute.New().Spec.Classes {
		if k.Class == class {
			return k.Name
		}
	}
	return strconv.Itoa(int(class))
}
