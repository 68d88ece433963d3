package customer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

// verbs makes the commands of `cairn job`.
type verbs struct{ command.Shell }

// commands makes the noun.
func commands(shell command.Shell) *cobra.Command {
	v := verbs{shell}
	c := &cobra.Command{
		Use: "job", Short: "Run programs on devices of strangers, who are paid by what they ran",
		Example: "  cairn job run sort.wasm -r < names.txt\n  cairn job list\n  cairn job quote",
	}
	run := &cobra.Command{Use: "run FILE.wasm [ARG]…", Short: "Run a WebAssembly program: its output comes as if it ran here, and so does its exit code", RunE: v.run,
		Long: "FILE.wasm is a program for wasm32-wasi (preview 1), as clang, Rust and Go make them. Standard input is read to its end first, unless it is a terminal.\n" +
			"What comes behind FILE is the program's own. Interrupting the command cancels the job.\n" +
			"With --oci IMAGE a container runs instead, of an image in the gateway's registry; all arguments are its program's.",
		Example: "  cairn job run sort.wasm -r < names.txt\n  cairn job run --file data.csv --limit 50000000000 stats.wasm data.csv\n" +
			"  cairn job run --file in.csv --files out convert.wasm in.csv\n" +
			"  cairn job run --oci busybox:latest echo hello"}
	submit := &cobra.Command{Use: "submit FILE.wasm [ARG]…", Short: "Begin a job, and do not wait for it", RunE: v.submit,
		Example: "  cairn job submit --name nightly stats.wasm"}
	for _, c := range []*cobra.Command{run, submit} {
		f := c.Flags()
		f.SetInterspersed(false)
		v.limits(c)
		f.StringArray("env", nil, "NAME=value in the program's environment; may be given more than once")
		f.StringArray("file", nil, "file that the program finds under its name, or LOCAL:PATH under another; may be given more than once")
		f.String("name", "", "name under which the job is listed (default the module's)")
		f.String("oci", "", "run a container of this image in the gateway's registry: NAME[:TAG] or NAME@sha256:DIGEST")
		f.UintSlice("port", nil, "port on which the container's program is to be reached: cairn job forward; may be given more than once")
		f.StringArray("near", nil, "only devices in this H3 cell; may be given more than once")
	}
	filesFlag(run)
	quote := &cobra.Command{Use: "quote", Short: "Show which device would take a job now, and at what price", Args: command.Exactly(v), RunE: v.quote}
	v.limits(quote)
	quote.Flags().String("oci", "", "a container of this image")
	logs := &cobra.Command{Use: "logs ID", Short: "Show what a job wrote", Args: command.Exactly(v, "ID"), RunE: v.logs, Example: "  cairn job logs -f 3f9c…"}
	logs.Flags().BoolP("follow", "f", false, "go on until the job has ended")
	logs.Flags().Bool("stderr", false, "standard error instead of standard output")
	logs.Flags().Uint64("offset", 0, "leave out so many bytes")
	result := &cobra.Command{Use: "result ID", Short: "Show how a job ended, with what its device signed, and fetch the files that it left",
		Example: "  cairn job result --wait --files out 3f9c…", Args: command.Exactly(v, "ID"), RunE: v.result}
	result.Flags().Bool("wait", false, "wait until it has ended")
	filesFlag(result)
	forward := v.forwardCommand()
	cancel := &cobra.Command{Use: "cancel ID", Short: "Cancel a job, or forget one that has ended", Args: command.Exactly(v, "ID"), RunE: v.cancel}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List jobs, the newest first", Args: command.Exactly(v), RunE: v.list}
	for _, verb := range []*cobra.Command{run, submit, quote, logs, result, forward, cancel, list} {
		c.AddCommand(v.Flags(v.Pays(verb), false))
	}
	c.AddCommand(v.Flags(v.marketCommand(), false))
	return c
}

// shortcuts makes the commands beside the noun.
func shortcuts(shell command.Shell) []*cobra.Command {
	v := verbs{shell}
	return []*cobra.Command{v.Flags(v.marketCommand(), false)}
}

