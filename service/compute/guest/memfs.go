package guest

import (
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	experimental "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/cairn-network/cairn/service/compute"
)

// Bounds of what a guest's files may be.
const (
	MaxBytes = 256 << 20        // of all files together
	maxFiles = compute.MaxFiles // and as many folders
	maxPath  = compute.MaxPath  // bytes of a path, from the root
	maxName  = 255              // of a part of one
	maxOpen  = 1_024            // open at a time
	block    = 64 << 10         // files are kept in blocks, so that a hole takes no memory
)

// node is a file or a folder.
type node struct {
	ino     uint64
	dir     bool
	entries []entry // of a folder, ascending by name
	blocks  [][]byte
	size    int64
	linked  bool // has a name
	opens   int
	input   string // the path of the input that it is, unchanged; "" for others
}

type entry struct {
	name string
	node *node
}

// memory is a file system in memory. Everything about it follows from what was done to it: folders are read in
// the order of names, times are zero, inodes are numbered as they are made. There are no links.
type memory struct {
	experimental.UnimplementedFS
	root  *node
	bytes int64 // sizes of all files
	files int
	dirs  int
	made  uint64
	open  int
	tick  func() // called at each call
}

func newMemory(tick func()) *memory {
	m := &memory{tick: tick}
	m.root = m.make(true)
	return m
}

func (m *memory) make(dir bool) *node {
	if m.made++; dir {
		m.dirs++
	} else {
		m.files++
	}
	return &node{ino: m.made, dir: dir, linked: true}
}

// drop forgets a node that has neither a name nor anybody who has it open.
func (m *memory) drop(n *node) {
	if !n.linked && n.opens == 0 {
		if m.bytes -= n.size; n.dir {
			m.dirs--
		} else {
			m.files--
		}
		n.blocks = nil
	}
}

func (n *node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
}

func (n *node) stat() sys.Stat_t {
	s := sys.Stat_t{Dev: 1, Ino: n.ino, Mode: 0o600, Nlink: 1, Size: n.size}
	if n.dir {
		s.Mode = fs.ModeDir | 0o700
	}
	return s
}

// walk goes to the folder that the last part of a path is in. The last part is "" for the root.
func (m *memory) walk(path string) (folder *node, name string, errno experimental.Errno) {
	m.tick()
	if len(path) > maxPath {
		return nil, "", experimental.ENAMETOOLONG
	}
	folder = m.root
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			return nil, "", experimental.EPERM
		}
		if name != "" {
			i, ok := folder.find(name)
			if !ok {
				return nil, "", experimental.ENOENT
			}
			if folder = folder.entries[i].node; !folder.dir {
				return nil, "", experimental.ENOTDIR
			}
		}
		name = part
	}
	return folder, name, 0
}

// lookup returns the node of a path.
func (m *memory) lookup(path string) (*node, experimental.Errno) {
	folder, name, errno := m.walk(path)
	if errno != 0 || name == "" {
		return folder, errno
	}
	i, ok := folder.find(name)
	if !ok {
		return nil, experimental.ENOENT
	}
	if n := folder.entries[i].node; n.dir || !strings.HasSuffix(path, "/") {
		return n, 0
	}
	return nil, experimental.ENOTDIR
}

// create makes a file or folder that is not there yet.
func (m *memory) create(folder *node, name string, dir bool) (*node, experimental.Errno) {
	i, ok := folder.find(name)
	switch {
	case ok:
		return nil, experimental.EEXIST
	case !dir && m.files >= maxFiles, dir && m.dirs >= maxFiles:
		return nil, experimental.EIO
	case len(name) > maxName:
		return nil, experimental.ENAMETOOLONG
	case !utf8.ValidString(name):
		return nil, experimental.EINVAL
	}
	n := m.make(dir)
	folder.entries = slices.Insert(folder.entries, i, entry{name, n})
	return n, 0
}

