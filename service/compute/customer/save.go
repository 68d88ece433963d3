package customer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role/command"
)

// filesFlag gives a command the flag for a folder into which the files come that a job left.
func filesFlag(c *cobra.Command) {
	c.Flags().String("files", "", "write the files that the job left, or changed, into this folder; those that are there are replaced")
}

// folder opens the folder of --files, nil where there is none, before anything is paid.
func (v verbs) folder(c *cobra.Command) (*os.Root, error) {
	dir, _ := c.Flags().GetString("files")
	if dir == "" {
		if c.Flags().Changed("files") {
			return nil, v.Usage(c, errors.New("--files: want a folder"))
		}
		return nil, nil
	}
	err := os.MkdirAll(dir, 0o777)
	if err == nil {
		var root *os.Root
		if root, err = os.OpenRoot(dir); err == nil {
			return root, nil
		}
	}
	return nil, types.Refuse(types.BadArgument, "%s: --files: %v", c.CommandPath(), err)
}

// save writes the files that a job left into a folder.
func (v verbs) save(c *cobra.Command, root *os.Root, r *JobResult) error {
	if r.Unkept {
		return types.Refuse(compute.FilesUnkept, "job %s", r.ID)
	}
	s := &saver{root: root}
	for _, f := range r.Files {
		if f.Found {
			continue
		}
		err := s.save(f, func(w io.Writer) error {
			show := command.NewProgress(c, "fetching "+printable(f.Path), int64(f.Bytes))
			_, err := command.Fetch(v, c, jobPath(r.ID, "/files/", escape(f.Path)), w, show)
			return err
		})
		if err != nil {
			return fmt.Errorf("job %s: file %s: %w", r.ID, printable(f.Path), err)
		}
	}
	return nil
}

func escape(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// printable is a name that a stranger's program gave a file, for a terminal.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// saver writes files below a folder, and nowhere else, whatever they are called and whatever links are there.
type saver struct {
	root  *os.Root
	wrote []fs.FileInfo
}

// save writes one file, once all of it has come and is what its digest says.
func (s *saver) save(f LeftFile, fetch func(io.Writer) error) error {
	if !fs.ValidPath(f.Path) || f.Path == "." {
		return types.Refuse(types.BadEncoding, "the name leads elsewhere")
	}
	name, err := filepath.Localize(f.Path)
	if err != nil {
		return types.Refuse(types.BadArgument, "there can be no file of this name here")
	}
	if err := s.root.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	// Where names that differ by case alone are one, the second file would take the place of the first.
	if there, err := s.root.Lstat(name); err == nil {
		for _, w := range s.wrote {
			if os.SameFile(w, there) {
				return types.Refuse(types.BadArgument, "the job left another file whose name is the same here (its case or accents differ): use another file system")
			}
		}
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	part := filepath.Join(filepath.Dir(name), ".cairn-"+hex.EncodeToString(random[:]))
	out, err := s.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	sum := sha256.New()
	w := &atMost{w: io.MultiWriter(out, sum), left: f.Bytes}
	err = fetch(w)
	if err == nil && (w.left > 0 || hex.EncodeToString(sum.Sum(nil)) != f.Hash) {
		err = types.Refuse(compute.DigestMismatch, "what came is not what the job left")
	}
	info, statErr := out.Stat()
	if err = errors.Join(err, statErr, out.Close()); err == nil {
		err = s.root.Rename(part, name)
	}
	if err != nil {
		return errors.Join(err, s.root.Remove(part))
	}
	s.wrote = append(s.wrote, info)
	return nil
}

// atMost refuses more bytes than were announced.
type atMost struct {
	w    io.Writer
	left uint64
}

func (a *atMost) Write(p []byte) (int, error) {
	if uint64(len(p)) > a.left {
		return 0, types.Refuse(compute.DigestMismatch, "more came than the job left")
	}
	a.left -= uint64(len(p))
	return a.w.Write(p)
}