func (v verbs) marketCommand() *cobra.Command {
	c := &cobra.Command{Use: "market", Short: "Show what devices ask for jobs now, by class, best first", Args: command.Exactly(v), RunE: v.market,
		Long: "Each line is a device: what it asks for 10^9 fuel (class wasm) an hour of a slot (oci) or 10^6 tokens (model), what a job would cost there, how many slots it has\n" +
			"free, its quality of 10000, what its containers may reach, and why a job would be passed over now, if it would. It needs no account.",
		Example: "  cairn market\n  cairn market --class wasm --limit 50000000000 --price 20 --quality 6000\n  cairn market --network https://example.org/manifest.json"}
	f := c.Flags()
	f.String("class", "", "only this class: wasm, oci or model")
	f.Uint64("limit", 0, "units that the job would use (default what one gets that says nothing)")
	f.Uint64("price", 0, "most that it would pay, in micro-credits (default any price)")
	f.Uint64("quality", 0, "least quality of the device, of 10000")
	return c
}

// limits gives a command the flags by which a job is bounded.
func (v verbs) limits(c *cobra.Command) {
	f := c.Flags()
	f.Uint64("limit", defaultLimit, "most fuel (instructions) that the job may use, and cost; of a container slot-milliseconds, and 60000")
	f.Uint64("memory", defaultPages/16, "most memory, in MiB")
	f.Uint64("price", defaultPrice, "most that 10^9 fuel may cost, in micro-credits; of a container an hour of a slot, and 40000")
	f.Uint32("slots", 1, "of a container: how many slots, each a core and 2 GiB of memory")
	f.StringSlice("egress", nil, "HOST:PORT that a container has to be able to reach; may be given more than once")
	f.Uint64("quality", 0, "least quality of the device, of 10000")
	f.Bool("private", false, "nobody but the device sees the job, and nobody runs it again to check")
}

// asks reads the flags of limits.
func (v verbs) asks(c *cobra.Command) (*Submit, error) {
	f := c.Flags()
	s := &Submit{}
	s.Image, _ = f.GetString("oci")
	s.Slots, _ = f.GetUint32("slots")
	def, most := defaultsOf(compute.Wasm), uint64(compute.MaxFuel)
	if s.Image != "" {
		def, most = defaultsOf(compute.OCI), compute.MaxSlots
	}
	number := func(name string, otherwise uint64) uint64 {
		if n, _ := f.GetUint64(name); f.Changed(name) {
			return n
		}
		return otherwise
	}
	s.Limit, s.Price = number("limit", def.limit), number("price", def.price)
	memory, _ := f.GetUint64("memory")
	quality, _ := f.GetUint64("quality")
	s.Private, _ = f.GetBool("private")
	s.Egress, _ = f.GetStringSlice("egress")
	switch {
	case len(s.Egress) > 0 && s.Image == "":
		return nil, v.Usage(c, errors.New("--egress: only containers (--oci) reach anything"))
	case s.Limit == 0 || s.Limit > most:
		return nil, v.Usage(c, fmt.Errorf("--limit %d: want 1 to %d", s.Limit, most))
	case memory == 0 || memory > compute.MaxPages/16:
		return nil, v.Usage(c, fmt.Errorf("--memory %d: want 1 to %d", memory, compute.MaxPages/16))
	case s.Price == 0:
		return nil, v.Usage(c, errors.New("--price 0: no device works for nothing"))
	case quality > 10_000:
		return nil, v.Usage(c, fmt.Errorf("--quality %d: want at most 10000", quality))
	case s.Slots == 0 || s.Slots > 1 && s.Image == "":
		return nil, v.Usage(c, fmt.Errorf("--slots %d: want 1, or more for a container (--oci)", s.Slots))
	}
	s.Pages, s.Quality = uint32(memory*16), types.Bp(quality)
	return s, nil
}

const base = "/compute/v1"

func jobPath(id string, more ...string) string {
	return base + "/jobs/" + url.PathEscape(id) + strings.Join(more, "")
}