func (m *memory) OpenFile(path string, flag experimental.Oflag, _ fs.FileMode) (experimental.File, experimental.Errno) {
	folder, name, errno := m.walk(path)
	if errno != 0 {
		return nil, errno
	}
	n := folder
	writes := flag&(experimental.O_WRONLY|experimental.O_RDWR) != 0
	if name != "" {
		i, ok := folder.find(name)
		switch {
		case ok && flag&experimental.O_CREAT != 0 && flag&experimental.O_EXCL != 0:
			return nil, experimental.EEXIST
		case ok:
			n = folder.entries[i].node
		case flag&experimental.O_CREAT == 0:
			return nil, experimental.ENOENT
		case strings.HasSuffix(path, "/"):
			return nil, experimental.EISDIR
		default:
			if n, errno = m.create(folder, name, false); errno != 0 {
				return nil, errno
			}
		}
	}
	switch {
	case n.dir && (writes || flag&experimental.O_TRUNC != 0):
		return nil, experimental.EISDIR
	case !n.dir && (flag&experimental.O_DIRECTORY != 0 || strings.HasSuffix(path, "/")):
		return nil, experimental.ENOTDIR
	case m.open >= maxOpen:
		return nil, experimental.EAGAIN
	}
	m.open++
	n.opens++
	f := &file{m: m, n: n, reads: flag&experimental.O_WRONLY == 0, writes: writes, appends: flag&experimental.O_APPEND != 0}
	if n.dir {
		return &folderFile{file: f}, 0
	}
	if flag&experimental.O_TRUNC != 0 {
		f.resize(0)
	}
	return f, 0
}

func (m *memory) Lstat(path string) (sys.Stat_t, experimental.Errno) { return m.Stat(path) }

func (m *memory) Stat(path string) (sys.Stat_t, experimental.Errno) {
	n, errno := m.lookup(path)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	return n.stat(), 0
}

func (m *memory) Mkdir(path string, _ fs.FileMode) experimental.Errno {
	folder, name, errno := m.walk(path)
	if errno != 0 {
		return errno
	}
	if name == "" {
		return experimental.EEXIST
	}
	_, errno = m.create(folder, name, true)
	return errno
}

func (m *memory) Chmod(path string, _ fs.FileMode) experimental.Errno {
	_, errno := m.lookup(path)
	return errno
}

func (m *memory) Utimens(path string, _, _ int64) experimental.Errno {
	_, errno := m.lookup(path)
	return errno
}

func (m *memory) Link(string, string) experimental.Errno    { return experimental.ENOTSUP }
func (m *memory) Symlink(string, string) experimental.Errno { return experimental.ENOTSUP }
func (m *memory) Readlink(path string) (string, experimental.Errno) {
	if _, errno := m.lookup(path); errno != 0 {
		return "", errno
	}
	return "", experimental.EINVAL
}

// remove takes a name away.
func (m *memory) remove(path string, dir bool) experimental.Errno {
	folder, name, errno := m.walk(path)
	if errno != 0 {
		return errno
	}
	if name == "" {
		return experimental.EPERM
	}
	i, ok := folder.find(name)
	if !ok {
		return experimental.ENOENT
	}
	n := folder.entries[i].node
	switch {
	case dir && !n.dir || !n.dir && strings.HasSuffix(path, "/"):
		return experimental.ENOTDIR
	case !dir && n.dir:
		return experimental.EISDIR
	case len(n.entries) > 0:
		return experimental.ENOTEMPTY
	}
	folder.entries = slices.Delete(folder.entries, i, i+1)
	n.linked = false
	m.drop(n)
	return 0
}

func (m *memory) Rmdir(path string) experimental.Errno  { return m.remove(path, true) }
func (m *memory) Unlink(path string) experimental.Errno { return m.remove(path, false) }

func (m *memory) Rename(from, to string) experimental.Errno {
	n, errno := m.lookup(from)
	if errno != 0 {
		return errno
	}
	if n == m.root {
		return experimental.EPERM
	}
	target, name, errno := m.walk(to)
	if errno != 0 {
		return errno
	}
	deepest, holds := n.below(target)
	switch {
	case name == "", holds:
		return experimental.EINVAL
	case len(name) > maxName, len(strings.TrimSuffix(to, "/"))+deepest > maxPath:
		return experimental.ENAMETOOLONG
	case !n.dir && strings.HasSuffix(to, "/"):
		return experimental.ENOTDIR
	}
	if i, ok := target.find(name); ok {
		old := target.entries[i].node
		switch {
		case old == n:
			return 0
		case n.dir && !old.dir:
			return experimental.ENOTDIR
		case !n.dir && old.dir:
			return experimental.EISDIR
		}
		if errno := m.remove(to, old.dir); errno != 0 {
			return errno
		}
	}
	folder, base, _ := m.walk(from)
	i, _ := folder.find(base)
	folder.entries = slices.Delete(folder.entries, i, i+1)
	i, _ = target.find(name)
	target.entries = slices.Insert(target.entries, i, entry{name, n})
	return 0
}

