package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
)

// markFile is in each folder in which a provider keeps what it can't make anew, with a word that the node's
// database has too.
const markFile = ".folder"

// holdFolders holds a provider's folders against what the node knows of them. One that is missing, empty or
// another's is refused, as it is while its disk is not mounted: the provider would begin anew on whatever disk
// is there, and declare all that it ever held lost. anew takes them as they are.
func (r *runner) holdFolders(anew bool) error {
	name := r.provider.Category.String()
	for _, folder := range append([]string{"."}, r.provider.Folders...) {
		if err := r.node.holdFolder(filepath.Join(name, folder), filepath.Join(r.dir, folder), name, anew); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) holdFolder(name, dir, category string, anew bool) error {
	known := string(n.outbox.Get("folder " + name))
	path := filepath.Join(dir, markFile)
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("node: %s: %w: %w", category, err, types.HomeUnwritable)
	}
	mark := strings.TrimSpace(string(raw))
	switch {
	case mark != "" && mark == known:
		return nil
	case known != "" && !anew:
		what := "is another than this device used"
		if mark == "" {
			what = "is missing, or is not the one that this device used"
		}
		return types.Refuse(types.HomeChanged, "node: %s: the folder %s %s: if its disk is not mounted, mount it; if it is lost for good, `--new-folder %s` has the device "+
			"begin anew there and declare lost what it held", category, dir, what, category)
	case mark == "":
		mark = rand.Text()
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			err = files.Replace(path, []byte(mark+"\n"), 0o600)
		}
		if err != nil {
			return fmt.Errorf("node: %s: %w: %w", category, err, types.HomeUnwritable)
		}
	}
	return n.outbox.Put("folder "+name, []byte(mark)) // after the mark: a crash between the two leaves one that is taken over
}

// anew reports whether the owner said that a category's folder is lost.
func (c *Config) anew(category types.Category) bool {
	return slices.Contains(c.NewFolders, category.String())
}