// begin submits the job of a command line.
func (v verbs) begin(c *cobra.Command, args []string) (*Placement, error) {
	s, err := v.asks(c)
	if err != nil {
		return nil, err
	}
	program := s.Image
	if program == "" {
		if len(args) == 0 || strings.TrimSpace(args[0]) == "" {
			return nil, v.Usage(c, fmt.Errorf("%s: want a module, or --oci IMAGE", c.CommandPath()))
		}
		if _, err := os.Stat(args[0]); err != nil {
			return nil, types.Refuse(types.BadArgument, "%s: module: %v", c.CommandPath(), err)
		}
		program, args = args[0], args[1:]
	}
	if _, err := v.Gateway(c); err != nil {
		return nil, err
	}
	f := c.Flags()
	s.Args = args
	s.Env, _ = f.GetStringArray("env")
	s.Near, _ = f.GetStringArray("near")
	if s.Ports, err = v.ports(c, s.Image != ""); err != nil {
		return nil, err
	}
	if s.Name, _ = f.GetString("name"); s.Name == "" {
		s.Name = filepath.Base(program)
	}
	if err := role.AwaitCredit(v, c); err != nil {
		return nil, fmt.Errorf("job %s: %w", s.Name, err)
	}
	if s.Image == "" {
		if s.Code, err = v.upload(c, program); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice == 0 {
		in, err := v.send(c, "standard input", os.Stdin, -1)
		if err != nil {
			return nil, err
		}
		if in.Bytes > 0 {
			s.Stdin = in.Hash
		}
	}
	list, _ := f.GetStringArray("file")
	for _, spec := range list {
		local, path, ok := strings.Cut(spec, ":")
		if !ok {
			path = filepath.ToSlash(filepath.Clean(local))
		}
		hash, err := v.upload(c, local)
		if err != nil {
			return nil, err
		}
		s.Files = append(s.Files, JobFile{Path: path, Hash: hash})
	}
	p := new(Placement)
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	// The same key each time: an answer that was lost on the way does not make two jobs.
	header := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {newID().String()}}
	res, err := v.Send(c, command.Request{Method: "POST", Path: base + "/jobs", Body: strings.NewReader(string(raw)), Size: int64(len(raw)), Header: header})
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", s.Name, err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(p); err != nil {
		return nil, fmt.Errorf("job %s: answer: %w", s.Name, err)
	}
	return p, nil
}

// upload sends a file and returns its hash.
func (v verbs) upload(c *cobra.Command, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", v.Advise(err, "check the file's name")
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "", v.Advise(fmt.Errorf("%s is a folder", path), "name files one by one: --file "+filepath.Join(path, "FILE"))
	}
	in, err := v.send(c, path, f, info.Size())
	if err != nil {
		return "", err
	}
	return in.Hash, nil
}

func (v verbs) send(c *cobra.Command, what string, r io.Reader, n int64) (*Input, error) {
	progress := command.NewProgress(c, "sending "+what, n)
	res, err := v.Send(c, command.Request{Method: "POST", Path: base + "/inputs", Body: progress.Reader(r), Size: max(n, 0)})
	progress.Done()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer res.Body.Close()
	in := new(Input)
	if err := json.NewDecoder(res.Body).Decode(in); err != nil {
		return nil, fmt.Errorf("%s: answer: %w", what, err)
	}
	return in, nil
}

// outcome is the last line of a run with --json: what scripts may rely on.
type outcome struct {
	ID     string         `json:"id"`
	Device string         `json:"device"`
	Exit   *uint32        `json:"exit"`
	Fuel   uint64         `json:"fuel"`
	Price  uint64         `json:"price"`
	Paid   types.Credit   `json:"paid,string"`
	Passed map[string]int `json:"passed_over"`
	Result string         `json:"result"`
	Reason types.Reason   `json:"reason,omitempty"`
}

func (v verbs) run(c *cobra.Command, args []string) error {
	root, err := v.folder(c)
	if err != nil {
		return err
	}
	if root != nil {
		defer root.Close()
	}
	p, err := v.begin(c, args)
	if err != nil {
		return err
	}
	if ports, _ := c.Flags().GetUintSlice("port"); len(ports) > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "job %s: its ports are reached by cairn job forward %s %d\n", p.ID, p.ID, ports[0])
	}
	ctx := c.Context()
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return v.copyLog(inner, c, p.ID, "stdout", 0, true, c.OutOrStdout()) })
	group.Go(func() error { return v.copyLog(inner, c, p.ID, "stderr", 0, true, c.ErrOrStderr()) })
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil { // interrupted
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			c.SetContext(late)
			var s JobState
			if err := v.Call(c, "DELETE", jobPath(p.ID), nil, &s); err == nil {
				fmt.Fprintf(c.ErrOrStderr(), "cancelled job %s: %s paid\n", p.ID, command.Dollars(s.Paid))
			}
			return ctx.Err()
		}
		return fmt.Errorf("job %s: %w", p.ID, err)
	}
	r := new(JobResult)
	if err := v.Call(c, "GET", jobPath(p.ID, "/result?wait=1"), nil, r); err != nil {
		return fmt.Errorf("job %s: %w", p.ID, err)
	}
	if root != nil {
		if err := v.save(c, root, r); err != nil {
			return errors.Join(err, v.done(c, r))
		}
	}
	return v.done(c, r)
}