// below says how long the longest path below n is, and whether other is n or one of its folders.
func (n *node) below(other *node) (longest int, holds bool) {
	holds = n == other
	for _, e := range n.entries {
		l, h := e.node.below(other)
		longest, holds = max(longest, 1+len(e.name)+l), holds || h
	}
	return longest, holds
}

// add puts a file of size bytes there before the guest begins, and its folders. It returns where its bytes go.
func (m *memory) add(path string, size int64) (*node, bool) {
	parts := strings.Split(path, "/")
	for i := range parts[:len(parts)-1] {
		if errno := m.Mkdir(strings.Join(parts[:i+1], "/"), 0); errno != 0 && errno != experimental.EEXIST {
			return nil, false
		}
	}
	folder, name, errno := m.walk(path)
	if errno != 0 || name == "" {
		return nil, false
	}
	n, errno := m.create(folder, name, false)
	if errno != 0 || !m.resize(n, size) {
		return nil, false
	}
	n.input = path
	return n, true
}

// all calls with every file, in the order of paths.
func (m *memory) all(with func(path string, n *node) error) error { return walkAll(m.root, "", with) }

func walkAll(n *node, prefix string, with func(path string, n *node) error) error {
	type item struct {
		path string
		node *node
	}
	// a/b comes before a.c by path though a.c is the smaller name: order by whole paths.
	var items []item
	var collect func(n *node, prefix string)
	collect = func(n *node, prefix string) {
		for _, e := range n.entries {
			if e.node.dir {
				collect(e.node, prefix+e.name+"/")
				continue
			}
			items = append(items, item{prefix + e.name, e.node})
		}
	}
	collect(n, prefix)
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.path, b.path) })
	for _, i := range items {
		if err := with(i.path, i.node); err != nil {
			return err
		}
	}
	return nil
}

// resize changes a file's size. It says whether there was room.
func (m *memory) resize(n *node, size int64) bool {
	if size < 0 || size > MaxBytes || m.bytes-n.size+size > MaxBytes {
		return false
	}
	m.bytes += size - n.size
	need := int((size + block - 1) / block)
	switch {
	case need < len(n.blocks):
		clear(n.blocks[need:])
		n.blocks = n.blocks[:need]
	case need > len(n.blocks):
		n.blocks = slices.Grow(n.blocks, need-len(n.blocks))[:need]
	}
	if rest := size % block; size < n.size && rest > 0 && n.blocks[need-1] != nil {
		clear(n.blocks[need-1][rest:])
	}
	n.size, n.input = size, ""
	return true
}

func (n *node) read(p []byte, at int64) int {
	if at >= n.size {
		return 0
	}
	p = p[:min(int64(len(p)), n.size-at)]
	for done := 0; done < len(p); {
		b, off := (at+int64(done))/block, int((at+int64(done))%block)
		part := p[done:min(len(p), done+block-off)]
		if n.blocks[b] == nil {
			clear(part)
		} else {
			copy(part, n.blocks[b][off:])
		}
		done += len(part)
	}
	return len(p)
}

// write puts p at an offset that is within the file's size.
func (n *node) write(p []byte, at int64) {
	for done := 0; done < len(p); {
		b, off := (at+int64(done))/block, int((at+int64(done))%block)
		part := p[done:min(len(p), done+block-off)]
		if n.blocks[b] == nil {
			n.blocks[b] = make([]byte, block)
		}
		copy(n.blocks[b][off:], part)
		done += len(part)
	}
}

// position is an int64. wazero's Seek is not io.Seeker's, for which go vet would take it.
type position = int64

// file is an open file.
type file struct {
	experimental.UnimplementedFile
	m       *memory
	n       *node
	at      int64
	reads   bool
	writes  bool
	appends bool
	closed  bool
}

func (f *file) Dev() (uint64, experimental.Errno)        { return 1, 0 }
func (f *file) Ino() (uint64, experimental.Errno)        { return f.n.ino, 0 }
func (f *file) IsDir() (bool, experimental.Errno)        { return f.n.dir, 0 }
func (f *file) IsAppend() bool                           { return f.appends }
func (f *file) Stat() (sys.Stat_t, experimental.Errno)   { f.m.tick(); return f.n.stat(), 0 }
func (f *file) Sync() experimental.Errno                 { return 0 }
func (f *file) Datasync() experimental.Errno             { return 0 }
func (f *file) Utimens(int64, int64) experimental.Errno  { return 0 }
func (f *file) SetAppend(enable bool) experimental.Errno { f.appends = enable; return 0 }
func (f *file) resize(size int64) bool                   { return f.m.resize(f.n, size) }

