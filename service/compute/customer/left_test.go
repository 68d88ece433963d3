package customer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/compute/spool"
)

// parcel is what a test's device sends of a job that left files.
type parcel struct {
	files  compute.Files // whose root it signs
	list   []byte        // that it sends
	bytes  []byte
	resend func() // is called once half of the bytes are sent
	silent bool   // it never says that the job has ended
}

// pack is an honest parcel of files by name.
func pack(content ...string) *parcel {
	p := &parcel{}
	for i := 0; i < len(content); i += 2 {
		b := []byte(content[i+1])
		p.files = append(p.files, compute.File{Path: content[i], Size: uint64(len(b)), Hash: types.Sum(b)})
		p.bytes = append(p.bytes, b...)
	}
	p.list = p.files.Encode()
	return p
}

// leaving runs a job that leaves files.
func leaving(p *parcel) play {
	return func(r *run) error {
		for {
			s, at, err := r.join()
			if err != nil {
				return err
			}
			kept := make(chan error, 1)
			go func() {
				err := r.await(s, link.Kept)
				kept <- err
				s.Close()
			}()
			if err = r.write(s, at); err == nil {
				err = p.send(r, s)
			}
			if err == nil && p.silent {
				err = <-kept
			} else if err == nil {
				res := r.ended().Result
				res.Output = p.files.Root()
				o := &r.call.Order.Order
				e := &compute.Ended{Result: res, Leaf: r.leaf(compute.Leaf{Session: o.Session, Index: o.Index, Job: o.Job, Result: res.Hash(), Fuel: r.fuel, Mode: o.Mode})}
				err = s.Write(link.Frame{Kind: link.End, Data: e.Encode()})
			}
			if err == nil && !p.silent {
				err = <-kept
			}
			s.Close()
			if err == nil || r.ctx.Err() != nil {
				return err
			}
		}
	}
}

func (p *parcel) send(r *run, s *link.Stream) error {
	if err := sendAll(s, spool.List, p.list, r.have[spool.List-1], nil); err != nil {
		return err
	}
	return sendAll(s, spool.Files, p.bytes, r.have[spool.Files-1], p.resend)
}

func sendAll(s *link.Stream, stream spool.Stream, b []byte, at uint64, half func()) error {
	for at < uint64(len(b)) {
		n := min(uint64(len(b))-at, link.MaxData)
		if err := s.Write(link.Frame{Kind: link.Output, Stream: uint8(stream), Offset: at, Data: b[at : at+n]}); err != nil {
			return err
		}
		if at += n; half != nil && at >= uint64(len(b)/2) {
			half()
			half = nil
		}
	}
	return nil
}