// done says how a job ended, as its program's exit would.
func (v verbs) done(c *cobra.Command, r *JobResult) error {
	if asked, _ := c.Flags().GetBool("json"); asked {
		if err := v.Print(c, outcome{r.ID, r.Device, r.Exit, r.Fuel, r.Price, r.Paid, r.Passed, r.Result, r.Reason}, nil); err != nil {
			return err
		}
	}
	switch {
	case r.Reason != "":
		err := types.Refuse(r.Reason, "job %s", r.ID)
		if r.Message != "" {
			err = types.Refuse(r.Reason, "job %s: %s", r.ID, r.Message)
		}
		return err
	case r.Exit != nil && *r.Exit != 0:
		return command.Exit(*r.Exit & 0xff)
	}
	return nil
}

// copyLog copies what a job writes to w. What breaks is gone on with.
func (v verbs) copyLog(ctx context.Context, c *cobra.Command, id, stream string, at uint64, follow bool, w io.Writer) error {
	q := url.Values{"stream": {stream}}
	if follow {
		q.Set("follow", "1")
	}
	sub := new(cobra.Command)
	*sub = *c
	sub.SetContext(ctx)
	for failed := 0; ; {
		q.Set("offset", strconv.FormatUint(at, 10))
		res, err := v.Send(sub, command.Request{Method: "GET", Path: jobPath(id, "/logs?", q.Encode())})
		if err == nil {
			var n int64
			n, err = io.Copy(w, res.Body)
			err = errors.Join(err, res.Body.Close())
			at += uint64(n)
			if n > 0 {
				failed = 0
			}
			if err == nil {
				return nil
			}
		} else if types.ReasonOf(err) != "" {
			return err
		}
		if failed++; failed > 10 || ctx.Err() != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (v verbs) submit(c *cobra.Command, args []string) error {
	p, err := v.begin(c, args)
	if err != nil {
		return err
	}
	return v.Print(c, p, func(w io.Writer) {
		fmt.Fprintf(w, "id %s\ndevice %s\nprice %d micro-credits for %s, at most %s\n%s", p.ID, p.Device, p.Price, v.unit(c), command.Dollars(p.MaxCost), passed(p.PassedBy))
	})
}

// unit is what a price is for.
func (v verbs) unit(c *cobra.Command) string {
	if image, _ := c.Flags().GetString("oci"); image != "" {
		return defaultsOf(compute.OCI).unit
	}
	return defaultsOf(compute.Wasm).unit
}

// passed says for people how many devices were passed over.
func passed(m map[string]int) string {
	if len(m) == 0 {
		return ""
	}
	return "passed over: " + counts(m) + "\n"
}

func (v verbs) quote(c *cobra.Command, _ []string) error {
	s, err := v.asks(c)
	if err != nil {
		return err
	}
	q := new(Quote)
	if err := v.Call(c, "POST", base+"/quotes", s, q); err != nil {
		return fmt.Errorf("job quote: %w", err)
	}
	return v.Print(c, q, func(w io.Writer) {
		fmt.Fprintf(w, "device %s\nprice %d micro-credits for "+v.unit(c)+" (it asks %d), at most %s\nmode %s\n", q.Device, q.Price, q.Ask, command.Dollars(q.MaxCost), q.Mode)
		if s.Image != "" {
			fmt.Fprintf(w, "reaches %s\n", cmp.Or(strings.Join(q.Egress, " "), "nothing"))
		}
		fmt.Fprint(w, passed(q.PassedBy))
	})
}

func (v verbs) logs(c *cobra.Command, args []string) error {
	follow, _ := c.Flags().GetBool("follow")
	at, _ := c.Flags().GetUint64("offset")
	stream := "stdout"
	if other, _ := c.Flags().GetBool("stderr"); other {
		stream = "stderr"
	}
	return v.copyLog(c.Context(), c, args[0], stream, at, follow, c.OutOrStdout())
}

func (v verbs) result(c *cobra.Command, args []string) error {
	path := "/result"
	if wait, _ := c.Flags().GetBool("wait"); wait {
		path += "?wait=1"
	}
	root, err := v.folder(c)
	if err != nil {
		return err
	}
	if root != nil {
		defer root.Close()
	}
	r := new(JobResult)
	if err := v.Call(c, "GET", jobPath(args[0], path), nil, r); err != nil {
		return fmt.Errorf("job result: %w", err)
	}
	if root != nil {
		if err := v.save(c, root, r); err != nil {
			return err
		}
	}
	return v.Print(c, r, func(w io.Writer) {
		v.describe(w, &r.JobState)
		fmt.Fprintf(w, "job %s\nresult %s\nstdout %s\nstderr %s\n", r.Job, r.Result, r.Hashes[0], r.Hashes[1])
		for _, f := range r.Files {
			found := ""
			if f.Found {
				found = " (as the job found it)"
			}
			fmt.Fprintf(w, "file %s %s %s%s\n", printable(f.Path), f.Hash, command.Bytes(f.Bytes), found)
		}
	})
}

func (v verbs) describe(w io.Writer, s *JobState) {
	fmt.Fprintf(w, "id %s\nstate %s\ndevice %s\nfuel %d of %d\npaid %s\n", s.ID, s.State, s.Device, s.Fuel, s.Limit, command.Dollars(s.Paid))
	if s.Exit != nil {
		fmt.Fprintf(w, "exit %d\n", *s.Exit)
	}
	if s.Reason != "" {
		fmt.Fprintf(w, "reason %s %s\n", s.Reason, s.Message)
	}
}

func (v verbs) cancel(c *cobra.Command, args []string) error {
	s := new(JobState)
	if err := v.Call(c, "DELETE", jobPath(args[0]), nil, s); err != nil {
		return fmt.Errorf("job cancel: %w", err)
	}
	return v.Print(c, s, func(w io.Writer) { v.describe(w, s) })
}

func (v verbs) list(c *cobra.Command, _ []string) error {
	var list []JobState
	if err := v.Call(c, "GET", base+"/jobs", nil, &list); err != nil {
		return fmt.Errorf("job list: %w", err)
	}
	return v.Print(c, list, func(w io.Writer) {
		var rows [][]string
		for _, s := range list {
			exit := string(s.Reason)
			if s.Exit != nil {
				exit = strconv.Itoa(int(*s.Exit))
			}
			rows = append(rows, []string{s.ID, s.Name, string(s.State), exit, strconv.FormatUint(s.Fuel, 10), command.Dollars(s.Paid), s.Created.Format(time.RFC3339)})
		}
		command.Table(w, []string{"ID", "NAME", "STATE", "EXIT", "FUEL", "PAID", "CREATED"}, rows)
	})
}

func (v verbs) market(c *cobra.Command, _ []string) error {
	var list []MarketAsk
	q := url.Values{}
	for _, name := range []string{"class", "limit", "price", "quality"} {
		if f := c.Flags().Lookup(name); f.Changed {
			q.Set(name, f.Value.String())
		}
	}
	if err := v.Call(c, "GET", base+"/market?"+q.Encode(), nil, &list); err != nil {
		return fmt.Errorf("market: %w", err)
	}
	slices.SortStableFunc(list, func(a, b MarketAsk) int { return strings.Compare(a.Class, b.Class) })
	return v.Print(c, list, func(w io.Writer) {
		var rows [][]string
		for _, a := range list {
			class := a.Class
			if a.Model != "" {
				class += "/" + a.Model
			}
			rows = append(rows, []string{a.Device, class, strconv.FormatUint(a.Price, 10), command.Dollars(a.Cost), strconv.Itoa(int(a.Free)), strconv.Itoa(int(a.Quality)), a.Cell, strings.Join(a.Egress, " "), a.Passed})
		}
		command.Table(w, []string{"DEVICE", "CLASS", "PRICE", "JOB", "FREE", "QUALITY", "CELL", "REACHES", "PASSED OVER"}, rows)
	})
}
