package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
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
		Example: "  cairn store get 3f9c… copy.mp4"}
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List what is stored", Args: exactly(), RunE: storeList, Example: "  cairn store list"}
	del := &cobra.Command{Use: "delete ID", Aliases: []string{"rm"}, Short: "Delete a file and stop paying for it", Args: exactly("ID"), RunE: storeDelete,
		Example: "  cairn store delete 3f9c…"}
	price := &cobra.Command{Use: "price FILE", Short: "Show what storing a file would cost, without storing it", Args: exactly("FILE"), RunE: storePrice,
		Example: "  cairn store price holiday.mp4 --profile std"}
	price.Flags().String("profile", "lab", "redundancy: lab, std or deep")
	for _, verb := range []*cobra.Command{put, price, get, list, del} {
		c.AddCommand(homeFlags(accountFlag(verb)))
	}
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
	out, commit := io.Writer(c.OutOrStdout()), func() error { return nil }
	if args[1] != "-" {
		f, err := os.CreateTemp(filepath.Dir(args[1]), "."+filepath.Base(args[1])+"-*")
		if err != nil {
			return advice{fmt.Errorf("store get: %w", err), "choose a folder that can be written"}
		}
		defer os.Remove(f.Name())
		defer f.Close()
		out, commit = f, func() error { return errors.Join(f.Chmod(0o644), f.Close(), os.Rename(f.Name(), args[1])) }
	}
	n, err := a.fetch(c.Context(), "/storage/v1/objects/"+url.PathEscape(args[0]), out, newProgress(c.ErrOrStderr(), "fetching "+args[0], 0))
	if err != nil && n > 0 {
		return fmt.Errorf("store get %s: after %s: %w", args[0], bytesOf(uint64(n)), err)
	}
	if err != nil {
		return fmt.Errorf("store get %s: %w", args[0], err)
	}
	if err := commit(); err != nil {
		return fmt.Errorf("store get %s: %w", args[0], err)
	}
	if args[1] == "-" {
		return nil
	}
	return outputOf(c).print(map[string]any{"id": args[0], "bytes": n, "out": args[1]}, func(w io.Writer) {
		fmt.Fprintf(w, "fetched %s to %s\n", bytesOf(uint64(n)), args[1])
	})
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
