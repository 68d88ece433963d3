// Package health looks at the files of a home and at the machine around it, and says what is wrong, what is
// lost by it and what to do.
//
// A program lists its Files. Examine looks at each: briefly, which costs next to nothing and can be done beside
// a program that runs, or whole. Mend moves aside what is damaged, where the program makes it anew or goes on
// without; it never deletes anything.
package health

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Level says how bad a Finding is.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // it works, and may not for long
	Bad  Level = "bad"  // something does not work, or will not
)

// Finding is one thing that was looked at.
type Finding struct {
	Level  Level  `json:"level"`
	What   string `json:"what"` // a file, as the home names it, or what was looked at
	Text   string `json:"text"`
	Lost   string `json:"lost,omitempty"` // what is lost by it
	Try    string `json:"try,omitempty"`
	Mended string `json:"mended,omitempty"` // where it was moved to
}

// Remedy says what can be done about a damaged file.
type Remedy int

// The remedies.
const (
	Restore Remedy = iota // only a backup helps
	Aside                 // the program goes on without, and what was in it is lost
	Remake                // the program makes it anew by itself
)

// File is one that a home holds, or a folder that is one store.
type File struct {
	Path   string // below the home
	Need   bool   // it is an error that it is missing
	Check  Check
	Lost   string // what is lost with it
	Remedy Remedy
	With   []string // what is of no use without it, and goes aside with it
}

// In returns files that are named below a folder by their names below the home that it is in.
func In(folder string, files []File) []File {
	out := slices.Clone(files)
	for i := range out {
		out[i].Path = filepath.Join(folder, out[i].Path)
	}
	return out
}

// Check reports what is wrong with a file. Whole, it reads all of it, and nobody else may have it open.
type Check func(path string, whole bool) error

// Examine looks at files and returns a finding for each that is damaged or missing; fine counts the others.
func Examine(home string, files []File, whole bool) (found []Finding, fine int) {
	for _, f := range files {
		err := f.Check(filepath.Join(home, f.Path), whole)
		if err == nil || errors.Is(err, fs.ErrNotExist) && !f.Need {
			fine++
			continue
		}
		d := Finding{Level: Bad, What: f.Path, Text: "it is damaged, or is not what belongs there: " + err.Error(), Lost: f.Lost}
		if errors.Is(err, fs.ErrNotExist) {
			d.Text = "it is missing"
		}
		switch f.Remedy {
		case Restore:
			d.Try = "restore it from a backup; nothing can make it anew"
		case Aside:
			d.Try = "restore it from a backup, or go on without what it held: doctor --repair moves it aside"
		case Remake:
			d.Level, d.Try = Warn, "nothing: it is made anew at the next start; doctor --repair moves it aside now"
		}
		found = append(found, d)
	}
	return found, fine
}

// Mend moves aside what findings name, where files say that helps, and notes where to.
func Mend(home string, files []File, found []Finding, only Remedy) error {
	moved := map[string]string{}
	stamp := time.Now().UTC().Format("20060102-150405")
	var errs []error
	for i := range found {
		for _, f := range files {
			if f.Path != found[i].What || f.Remedy < only || f.Remedy == Restore {
				continue
			}
			for _, path := range append([]string{f.Path}, f.With...) {
				from := filepath.Join(home, path)
				to := from + ".damaged-" + stamp
				if err := os.Rename(from, to); err == nil {
					moved[path] = to
				} else if !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, fmt.Errorf("move %s aside: %w", path, err))
				}
				if to := moved[path]; to != "" && path == f.Path { // by itself, or with another
					found[i].Mended, found[i].Level, found[i].Try = to, Warn, "what was in it is in "+filepath.Base(to)+", if somebody can make use of it"
				}
			}
		}
	}
	return errors.Join(errs...)
}

// Any checks that a file is there and not empty.
func Any(path string, _ bool) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() && info.Size() == 0 {
		err = errors.New("it is empty")
	}
	return err
}

// maxText bounds files that are read whole. Genesis documents are the longest.
const maxText = 256 << 20

// text reads a file.
func text(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(raw) > maxText {
		err = fmt.Errorf("it is longer than %d bytes", maxText)
	}
	if err == nil && len(bytes.Trim(raw, "\x00 \n\t\r")) == 0 {
		err = errors.New("there is nothing in it but zeros or blanks")
	}
	return raw, err
}

// JSON checks that a file is a JSON object with fields of those names.
func JSON(fields ...string) Check {
	return func(path string, _ bool) error {
		raw, err := text(path)
		if err != nil {
			return err
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil {
			return fmt.Errorf("no JSON object: %w", err)
		}
		for _, name := range fields {
			if _, ok := object[name]; !ok {
				return fmt.Errorf("it has no %q", name)
			}
		}
		return nil
	}
}

// Text checks a file that parse understands.
func Text(parse func([]byte) error) Check {
	return func(path string, _ bool) error {
		raw, err := text(path)
		if err != nil {
			return err
		}
		return parse(raw)
	}
}

// PEM checks a private key that only its owner may read.
func PEM(path string, _ bool) error {
	raw, err := text(path)
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(raw); block == nil {
		return errors.New("it holds no key")
	}
	return private(path)
}

func private(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = errors.New("others may read it: chmod 600")
	}
	return err
}

// wholeLimit is the size up to which a database is read whole.
const wholeLimit = 1 << 30

// Bolt checks a bbolt database: its first pages, that it is as long as they say, and whole, each page. A file
// that was cut short would otherwise end the program that reads it.
func Bolt(path string, whole bool) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	pages, size, err := boltPages(f)
	if err != nil {
		return err
	}
	if info.Size() < pages*size {
		return fmt.Errorf("it was cut short: %d bytes of %d", info.Size(), pages*size)
	}
	if !whole || info.Size() > wholeLimit {
		return nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page that the disk cannot read
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be read: %v", r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	// Not by bbolt's own check, which panics in a goroutine of its own.
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b, 0) })
	})
}

// walk reads every page of a bucket.
func walk(b *bbolt.Bucket, depth int) error {
	if depth > 16 {
		return errors.New("buckets within buckets without end")
	}
	var last []byte
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return errors.New("its keys are not in order")
		}
		last = k
		if inner := b.Bucket(k); v == nil && inner != nil {
			return walk(inner, depth+1)
		}
		return nil
	})
}
