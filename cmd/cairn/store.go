package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

// object is what the gateway says of a stored object.
type object struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Bytes   uint64    `json:"bytes"`
	Shards  int       `json:"shards"`
	Profile string    `json:"profile"`
	Created time.Time `json:"created"`
	Type    string    `json:"content_type,omitempty"`
	Damaged bool      `json:"damaged,omitempty"`
}

func storeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "store", Short: "Keep files on devices that prove every epoch that they still have them",
		Example: "  cairn store put holiday.mp4\n  cairn store list\n  cairn store get 3f9c… copy.mp4",
	}
	put := &cobra.Command{
		Use: "put FILE", Short: "Store a file (- reads standard input)", Args: exactly("FILE"), RunE: storePut,
		Example: "  cairn store put holiday.mp4 --profile std\n  tar c photos | cairn store put - --name photos.tar",
	}
	put.Flags().String("profile", "lab", "redundancy: lab (any 4 of 8 devices restore it), std (10 of 20), deep (10 of 30)")
	put.Flags().String("name", "", "name under which it is listed (default the file's)")
	get := &cobra.Command{Use: "get ID OUT", Short: "Fetch a file back (- writes standard output)", Args: exactly("ID", "OUT"), RunE: storeGet,
		Long:    "What is in the way of OUT is replaced only if you say so, and only by the whole: what could not be fetched leaves everything as it was.",
		Example: "  cairn store get 3f9c… copy.mp4\n  cairn store get 3f9c… copy.mp4 --force"}
	get.Flags().BoolP("force", "f", false, "replace OUT if it is there already")
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List what is stored", Args: exactly(), RunE: storeList, Example: "  cairn store list"}
	del := &cobra.Command{Use: "delete ID", Aliases: []string{"rm"}, Short: "Delete a file and stop paying for it", Args: exactly("ID"), RunE: storeDelete,
		Example: "  cairn store delete 3f9c…"}
	price := &cobra.Command{Use: "price FILE", Short: "Show what storing a file would cost, without storing it", Args: exactly("FILE"), RunE: storePrice,
		Example: "  cairn store price holiday.mp4 --profile std"}
	price.Flags().String("profile", "lab", "redundancy: lab, std or deep")
	for _, verb := range []*cobra.Command{put, price, get, list, del} {
		c.AddCommand(placeFlags(accountFlag(verb)))
	}
	c.AddCommand(recoveryCommand())
	return c
}

func storePut(c *cobra.Command, args []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	in, size, name := io.Reader(os.Stdin), int64(0), "stdin"
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return advice{fmt.Errorf("store put: %w", err), "check the file's name"}
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("store put: %w", err)
		}
		if info.IsDir() {
			return advice{fmt.Errorf("store put: %s is a folder", args[0]), "pack it: tar c " + args[0] + " | cairn store put - --name " + filepath.Base(args[0]) + ".tar"}
		}
		in, size, name = f, info.Size(), filepath.Base(args[0])
	}
	if n, _ := c.Flags().GetString("name"); n != "" {
		name = n
	}
	profile, _ := c.Flags().GetString("profile")
	if err := a.awaitCredit(c.Context(), c.ErrOrStderr()); err != nil {
		return fmt.Errorf("store put %s: %w", name, err)
	}
	if size > 0 { // a price is shown before it is spent
		p, err := a.storePrice(c.Context(), profile, size)
		if err != nil {
			return fmt.Errorf("store put %s: price: %w", name, err)
		}
		fmt.Fprintln(c.ErrOrStderr(), p)
	}
	query := url.Values{"name": {name}, "profile": {profile}}
	progress := newProgress(c.ErrOrStderr(), "storing "+name, size)
	res, err := a.do(c.Context(), "PUT", "/storage/v1/objects?"+query.Encode(), progress.reader(in), size)
	progress.done()
	if err != nil {
		return fmt.Errorf("store put %s: %w", name, err)
	}
	defer res.Body.Close()
	var o object
	if err := decode(res.Body, &o); err != nil {
		return err
	}
	line := struct { // what scripts may rely on; store list says more
		ID      string `json:"id"`
		Bytes   uint64 `json:"bytes"`
		Shards  int    `json:"shards"`
		Profile string `json:"profile"`
	}{o.ID, o.Bytes, o.Shards, o.Profile}
	return outputOf(c).print(line, func(w io.Writer) {
		fmt.Fprintf(w, "stored %s (%s) in %d shards\nid %s\n", name, bytesOf(o.Bytes), o.Shards, o.ID)
	})
}

