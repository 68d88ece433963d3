package guest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	experimental "github.com/tetratelabs/wazero/experimental/sys"
)

const (
	rdwr  = experimental.O_RDWR
	creat = experimental.O_CREAT
)

func fresh() *memory { return newMemory(func() {}) }

func put(t *testing.T, m *memory, path, content string) {
	t.Helper()
	f, errno := m.OpenFile(path, rdwr|creat|experimental.O_TRUNC, 0)
	if errno != 0 {
		t.Fatalf("%s: %s", path, errno)
	}
	if n, errno := f.Write([]byte(content)); n != len(content) || errno != 0 {
		t.Fatalf("%s: wrote %d: %s", path, n, errno)
	}
	f.Close()
}

// list is every file with its content.
func list(m *memory) string {
	var b strings.Builder
	m.all(func(path string, n *node) error {
		p := make([]byte, min(n.size, 20))
		n.read(p, 0)
		fmt.Fprintf(&b, "%s=%s ", path, p)
		return nil
	})
	return b.String()
}

// TestFiles: what can be done to files, and what is refused, each with its errno.
func TestFiles(t *testing.T) {
	m := fresh()
	put(t, m, "a", "one")
	if errno := m.Mkdir("d", 0); errno != 0 {
		t.Fatal(errno)
	}
	put(t, m, "d/b", "two")
	put(t, m, "d.x", "three")
	if got := list(m); got != "a=one d.x=three d/b=two " {
		t.Errorf("in the order of paths: %s", got)
	}
	open := func(path string, flag experimental.Oflag) experimental.Errno {
		f, errno := m.OpenFile(path, flag, 0)
		if errno == 0 {
			f.Close()
		}
		return errno
	}
	for _, c := range []struct {
		what string
		got  experimental.Errno
		want experimental.Errno
	}{
		{"a file that is not there", open("x", 0), experimental.ENOENT},
		{"one below a file", open("a/x", 0), experimental.ENOTDIR},
		{"a file as a folder", open("a/", 0), experimental.ENOTDIR},
		{"a file where a folder must be", open("a", experimental.O_DIRECTORY), experimental.ENOTDIR},
		{"writing a folder", open("d", rdwr), experimental.EISDIR},
		{"making what is there", open("a", creat|experimental.O_EXCL), experimental.EEXIST},
		{"a long name", open(strings.Repeat("n", 256), creat), experimental.ENAMETOOLONG},
		{"a long path", open(strings.Repeat("d/", 600), 0), experimental.ENAMETOOLONG},
		{"above the root", open("d/../../a", 0), experimental.EPERM},
		{"a folder that is there", m.Mkdir("d", 0), experimental.EEXIST},
		{"the root", m.Mkdir("/", 0), experimental.EEXIST},
		{"removing a folder with files", m.Rmdir("d"), experimental.ENOTEMPTY},
		{"removing a folder as a file", m.Unlink("d"), experimental.EISDIR},
		{"removing a file as a folder", m.Rmdir("a"), experimental.ENOTDIR},
		{"removing the root", m.Rmdir("."), experimental.EPERM},
		{"a folder into itself", m.Rename("d", "d/e"), experimental.EINVAL},
		{"a file over a folder", m.Rename("a", "d"), experimental.EISDIR},
		{"a folder over a file", m.Rename("d", "a"), experimental.ENOTDIR},
		{"links", m.Link("a", "l"), experimental.ENOTSUP},
		{"symbolic links", m.Symlink("a", "l"), experimental.ENOTSUP},
		{"a path that grows too long by its folder's name", func() experimental.Errno {
			long := strings.Repeat("l", 250)
			for i := 1; i <= 3; i++ {
				m.Mkdir(strings.Repeat(long+"/", i), 0)
			}
			put(t, m, strings.Repeat(long+"/", 3)+long, "")
			m.Mkdir("deep", 0)
			return m.Rename(long, "deep/"+long)
		}(), 0},
		{"still longer", m.Rename("deep", strings.Repeat("m", 25)), experimental.ENAMETOOLONG},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
	if errno := m.Rename("d/b", "a"); errno != 0 {
		t.Error(errno)
	}
	if got := list(m); !strings.HasPrefix(got, "a=two d.x=three deep") {
		t.Errorf("after a rename: %s", got)
	}
}

// TestRead: holes are zeros, what was cut off does not come back, and an unlinked file lives until it is closed.
func TestRead(t *testing.T) {
	m := fresh()
	f, _ := m.OpenFile("a", rdwr|creat, 0)
	f.Pwrite([]byte("xyz"), 3*block-1)
	f.Truncate(3 * block)
	f.Truncate(4 * block)
	p := make([]byte, 4)
	if n, _ := f.Pread(p, 3*block-2); n != 4 || string(p) != "\x00x\x00\x00" {
		t.Errorf("%d %q", n, p)
	}
	if n, _ := f.Pread(p, 4*block); n != 0 {
		t.Errorf("%d bytes behind the end", n)
	}
	m.Unlink("a")
	if m.bytes != 4*block || m.files != 1 {
		t.Errorf("an open file without a name: %d bytes, %d files", m.bytes, m.files)
	}
	f.Close()
	if f.Close(); m.bytes != 0 || m.files != 0 || m.open != 0 {
		t.Errorf("closed: %d bytes, %d files, %d open", m.bytes, m.files, m.open)
	}
}

// TestRoom: what a guest may keep has an end, and removing gives room again.
func TestRoom(t *testing.T) {
	m := fresh()
	f, _ := m.OpenFile("big", rdwr|creat, 0)
	if errno := f.Truncate(MaxBytes); errno != 0 {
		t.Fatal(errno)
	}
	g, _ := m.OpenFile("other", rdwr|creat, 0)
	if _, errno := g.Write([]byte("x")); errno != experimental.EIO {
		t.Errorf("a byte too many: %s", errno)
	}
	if _, errno := f.Pwrite([]byte("x"), 1<<62); errno != experimental.EIO {
		t.Errorf("far behind: %s", errno)
	}
	f.Close()
	m.Unlink("big")
	if _, errno := g.Write([]byte("x")); errno != 0 {
		t.Error(errno)
	}
	for i := range maxFiles - 1 {
		put(t, m, fmt.Sprint("f", i), "")
	}
	if _, errno := m.OpenFile("more", rdwr|creat, 0); errno != experimental.EIO {
		t.Errorf("a file too many: %s", errno)
	}
}

// TestCounts: after any number of operations, what is counted is what is there.
func TestCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	m := fresh()
	name := func() string {
		s := string(rune('a' + r.IntN(4)))
		for range r.IntN(3) {
			s += "/" + string(rune('a'+r.IntN(4)))
		}
		return s
	}
	var open []experimental.File
	for range 20_000 {
		switch r.IntN(9) {
		case 0, 1:
			if f, errno := m.OpenFile(name(), rdwr|creat, 0); errno == 0 {
				open = append(open, f)
			}
		case 2:
			m.Mkdir(name(), 0)
		case 3:
			m.Rename(name(), name())
		case 4:
			m.Unlink(name())
		case 5:
			m.Rmdir(name())
		case 6, 7:
			if len(open) > 0 {
				f := open[r.IntN(len(open))]
				f.Pwrite(make([]byte, r.IntN(100)), int64(r.IntN(200_000)))
				f.Truncate(int64(r.IntN(300_000)))
			}
		case 8:
			if len(open) > 0 {
				i := r.IntN(len(open))
				open[i].Close()
				open = append(open[:i], open[i+1:]...)
			}
		}
	}
	files, dirs, size := 0, 0, int64(0)
	seen := map[*node]bool{}
	count := func(n *node) {
		if seen[n] {
			return
		}
		if seen[n] = true; n.dir {
			dirs++
			return
		}
		files++
		size += n.size
	}
	var walk func(n *node)
	walk = func(n *node) {
		count(n)
		for i, e := range n.entries {
			if i > 0 && n.entries[i-1].name >= e.name {
				t.Fatalf("%q before %q", n.entries[i-1].name, e.name)
			}
			walk(e.node)
		}
	}
	walk(m.root)
	for _, f := range open {
		switch f := f.(type) {
		case *file:
			count(f.n)
		case *folderFile:
			count(f.n)
		}
	}
	if files != m.files || dirs != m.dirs || size != m.bytes || len(open) != m.open {
		t.Errorf("%d files, %d folders, %d bytes, %d open; counted %d, %d, %d, %d", files, dirs, size, len(open), m.files, m.dirs, m.bytes, m.open)
	}
}
