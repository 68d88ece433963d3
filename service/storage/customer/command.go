package customer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

// verbs makes the commands of `cairn store`.
type verbs struct{ command.Shell }

// commands makes the noun.
func commands(shell command.Shell) *cobra.Command {
	v := verbs{shell}
	c := &cobra.Command{
		Use: "store", Short: "Keep files on devices that prove every epoch that they still have them",
		Example: "  cairn store put holiday.mp4\n  cairn store list\n  cairn store get 3f9c… copy.mp4",
	}
	put := &cobra.Command{
		Use: "put FILE", Short: "Store a file (- reads standard input)", Args: command.Exactly(v, "FILE"), RunE: v.put,
		Example: "  cairn store put holiday.mp4 --profile std\n  tar c photos | cairn store put - --name photos.tar",
	}
	put.Flags().String("profile", "lab", "redundancy: lab (any 4 of 8 devices restore it), std (10 of 20), deep (10 of 30)")
	put.Flags().String("name", "", "name under which it is listed (default the file's)")
	get := &cobra.Command{Use: "get ID OUT", Short: "Fetch a file back (- writes standard output)", Args: command.Exactly(v, "ID", "OUT"), RunE: v.get,
		Long:    "What is in the way of OUT is replaced only if you say so, and only by the whole: what could not be fetched leaves everything as it was.",
		Example: "  cairn store get 3f9c… copy.mp4\n  cairn store get 3f9c… copy.mp4 --force"}
	get.Flags().BoolP("force", "f", false, "replace OUT if it is there already")
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List what is stored", Args: command.Exactly(v), RunE: v.list,
		Example: "  cairn store list"}
	del := &cobra.Command{Use: "delete ID", Aliases: []string{"rm"}, Short: "Delete a file and stop paying for it", Args: command.Exactly(v, "ID"), RunE: v.delete,
		Example: "  cairn store delete 3f9c…"}
	price := &cobra.Command{Use: "price FILE", Short: "Show what storing a file would cost, without storing it", Args: command.Exactly(v, "FILE"), RunE: v.price,
		Example: "  cairn store price holiday.mp4 --profile std"}
	price.Flags().String("profile", "lab", "redundancy: lab, std or deep")
	for _, verb := range []*cobra.Command{put, price, get, list, del} {
		c.AddCommand(v.Flags(v.Pays(verb), false))
	}
	c.AddCommand(v.recovery())
	return c
}

// objects is the path of all objects, or of one.
func objects(id ...string) string {
	path := "/storage/v1/objects"
	for _, id := range id {
		path += "/" + url.PathEscape(id)
	}
	return path
}

func (v verbs) put(c *cobra.Command, args []string) error {
	if _, err := v.Gateway(c); err != nil {
		return err
	}
	in, size, name := io.Reader(os.Stdin), int64(0), "stdin"
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return v.Advise(fmt.Errorf("store put: %w", err), "check the file's name")
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("store put: %w", err)
		}
		if info.IsDir() {
			return v.Advise(fmt.Errorf("store put: %s is a folder", args[0]), "pack it: tar c "+args[0]+" | cairn store put - --name "+filepath.Base(args[0])+".tar")
		}
		in, size, name = f, info.Size(), filepath.Base(args[0])
	}
	if n, _ := c.Flags().GetString("name"); n != "" {
		name = n
	}
	profile, _ := c.Flags().GetString("profile")
	if err := role.AwaitCredit(v, c); err != nil {
		return fmt.Errorf("store put %s: %w", name, err)
	}
	if size > 0 { // a price is shown before it is spent
		p, err := v.priceOf(c, profile, size)
		if err != nil {
			return fmt.Errorf("store put %s: price: %w", name, err)
		}
		fmt.Fprintln(c.ErrOrStderr(), p)
	}
	query := url.Values{"name": {name}, "profile": {profile}}
	progress := command.NewProgress(c, "storing "+name, size)
	res, err := v.Send(c, command.Request{Method: "PUT", Path: objects() + "?" + query.Encode(), Body: progress.Reader(in), Size: size})
	progress.Done()
	if err != nil {
		return fmt.Errorf("store put %s: %w", name, err)
	}
	defer res.Body.Close()
	var o Object
	if err := json.NewDecoder(res.Body).Decode(&o); err != nil {
		return fmt.Errorf("store put %s: answer: %w", name, err)
	}
	line := struct { // what scripts may rely on; store list says more
		ID      string `json:"id"`
		Bytes   uint64 `json:"bytes"`
		Shards  int    `json:"shards"`
		Profile string `json:"profile"`
	}{o.ID, o.Bytes, o.Shards, o.Profile}
	return v.Print(c, line, func(w io.Writer) {
		fmt.Fprintf(w, "stored %s (%s) in %d shards\nid %s\n", name, command.Bytes(o.Bytes), o.Shards, o.ID)
	})
}