// creditPatience is how long a command waits for credits to count that were bought a moment ago.
const creditPatience = 2 * time.Minute

// awaitCredit waits while the account has credits that no tally shows yet, with a word, if that does not take long. Of an account that has none it
// says nothing: what costs something says so itself.
func (a *api) awaitCredit(ctx context.Context, w io.Writer) error {
	said := false
	for end := time.Now().Add(creditPatience); ; {
		var c struct {
			Spendable types.Credit `json:"spendable,string"`
			Awaited   types.Credit `json:"awaited,string"`
			Seconds   uint64       `json:"awaited_seconds"`
		}
		if err := a.get(ctx, "/v1/credit", &c); err != nil {
			return err
		}
		wait := time.Duration(c.Seconds) * time.Second
		switch {
		case c.Spendable > 0 || c.Awaited == 0:
			return nil
		case time.Now().Add(wait).After(end):
			return advice{types.Refuse(role.CreditPending, "the account's credits (%s) count from the next epoch on", command.Dollars(c.Awaited)), fmt.Sprintf("the same again in about %v", wait)}
		case !said:
			said = true
			fmt.Fprintf(w, "waiting for the account's credits (%s): they count from the next epoch on, in about %v\n", command.Dollars(c.Awaited), wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// storePriced is what the gateway asks for an object.
type storePriced struct {
	Profile string       `json:"profile"`
	Bytes   uint64       `json:"bytes"`
	Epoch   types.Credit `json:"per_epoch,string"`
	Read    types.Credit `json:"per_read,string"`
	ReadMax types.Credit `json:"per_read_max,string"`
}

func (p *storePriced) String() string {
	amount := func(c types.Credit) string {
		if c == 0 {
			return "less than $0.000001"
		}
		return command.Dollars(c)
	}
	read := amount(p.Read)
	if p.ReadMax > p.Read {
		read += " to " + amount(p.ReadMax)
	}
	return fmt.Sprintf("price: %s for each epoch that %s are held, %s for each time they are read", amount(p.Epoch), bytesOf(p.Bytes), read)
}

func (a *api) storePrice(ctx context.Context, profile string, size int64) (*storePriced, error) {
	p := new(storePriced)
	query := url.Values{"profile": {profile}, "bytes": {strconv.FormatInt(size, 10)}}
	return p, a.get(ctx, "/storage/v1/price?"+query.Encode(), p)
}

func storePrice(c *cobra.Command, args []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return advice{fmt.Errorf("store price: %w", err), "check the file's name"}
	}
	profile, _ := c.Flags().GetString("profile")
	p, err := a.storePrice(c.Context(), profile, info.Size())
	if err != nil {
		return fmt.Errorf("store price: %w", err)
	}
	return outputOf(c).print(p, func(w io.Writer) { fmt.Fprintln(w, p) })
}

func storeGet(c *cobra.Command, args []string) (err error) {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	force, _ := c.Flags().GetBool("force")
	to, err := openTarget(c, args[1], force)
	if err != nil {
		return fmt.Errorf("store get: %w", err)
	}
	defer to.drop()
	n, err := a.fetch(c.Context(), "/storage/v1/objects/"+url.PathEscape(args[0]), to, newProgress(c.ErrOrStderr(), "fetching "+args[0], 0))
	if err != nil && n > 0 {
		return fmt.Errorf("store get %s: after %s: %w", args[0], bytesOf(uint64(n)), err)
	}
	if err != nil {
		return fmt.Errorf("store get %s: %w", args[0], err)
	}
	if err := to.commit(); err != nil {
		return fmt.Errorf("store get %s: %w", args[0], err)
	}
	if args[1] == "-" {
		return nil
	}
	return outputOf(c).print(map[string]any{"id": args[0], "bytes": n, "out": args[1]}, func(w io.Writer) {
		fmt.Fprintf(w, "fetched %s to %s\n", bytesOf(uint64(n)), args[1])
	})
}

// target is where a file is written: beside its place, into which it comes once it is whole.
type target struct {
	io.Writer
	commit func() error
	drop   func() // leaves nothing, unless commit was called before
}

// openTarget opens what is to come to path ("-" is standard output). A file that is there already is replaced if force says so, or whoever
// sits at the terminal; it keeps its permissions.
func openTarget(c *cobra.Command, path string, force bool) (*target, error) {
	nothing := func() {}
	if path == "-" {
		return &target{c.OutOrStdout(), func() error { return nil }, nothing}, nil
	}
	mode, there := fs.FileMode(0o644), false
	switch info, err := os.Stat(path); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, advice{err, "choose a file that can be written"}
	case err != nil:
	case info.IsDir():
		return nil, advice{fmt.Errorf("%s is a folder", path), "name a file in it: " + filepath.Join(path, "FILE")}
	case !info.Mode().IsRegular(): // a pipe, or a device such as /dev/null: it stays what it is
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, advice{err, "choose a file that can be written"}
		}
		return &target{f, f.Close, func() { f.Close() }}, nil
	default:
		if !force && !confirmed(c, path+" is there already. Replace it? [y/N] ") {
			return nil, advice{fmt.Errorf("%s is there already", path), "name another file, or replace it: --force"}
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real // what a link points at is replaced, not the link
		}
		mode, there = info.Mode().Perm(), true
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, advice{err, "choose a folder that can be written"}
	}
	commit := func() error {
		if _, err := os.Lstat(path); err == nil && !there { // it came meanwhile
			return advice{fmt.Errorf("%s is there already", path), "name another file, or replace it: --force"}
		}
		return errors.Join(f.Chmod(mode), f.Close(), os.Rename(f.Name(), path))
	}
	return &target{f, commit, func() { f.Close(); os.Remove(f.Name()) }}, nil
}

// confirmed asks whoever sits at the terminal; nobody there means no.
func confirmed(c *cobra.Command, question string) bool {
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false
	}
	fmt.Fprint(c.ErrOrStderr(), question)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// fetch copies what is at path to w and returns how many bytes came. An answer that ends early is asked for again from there, as
// long as each brings more: the gateway ends one when shards are lost on the way, and tells why to whoever asks for the rest.
func (a *api) fetch(ctx context.Context, path string, w io.Writer, show *progress) (n int64, err error) {
	defer show.done()
	var from []string
	for {
		res, err := a.do(ctx, "GET", path, nil, 0, from...)
		if err != nil {
			return n, err
		}
		if n > 0 && res.StatusCode != http.StatusPartialContent {
			res.Body.Close()
			return n, fmt.Errorf("asked for the rest, got %s", res.Status)
		}
		show.total = n + res.ContentLength
		more, err := io.Copy(w, show.reader(res.Body))
		res.Body.Close()
		n += more
		if err == nil || more == 0 || ctx.Err() != nil {
			return n, err
		}
		from = []string{"Range", fmt.Sprintf("bytes=%d-", n)}
	}
}

func storeList(c *cobra.Command, _ []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	var list []object
	if err := a.get(c.Context(), "/storage/v1/objects", &list); err != nil {
		return fmt.Errorf("store list: %w", err)
	}
	return outputOf(c).print(list, func(w io.Writer) {
		rows := make([][]string, len(list))
		for i, o := range list {
			if o.Damaged {
				o.Name += "(damaged: can only be deleted)"
			}
			rows[i] = []string{o.ID, o.Name, bytesOf(o.Bytes), o.Profile, o.Created.Local().Format("2006-01-02 15:04")}
		}
		table(w, []string{"ID", "NAME", "SIZE", "PROFILE", "STORED"}, rows)
	})
}

func storeDelete(c *cobra.Command, args []string) error {
	a, err := openAPI(c)
	if err != nil {
		return err
	}
	if err := a.call(c.Context(), "DELETE", "/storage/v1/objects/"+url.PathEscape(args[0]), nil, nil); err != nil {
		return fmt.Errorf("store delete %s: %w", args[0], err)
	}
	return outputOf(c).print(map[string]any{"id": args[0], "deleted": true}, func(w io.Writer) { fmt.Fprintf(w, "deleted %s\n", args[0]) })
}
