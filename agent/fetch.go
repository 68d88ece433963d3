package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/service/role"
)

const (
	fetchWindow = 4                     // pieces that are asked for at a time
	fetchPace   = 10 * time.Millisecond // between two of them: what a device takes of requests is not for one fetch alone
	fetchWait   = 10 * time.Second      // for one of them
	fetchStall  = 30 * time.Second      // without a piece, until it is given up
)

// Fetch fetches what a device of a category holds by its hash, in pieces, asked for with key, and returns its size.
func (a *Agent) Fetch(ctx context.Context, key types.PrivateKey, c types.Category, f role.Fetch) (int64, error) {
	g := &fetch{Fetch: f, wait: fetchWait, stall: fetchStall, ask: func(ctx context.Context, body []byte) ([]byte, error) {
		return a.Ask(ctx, key, c, role.Question{Device: f.Device, Kind: bus.KindBlob, Body: body})
	}}
	size, err := g.run(ctx)
	if err != nil {
		return 0, fmt.Errorf("agent: fetch %v from %v: %w", f.Hash, f.Device, err)
	}
	return size, nil
}

// fetch is one that is under way.
type fetch struct {
	role.Fetch
	ask         func(ctx context.Context, body []byte) ([]byte, error)
	wait, stall time.Duration
	size        int64 // as the device said first; -1 before that
}

func (f *fetch) run(ctx context.Context) (int64, error) {
	if size, err := checkFile(f.Path, f.Hash); err == nil {
		return size, nil
	}
	part := f.Path + ".part"
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, diskError(err)
	}
	defer file.Close()
	have, err := file.Seek(0, io.SeekEnd)
	if err == nil && have > f.Most { // it is of another fetch
		have, err = 0, file.Truncate(0)
	}
	if err != nil {
		return 0, diskError(err)
	}
	f.size = -1
	if err := f.pull(ctx, file, have); err != nil {
		return 0, err
	}
	if _, err := checkFile(part, f.Hash); err != nil {
		if types.ReasonOf(err) == types.BadAnswer {
			_ = os.Remove(part) // what stays is found wrong again
		}
		return 0, err
	}
	if err := errors.Join(file.Sync(), os.Rename(part, f.Path), files.SyncDir(filepath.Dir(f.Path))); err != nil {
		return 0, diskError(err)
	}
	return f.size, nil
}

// pull has file grow from have bytes to all.
func (f *fetch) pull(ctx context.Context, file *os.File, have int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ahead []chan piece
	var soonest time.Time
	heard, pause := time.Now(), 100*time.Millisecond
	for next := have; f.size < 0 || have < f.size; {
		for len(ahead) < fetchWindow && (f.size < 0 && len(ahead) == 0 || next < f.size) {
			time.Sleep(time.Until(soonest))
			soonest = time.Now().Add(fetchPace)
			ahead = append(ahead, f.piece(ctx, next))
			next += bus.PieceSize
		}
		p := <-ahead[0]
		ahead = ahead[1:]
		if p.err == nil {
			p.err = f.fits(p.Size, p.Data, have)
		}
		switch {
		case p.err == errShorter:
			if err := file.Truncate(0); err != nil {
				return diskError(err)
			}
			have, next, ahead = 0, 0, nil
		case p.err == nil:
			if _, err := file.WriteAt(p.Data, have); err != nil {
				return diskError(err)
			}
			have += int64(len(p.Data))
			heard, pause = time.Now(), 100*time.Millisecond
		case ctx.Err() != nil || !passing(p.err) || time.Since(heard) > f.stall:
			return p.err
		default:
			select {
			case <-ctx.Done():
				return p.err
			case <-time.After(pause):
			}
			pause = min(2*pause, 2*time.Second)
			next, ahead = have, nil // what was asked ahead is asked again
		}
	}
	return nil
}

// piece is what came of a question.
type piece struct {
	bus.Piece
	err error
}

func (f *fetch) piece(ctx context.Context, offset int64) chan piece {
	c := make(chan piece, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, f.wait)
		defer cancel()
		var p piece
		var raw []byte
		if raw, p.err = f.ask(ctx, types.Encode(&bus.PieceQuery{Hash: f.Hash, Offset: uint64(offset)})); p.err == nil {
			if err := types.DecodeLimit(raw, &p.Piece, bus.MaxAsked); err != nil {
				p.err = types.Refuse(types.BadAnswer, "a piece: %v", err)
			}
		}
		c <- p
	}()
	return c
}

// errShorter says that there are more bytes already than the blob has: they are of another one.
var errShorter = errors.New("there are more bytes already")

// fits refuses a piece that is not what was asked for.
func (f *fetch) fits(size uint64, data []byte, offset int64) error {
	if f.size < 0 {
		if size > uint64(max(f.Most, 0)) {
			return types.Refuse(types.Oversize, "it has %d bytes, at most %d are taken", size, f.Most)
		}
		f.size = int64(size)
	}
	switch {
	case size != uint64(f.size):
		return types.Refuse(types.BadAnswer, "it has %d bytes, and had %d", size, f.size)
	case offset > f.size:
		return errShorter
	case int64(len(data)) != min(bus.PieceSize, f.size-offset):
		return types.Refuse(types.BadAnswer, "a piece of %d bytes at %d of %d", len(data), offset, f.size)
	}
	return nil
}

// passing reports whether what was refused may be given a moment later.
func passing(err error) bool {
	switch types.ReasonOf(err) {
	case types.DeviceAway, types.DeviceLate, types.DeviceBusy, types.StaleRequest, types.AskedBefore, types.BusUnavailable:
		return true
	}
	return false
}

// checkFile returns the size of a file that has a hash. One that has not is bad_answer.
func checkFile(path string, hash types.Hash) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	h := sha256.New()
	n, err := io.Copy(h, file)
	if err != nil {
		return 0, err
	}
	if got := types.Hash(h.Sum(nil)); got != hash {
		return 0, types.Refuse(types.BadAnswer, "the bytes have hash %v", got)
	}
	return n, nil
}