// String says it for people.
func (p *Price) String() string {
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
	return fmt.Sprintf("price: %s for each epoch that %s are held, %s for each time they are read", amount(p.Epoch), command.Bytes(p.Bytes), read)
}

func (v verbs) priceOf(c *cobra.Command, profile string, size int64) (*Price, error) {
	p := new(Price)
	query := url.Values{"profile": {profile}, "bytes": {strconv.FormatInt(size, 10)}}
	return p, v.Call(c, "GET", "/storage/v1/price?"+query.Encode(), nil, p)
}

func (v verbs) price(c *cobra.Command, args []string) error {
	if _, err := v.Gateway(c); err != nil {
		return err
	}
	info, err := os.Stat(args[0])
	if err != nil {
		return v.Advise(fmt.Errorf("store price: %w", err), "check the file's name")
	}
	profile, _ := c.Flags().GetString("profile")
	p, err := v.priceOf(c, profile, info.Size())
	if err != nil {
		return fmt.Errorf("store price: %w", err)
	}
	return v.Print(c, p, func(w io.Writer) { fmt.Fprintln(w, p) })
}

func (v verbs) get(c *cobra.Command, args []string) error {
	if _, err := v.Gateway(c); err != nil {
		return err
	}
	force, _ := c.Flags().GetBool("force")
	to, err := command.OpenTarget(v, c, args[1], force)
	if err != nil {
		return fmt.Errorf("store get: %w", err)
	}
	defer to.Drop()
	n, err := command.Fetch(v, c, objects(args[0]), to, command.NewProgress(c, "fetching "+args[0], 0))
	if err != nil && n > 0 {
		return fmt.Errorf("store get %s: after %s: %w", args[0], command.Bytes(uint64(n)), err)
	}
	if err != nil {
		return fmt.Errorf("store get %s: %w", args[0], err)
	}
	if err := to.Commit(); err != nil {
		return fmt.Errorf("store get %s: %w", args[0], err)
	}
	if args[1] == "-" {
		return nil
	}
	return v.Print(c, map[string]any{"id": args[0], "bytes": n, "out": args[1]}, func(w io.Writer) {
		fmt.Fprintf(w, "fetched %s to %s\n", command.Bytes(uint64(n)), args[1])
	})
}

func (v verbs) list(c *cobra.Command, _ []string) error {
	var list []Object
	if err := v.Call(c, "GET", objects(), nil, &list); err != nil {
		return fmt.Errorf("store list: %w", err)
	}
	return v.Print(c, list, func(w io.Writer) {
		rows := make([][]string, len(list))
		for i, o := range list {
			if o.Damaged {
				o.Name += "(damaged: can only be deleted)"
			}
			rows[i] = []string{o.ID, o.Name, command.Bytes(o.Bytes), o.Profile, o.Created.Local().Format("2006-01-02 15:04")}
		}
		command.Table(w, []string{"ID", "NAME", "SIZE", "PROFILE", "STORED"}, rows)
	})
}

func (v verbs) delete(c *cobra.Command, args []string) error {
	if err := v.Call(c, "DELETE", objects(args[0]), nil, nil); err != nil {
		return fmt.Errorf("store delete %s: %w", args[0], err)
	}
	return v.Print(c, map[string]any{"id": args[0], "deleted": true}, func(w io.Writer) { fmt.Fprintf(w, "deleted %s\n", args[0]) })
}