func (f *file) Read(p []byte) (int, experimental.Errno) {
	n, errno := f.Pread(p, f.at)
	f.at += int64(n)
	return n, errno
}

func (f *file) Pread(p []byte, at int64) (int, experimental.Errno) {
	f.m.tick()
	switch {
	case !f.reads:
		return 0, experimental.EBADF
	case at < 0:
		return 0, experimental.EINVAL
	}
	return f.n.read(p, at), 0
}

func (f *file) Write(p []byte) (int, experimental.Errno) {
	if f.appends {
		f.at = f.n.size
	}
	n, errno := f.Pwrite(p, f.at)
	f.at += int64(n)
	return n, errno
}

func (f *file) Pwrite(p []byte, at int64) (int, experimental.Errno) {
	f.m.tick()
	end := at + int64(len(p))
	switch {
	case !f.writes:
		return 0, experimental.EBADF
	case at < 0:
		return 0, experimental.EINVAL
	case len(p) == 0:
		return 0, 0
	case end < at || end > f.n.size && !f.resize(end):
		return 0, experimental.EIO // no room
	}
	f.n.input = ""
	f.n.write(p, at)
	return len(p), 0
}

func (f *file) Truncate(size int64) experimental.Errno {
	f.m.tick()
	switch {
	case !f.writes:
		return experimental.EBADF
	case size < 0:
		return experimental.EINVAL
	case !f.resize(size):
		return experimental.EIO
	}
	return 0
}

func (f *file) Seek(offset position, whence int) (position, experimental.Errno) {
	f.m.tick()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.n.size
	default:
		return 0, experimental.EINVAL
	}
	if offset < 0 {
		return 0, experimental.EINVAL
	}
	f.at = offset
	return offset, 0
}

func (f *file) Readdir(int) ([]experimental.Dirent, experimental.Errno) {
	return nil, experimental.ENOTDIR
}

func (f *file) Close() experimental.Errno {
	f.m.tick()
	if !f.closed {
		f.closed = true
		f.m.open--
		f.n.opens--
		f.m.drop(f.n)
	}
	return 0
}

// folderFile is an open folder.
type folderFile struct {
	experimental.DirFile
	*file
	last string // the name that was read last
}

func (f *folderFile) IsAppend() bool                                 { return false }
func (f *folderFile) SetAppend(bool) experimental.Errno              { return experimental.EISDIR }
func (f *folderFile) IsDir() (bool, experimental.Errno)              { return true, 0 }
func (f *folderFile) Read([]byte) (int, experimental.Errno)          { return 0, experimental.EISDIR }
func (f *folderFile) Pread([]byte, int64) (int, experimental.Errno)  { return 0, experimental.EISDIR }
func (f *folderFile) Write([]byte) (int, experimental.Errno)         { return 0, experimental.EISDIR }
func (f *folderFile) Pwrite([]byte, int64) (int, experimental.Errno) { return 0, experimental.EISDIR }
func (f *folderFile) Truncate(int64) experimental.Errno              { return experimental.EISDIR }

func (f *folderFile) Seek(offset position, whence int) (position, experimental.Errno) {
	if offset != 0 || whence != io.SeekStart {
		return 0, experimental.EINVAL
	}
	f.last = ""
	return 0, 0
}

// Readdir goes on behind the name that was read last, whatever was made or removed meanwhile.
func (f *folderFile) Readdir(n int) ([]experimental.Dirent, experimental.Errno) {
	f.m.tick()
	i, found := f.n.find(f.last)
	if found {
		i++
	}
	rest := f.n.entries[i:]
	if n > 0 {
		rest = rest[:min(n, len(rest))]
	}
	out := make([]experimental.Dirent, len(rest))
	for j, e := range rest {
		out[j] = experimental.Dirent{Ino: e.node.ino, Name: e.name}
		if e.node.dir {
			out[j].Type = fs.ModeDir
		}
		f.last = e.name
	}
	return out, 0
}

// utf8Path says whether a path is one of a File.
func utf8Path(path string) bool { return fs.ValidPath(path) && path != "." && len(path) <= maxPath }
