package customer

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/disk"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
	"github.com/cairn-network/cairn/service/role"
)

// left is what a device says that a job left, while that comes: its list, and how many bytes follow.
type left struct {
	files compute.Files
	list  []compute.Left
	total uint64
	room  uint64 // that is kept free for it
	none  bool   // there was none: the files are not kept
}

// output takes in a part of what a job wrote or left.
func (c *Customer) output(ctx context.Context, j *job, order types.Hash, f link.Frame) error {
	s := spool.Stream(f.Stream)
	if !slices.Contains(spool.Streams, s) {
		return types.Refuse(types.BadEncoding, "compute: output of stream %d", f.Stream)
	}
	if s == spool.List || s == spool.Files {
		if err := j.accepted(ctx, order); err != nil {
			return err
		}
	}
	if s == spool.Files {
		l, err := c.leaves(j)
		if err != nil {
			return c.refuse(j, order, err)
		}
		if l.none {
			return nil
		}
		if f.Offset > l.total || uint64(len(f.Data)) > l.total-f.Offset {
			return c.refuse(j, order, types.Refuse(compute.DigestMismatch, "compute: the files that the job left have %d bytes by their list, more came", l.total))
		}
	}
	err := j.out.Write(s, f.Offset, f.Data)
	switch {
	case errors.Is(err, spool.ErrFull) && s == spool.List:
		return c.refuse(j, order, types.Refuse(compute.TooLarge, "compute: the list of the files that the job left is longer than %d bytes", compute.MaxLeft))
	case errors.Is(err, spool.ErrFull): // the result says so
		return nil
	case disk.IsFull(err) && s == spool.Files: // the job has ended: its result is worth more than they are
		c.log.Warn("compute: the files of a job are not kept", "job", j.rec.ID, "err", err)
		return c.unkept(j)
	}
	return err
}

// refuse ends the try of an order's device that says what can't be, and returns why.
func (c *Customer) refuse(j *job, order types.Hash, why error) error {
	j.mu.Lock()
	t, ok := j.current(order)
	if ok {
		c.log.Warn("compute: a device sends files otherwise than they can be", "device", t.Device, "job", j.rec.ID, "err", why)
	}
	j.mu.Unlock()
	if ok {
		c.giveUp(j, why, true)
	}
	return why
}

// leaves reads the list of the files that a job left, once all of it is here, and finds room for them.
func (c *Customer) leaves(j *job) (*left, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.left != nil {
		return j.left, nil
	}
	files, err := listed(j.out)
	if err != nil {
		return nil, err
	}
	l := &left{files: files}
	l.list, l.total = files.Lay(j.rec.Files)
	if l.none = !c.expects(j.rec.Account, l.total); !l.none {
		l.room = l.total
	}
	j.left = l
	return l, nil
}

// listed is the list of the files that a job left.
func listed(out *spool.Outputs) (compute.Files, error) {
	size, _ := out.Size(spool.List)
	if size == 0 {
		return compute.Files{}, nil
	}
	raw, err := io.ReadAll(out.Section(spool.List, 0, size))
	if err != nil {
		return nil, err
	}
	return compute.DecodeLeft(raw)
}

// expects keeps room for so many bytes of files that an account's job left, if there may be as many on their way:
// half of what is kept of jobs that have ended, and of one account a quarter of that.
func (c *Customer) expects(account types.Account, n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	most, all := c.cfg.Outputs/2, uint64(0)
	for _, of := range c.coming {
		all += of
	}
	if n > most-min(most, all) || n > most/4-min(most/4, c.coming[account]) {
		return false
	}
	c.coming[account] += n
	return true
}

// unkept forgets the files that a job left: there is no room for them.
func (c *Customer) unkept(j *job) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.left != nil {
		j.left.none = true
	}
	return j.out.Cut(spool.Files, 0)
}

// unexpected gives back the room of a job's files. The job's mu is held.
func (c *Customer) unexpected(j *job) {
	if j.left == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.coming[j.rec.Account] -= j.left.room; c.coming[j.rec.Account] == 0 {
		delete(c.coming, j.rec.Account)
	}
	j.left = nil
}

// checkLeft says what is wrong with the files that came, given what the device has signed that the job left.
func (c *Customer) checkLeft(j *job, signed types.Hash) error {
	l, err := c.leaves(j)
	if err != nil {
		return err
	}
	if l.files.Root() != signed {
		return types.Refuse(compute.DigestMismatch, "compute: the list of files that came is not the one that the result names")
	}
	if l.none {
		return nil
	}
	if got, _ := j.out.Size(spool.Files); got != l.total {
		return types.Refuse(compute.DigestMismatch, "compute: the files that the job left have %d bytes, %d came", l.total, got)
	}
	for _, f := range l.list {
		if f.Found {
			continue
		}
		got, err := hashOf(j.out, spool.Files, f.At, f.At+f.Size)
		if err != nil {
			return err
		}
		if got != f.Hash {
			return types.Refuse(compute.DigestMismatch, "compute: what came as the file %.80q is not what the result says", f.Path)
		}
	}
	return nil
}

// LeftFile is a file that a job left.
type LeftFile struct {
	Path  string `json:"path"`
	Hash  string `json:"hash"` // SHA-256
	Bytes uint64 `json:"bytes"`
	Found bool   `json:"found"` // the job found it, and left it as it was
}

// filesOf lists the files that a job has left.
func (c *Customer) filesOf(r *record) ([]compute.Left, error) {
	if !r.State.Ended() {
		return nil, types.Refuse(role.NotFound, "compute: job %v has not ended: it is %s", r.ID, r.State)
	}
	out, closer, err := c.outputs(r)
	if err != nil {
		return nil, err
	}
	defer closer()
	files, err := listed(out)
	if err != nil {
		return nil, err
	}
	list, _ := files.Lay(r.Files)
	return list, nil
}

func (c *Customer) serveFiles(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.named(r, wallet)
	if err != nil {
		return err
	}
	list, err := c.filesOf(rec)
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, shown(list))
}

// shown is a list of files as it is answered.
func shown(list []compute.Left) []LeftFile {
	files := []LeftFile{}
	for _, f := range list {
		files = append(files, LeftFile{Path: f.Path, Hash: f.Hash.String(), Bytes: f.Size, Found: f.Found})
	}
	return files
}

func (c *Customer) serveFile(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	rec, err := c.named(r, wallet)
	if err != nil {
		return err
	}
	list, err := c.filesOf(rec)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	i, ok := slices.BinarySearchFunc(list, name, func(f compute.Left, name string) int { return cmp.Compare(f.Path, name) })
	if !ok {
		return types.Refuse(role.NotFound, "compute: job %v left no file %.80q", rec.ID, name)
	}
	f := list[i]
	var content io.ReadSeeker
	switch {
	case f.Found && f.Hash != compute.Nothing:
		in, err := c.inputs.Open(f.Hash)
		if err != nil {
			return types.Refuse(compute.InputMissing, "compute: the job left the file as it found it, and what was uploaded is here no more: %v", err)
		}
		defer in.Close() // only read
		content = in
	case rec.Unkept:
		return types.Refuse(compute.FilesUnkept, "compute: job %v", rec.ID)
	default:
		out, closer, err := c.outputs(rec)
		if err != nil {
			return err
		}
		defer closer()
		content = out.Section(spool.Files, f.At, f.Size)
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream") // whatever it is: a stranger's program wrote it
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Disposition", cmp.Or(mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(f.Path)}), "attachment"))
	h.Set("Etag", strconv.Quote(f.Hash.String()))
	http.ServeContent(w, r, "", time.Time{}, content)
	return nil
}