// TestFiles: files that a job left are listed and fetched, as a whole and in part, by whoever's job it is; names
// that programs like to write come through.
func TestFiles(t *testing.T) {
	w, m := newWorld(t)
	odd := []string{"-rf", "a b", "a/b.txt", "aux?x=1#y", "empty", "line\nbreak", "per%41cent", "ü/\\x"}
	var content []string
	for _, name := range odd {
		text := "this is " + name
		if name == "empty" {
			text = ""
		}
		content = append(content, name, text)
	}
	newDevice(t, w, "a", 4, leaving(pack(content...)))
	g := newGateway(t, m)
	g.sees(1)
	id := g.submit("")
	r := g.result(id)
	var list []LeftFile
	if status := g.call("GET", "/jobs/"+id+"/files", nil, &list); status != 200 || len(list) != len(odd) || len(r.Files) != len(odd) || r.Unkept {
		t.Fatalf("%d: %+v, %+v", status, list, r)
	}
	for i, f := range list {
		want := content[2*i+1]
		if f.Path != odd[i] || f.Bytes != uint64(len(want)) || f.Hash != types.Sum([]byte(want)).String() || f.Found {
			t.Errorf("%+v", f)
		}
		var got []byte
		if status := g.call("GET", "/jobs/"+id+"/files/"+escape(f.Path), nil, &got); status != 200 || string(got) != want {
			t.Errorf("%q: %d %q", f.Path, status, got)
		}
	}
	res, err := http.NewRequestWithContext(t.Context(), "GET", g.http.URL+"/jobs/"+id+"/files/a/b.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Header.Set("Range", "bytes=5-6")
	answer, err := http.DefaultClient.Do(res)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	h := answer.Header
	if answer.StatusCode != 206 || answer.ContentLength != 2 || h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Content-Type-Options") != "nosniff" ||
		h.Get("Etag") != `"`+list[2].Hash+`"` || h.Get("Content-Disposition") != "attachment; filename=b.txt" || h.Get("Content-Range") != "bytes 5-6/15" {
		t.Errorf("%d %v", answer.StatusCode, h)
	}
	for _, name := range []string{"nothing", "a", "%2e%2e/jobs.db", "..%2fjobs.db"} {
		if status := g.call("GET", "/jobs/"+id+"/files/"+name, nil, new([]byte)); status != 404 {
			t.Errorf("%s: %d", name, status)
		}
	}
	g.call("DELETE", "/jobs/"+id, nil, nil)
	var p struct{ Reason types.Reason }
	if status := g.call("GET", "/jobs/"+id+"/files", nil, &p); status != 404 || p.Reason != compute.NoJob {
		t.Errorf("forgotten: %d %v", status, p)
	}
}

// TestFilesFound: what a job found and left as it was comes from what was uploaded, not from the device.
func TestFilesFound(t *testing.T) {
	w, m := newWorld(t)
	var in Input
	p := pack("in", "unchanged", "out", "new")
	p.bytes = []byte("new")
	newDevice(t, w, "a", 4, leaving(p))
	g := newGateway(t, m)
	g.sees(1)
	g.call("POST", "/inputs", []byte("unchanged"), &in)
	id := g.submit("file=in:" + in.Hash)
	if r := g.result(id); r.State != Done || !r.Files[0].Found || r.Files[1].Found {
		t.Errorf("%+v", r)
	}
	for name, want := range map[string]string{"in": "unchanged", "out": "new"} {
		var got []byte
		if g.call("GET", "/jobs/"+id+"/files/"+name, nil, &got); string(got) != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestFileCheats: a device that sends other files than it signed is left, whatever it does, and the customer
// gets those of another one.
func TestFileCheats(t *testing.T) {
	flip := func(p *parcel) { p.bytes[0]++ }
	list := func(change func(compute.Files) compute.Files) func(*parcel) {
		return func(p *parcel) {
			f := change(append(compute.Files{}, p.files...))
			p.files, p.list = f, f.Encode()
		}
	}
	many := func(n int) compute.Files {
		f := make(compute.Files, n)
		for i := range f {
			f[i] = compute.File{Path: fmt.Sprintf("%07d", i), Hash: compute.Nothing}
		}
		return f
	}
	for name, c := range map[string]struct {
		change func(*parcel)
		why    types.Reason
	}{
		"another byte":          {flip, compute.DigestMismatch},
		"another list":          {func(p *parcel) { p.list = pack("a", "xyz", "c", "12").list }, compute.DigestMismatch},
		"no list":               {func(p *parcel) { p.list, p.bytes = nil, nil }, compute.DigestMismatch},
		"bytes without a list":  {func(p *parcel) { p.list = nil }, compute.DigestMismatch},
		"more bytes than said":  {func(p *parcel) { p.bytes = append(p.bytes, make([]byte, 1<<20)...) }, compute.DigestMismatch},
		"more, and no end":      {func(p *parcel) { p.bytes, p.silent = append(p.bytes, 0), true }, compute.DigestMismatch},
		"fewer":                 {func(p *parcel) { p.bytes = p.bytes[:2] }, compute.DigestMismatch},
		"a name that leads out": {list(func(f compute.Files) compute.Files { f[0].Path = "../x"; return f }), types.BadEncoding},
		"an absolute name":      {list(func(f compute.Files) compute.Files { f[0].Path = "/etc/passwd"; return f }), types.BadEncoding},
		"the same name twice":   {list(func(f compute.Files) compute.Files { f[1] = f[0]; return f }), types.BadEncoding},
		"a huge file":           {list(func(f compute.Files) compute.Files { f[1].Size = 1 << 60; return f }), compute.TooLarge},
		"a list of 5,000 files": {list(func(compute.Files) compute.Files { return many(5000) }), compute.TooLarge},
		"of a million files":    {list(func(compute.Files) compute.Files { return many(1_000_000) }), compute.TooLarge},
		"nonsense for a list":   {func(p *parcel) { p.list = []byte("nonsense") }, types.BadEncoding},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := newWorld(t)
			p := pack("a", "xyz", "b", "12")
			c.change(p)
			bad := newDevice(t, w, "bad", 1, leaving(p))
			good := newDevice(t, w, "good", 5, leaving(pack("a", "xyz", "b", "12")))
			g := newGateway(t, m)
			g.sees(2)
			id := g.submit("")
			r := g.result(id)
			if r.State != Done || r.Device != good.Key().String() || r.Tries != 2 {
				t.Fatalf("%+v", r)
			}
			rec, err := g.books.get(m.Account(), mustID(t, id))
			if err != nil || rec.Tries[0].Device != bad.Key() || rec.Tries[0].Reason != c.why {
				t.Errorf("%+v, %v", rec.Tries, err)
			}
			var got []byte
			if g.call("GET", "/jobs/"+id+"/files/b", nil, &got); string(got) != "12" {
				t.Errorf("%q", got)
			}
			if len(g.coming) != 0 {
				t.Errorf("room is kept for nothing: %v", g.coming)
			}
		})
	}
}

func mustID(t *testing.T, text string) (id ID) {
	if err := id.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestFilesKilled: a gateway that is stopped while files come goes on where it was.
func TestFilesKilled(t *testing.T) {
	w, m := newWorld(t)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	p := pack("big", big, "small", "x")
	half := make(chan struct{})
	var again atomic.Int64
	p.resend = func() {
		select {
		case <-half:
		default:
			close(half)
		}
	}
	newDevice(t, w, "a", 4, func(r *run) error {
		r.joined = func(have [link.Outputs]uint64) { again.Store(int64(have[spool.Files-1])) }
		return leaving(p)(r)
	})
	g := newGateway(t, m)
	g.sees(1)
	id := g.submit("")
	out := g.find(m.Account(), mustID(t, id)).out
	<-half
	for end := out.Left(); end < 1<<18; end = out.Left() { // some of it is here
		if r, err := g.record(m.Account(), mustID(t, id)); err != nil || r.State.Ended() {
			break
		}
	}
	g.stop()
	g = newGateway(t, m)
	g.sees(1)
	if r := g.result(id); r.State != Done || r.Tries != 1 {
		t.Fatalf("%+v", r)
	}
	var got []byte
	if g.call("GET", "/jobs/"+id+"/files/big", nil, &got); string(got) != big {
		t.Errorf("%d bytes", len(got))
	}
	t.Logf("the device went on at %d of %d", again.Load(), len(p.bytes))
}

// TestFilesFull: a gateway that has no room for a job's files keeps its result, and says why they are not there;
// so it does where the disk is full.
func TestFilesFull(t *testing.T) {
	for name, full := range map[string]bool{"share": false, "disk": true} {
		t.Run(name, func(t *testing.T) {
			w, m := newWorld(t)
			started, ready := make(chan struct{}), make(chan struct{})
			newDevice(t, w, "a", 4, func(r *run) error {
				close(started)
				<-ready
				return leaving(pack("a", strings.Repeat("x", 4000), "b", ""))(r)
			})
			cfg := Config{Outputs: 8 * 3999}
			if full {
				cfg.Outputs = 1 << 20
			}
			g := newGateway(t, m, cfg)
			g.sees(1)
			id := g.submit("")
			<-started
			if full { // a disk on which no byte finds room
				if err := os.Symlink("/dev/full", filepath.Join(g.dir(mustID(t, id)), spool.Files.String())); err != nil {
					t.Fatal(err)
				}
			}
			close(ready)
			r := g.result(id)
			if r.State != Done || r.Tries != 1 || !r.Unkept || len(r.Files) != 2 {
				t.Fatalf("%+v", r)
			}
			var p struct{ Reason types.Reason }
			if status := g.call("GET", "/jobs/"+id+"/files/a", nil, &p); status != 507 || p.Reason != compute.FilesUnkept {
				t.Errorf("%d %+v", status, p)
			}
			var out []byte
			if g.call("GET", "/jobs/"+id+"/logs", nil, &out); string(out) != "hello\n" {
				t.Errorf("%q", out)
			}
		})
	}
}

// TestShare: what is kept is shared, so that who leaves much pushes out what is its own.
func TestShare(t *testing.T) {
	account := func(n byte) types.Account { return types.Account{n} }
	for _, c := range []struct {
		has  []uint64
		most uint64
		want uint64
	}{
		{[]uint64{1, 2, 3}, 6, ^uint64(0)}, {[]uint64{1, 2, 1000}, 100, 97}, {[]uint64{500, 2, 1000}, 102, 50}, {nil, 5, ^uint64(0)}, {[]uint64{7, 7}, 0, 0},
	} {
		has := map[types.Account]uint64{}
		for i, n := range c.has {
			has[account(byte(i+1))] = n
		}
		if got := share(has, c.most); got != c.want {
			t.Errorf("%v of %d: %d, want %d", c.has, c.most, got, c.want)
		}
	}
	_, m := newWorld(t)
	g := newGateway(t, m, Config{Outputs: 1000})
	put := func(a types.Account, n uint64, ended int64) ID {
		r := &record{ID: newID(), Account: a, State: Done, Bytes: n, Ended: g.began.UnixMilli() + ended}
		if err := g.books.put(r); err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	quiet := put(account(1), 400, 1) // the oldest of all
	for i := range int64(50) {
		put(account(2), 300, 10+i)
	}
	if err := g.sweep(); err != nil {
		t.Fatal(err)
	}
	left := 0
	if err := g.books.each(account(2), func(*record) { left++ }); err != nil || left != 2 {
		t.Errorf("%d, %v", left, err)
	}
	if _, err := g.books.get(account(1), quiet); err != nil {
		t.Error("who leaves much has pushed out what is another's")
	}
}

// TestSave: the command writes below its folder and nowhere else, whatever a job's files are called.
func TestSave(t *testing.T) {
	dir, elsewhere := filepath.Join(t.TempDir(), "out"), t.TempDir()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"link": elsewhere, "secret": filepath.Join(elsewhere, "secret")} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &saver{root: root}
	save := func(name, says, comes string) error {
		f := LeftFile{Path: name, Bytes: uint64(len(says)), Hash: types.Sum([]byte(says)).String()}
		return s.save(f, func(w io.Writer) error {
			_, err := w.Write([]byte(comes))
			return err
		})
	}
	for _, name := range []string{"a", "deep/er/b", "-rf", "new\nline", "secret", "c:\\x"} {
		if err := save(name, "text of "+name, "text of "+name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "text of "+name {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for name, what := range map[string][2]string{
		"../x": {"x", "x"}, "/tmp/x": {"x", "x"}, "a/../../x": {"x", "x"}, "link/x": {"x", "x"}, "a/below": {"x", "x"}, ".": {"x", "x"}, "": {"x", "x"},
		"other": {"abc", "abd"}, "more": {"abc", "abcd"}, "fewer": {"abc", "ab"}, "nul\x00": {"x", "x"}, "deep": {"x", "x"},
	} {
		if err := save(name, what[0], what[1]); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	// A file system on which two names are one: here by a link that has both.
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "A")); err != nil {
		t.Fatal(err)
	}
	if err := save("A", "x", "x"); types.ReasonOf(err) != types.BadArgument {
		t.Errorf("a name that is another one here: %v", err)
	}
	list, err := os.ReadDir(elsewhere)
	if err != nil || len(list) != 0 {
		t.Errorf("elsewhere: %v, %v", list, err)
	}
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if strings.HasPrefix(d.Name(), ".cairn-") {
			err = errors.Join(err, fmt.Errorf("%s is left", d.Name()))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got := printable("a\x1b[2Jb"); got != `"a\x1b[2Jb"` {
		t.Error(got)
	}
}
