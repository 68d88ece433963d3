package shardlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// file is what a log needs of os.File.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

// disk is the directory that logs are in.
type disk interface {
	// open opens a log for reading and writing, and makes it if it is not there. It returns its size.
	open(name string) (f file, size int64, err error)
	remove(name string) error
	list() ([]string, error) // names of all files
	// stat says what a name leads to; "." is the directory itself.
	stat(name string) (os.FileInfo, error)
	sync() error           // makes new and removed names durable
	free() (uint64, error) // bytes that the file system has left
}

// osDisk is a directory of the operating system's.
type osDisk string

func (d osDisk) open(name string) (file, int64, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

func (d osDisk) remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

func (d osDisk) list() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osDisk) stat(name string) (os.FileInfo, error) {
	return os.Stat(filepath.Join(string(d), name))
}

func (d osDisk) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
