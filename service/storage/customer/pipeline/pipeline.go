// Package pipeline turns an object of any length into shards that strangers can keep, and back, in bounded memory.
//
// # From object to shards
//
//  1. The object is sealed as one DARE 2.0 stream (github.com/minio/sio: AES-256-GCM, packages of 64 KiB) under a random key, which
//     travels in the manifest, wrapped by the key of its bucket.
//  2. The sealed stream is cut into segments of k × 1 MiB; the last one is shorter. The shard length of a segment is ⌈length/k⌉
//     rounded up to 1 KiB; the data are padded with zeros to k shards and Reed–Solomon adds n − k more (GF(2⁸), polynomial
//     0x11d, systematic Vandermonde matrix, as github.com/klauspost/reedsolomon has it by default).
//  3. Each of the n shards is masked: slot i ^= AES-256-CTR(HKDF-SHA-256(mask key, segment id), IV = i ‖ 0¹⁵). A segment id is 16
//     random bytes and never used twice. So a device cannot make one shard from others, and a rebuilt shard is the same bytes.
//  4. The name of a shard is the BLAKE3 root of its masked bytes.
//
// [Coder.Encode] does this for a stream and hands each segment to the caller as soon as it is ready; what it
// returns, the [Manifest], is all that [Coder.Decode], [Coder.DecodeRange] and [Coder.Rebuild] need besides the
// keys. A manifest names shards, not devices: who holds what is the caller's to know, and its answer comes in
// through a [Fetcher].
//
// # Keys
//
// All keys derive from one account [Secret]: a key per bucket that reads objects, a key that reads the metadata
// journal, and the [MaskKey]. Who has only the mask key can rebuild shards and cannot read them.
//
// # Memory and concurrency
//
// The operations of a Coder, and of those made from it for other accounts ([Coder.For]), have their buffers in
// Config.Memory together; who comes later waits, and one account has no more than its [Share]. One operation
// works on at most Config.InFlight segments at once, so that sealing, coding, hashing and the network overlap.
// Of that memory nothing waits for a customer: what one has sent of a segment, or has not taken yet, is in a
// part of its own, and in a file where that is full.
//
// # Trust
//
// Nothing that a Fetcher delivers is believed: whole shards are hashed, slices are checked against their Bao
// proof, and what comes out at the end is authenticated by its seal. A device that answers with other bytes is
// treated as one that did not answer.
package pipeline

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/reedsolomon"
	"golang.org/x/sync/semaphore"
)

const (
	// MaxShard is the length in bytes of the shards of all segments but the last.
	MaxShard = 1 << 20
	// shardUnit is what shard lengths are multiples of: a BLAKE3 chunk, so that no challenge meets a short one.
	shardUnit = 1 << 10
	// maxTotal bounds n: a slot is one byte of the mask's IV.
	maxTotal = 256
)

// A Profile is a trade of safety against space: any K of N shards bring a segment back.
type Profile struct {
	Name string
	K, N int
	// Success is how many devices must have countersigned before a PUT is reported as done.
	Success int
	// Repair is the count of live shards at which the lost ones are rebuilt.
	Repair int
}

// The profiles. P(loss) with independent node loss of 0.1 and no repair: Lab 4e-4, Std 7e-7, Deep 6e-15.
var (
	Lab  = Profile{Name: "lab", K: 4, N: 8, Success: 7, Repair: 6}
	Std  = Profile{Name: "std", K: 10, N: 20, Success: 18, Repair: 15}
	Deep = Profile{Name: "deep", K: 10, N: 30, Success: 27, Repair: 20}
)

// Profiles lists the profiles, smallest first.
func Profiles() []Profile { return []Profile{Lab, Std, Deep} }

// ParseProfile returns the profile of that name.
func ParseProfile(name string) (Profile, error) {
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("pipeline: no profile %q (lab, std, deep)", name)
}

// SegmentLength is the length in bytes of the sealed data in one full segment.
func (p Profile) SegmentLength() int { return p.K * MaxShard }

// shardLength is the length of the k shards that hold length bytes.
func shardLength(length, k int) int {
	each := (length + k - 1) / k
	return (each + shardUnit - 1) / shardUnit * shardUnit
}

// Config bounds a Coder. The zero value of a field means its default.
type Config struct {
	// Memory bounds the buffers of all operations together, in bytes. Default 64 MiB. One operation may exceed
	// it alone where a single segment is larger. A quarter of it is for what waits for customers.
	Memory int64
	// Spool is a directory for what waits for customers beyond that, at most Spooled bytes in files without a
	// name. Default the system's for temporary files, and 1 GiB.
	Spool   string
	Spooled int64
	// InFlight bounds the segments of one operation that are in memory at once. Default 4.
	InFlight int
	// Spare is how many shards beyond k a read asks for where k are slow to come: see Hedge. Default 2;
	// negative for none.
	Spare int
	// Hedge is how long a read waits at least for k shards before it asks for the spare ones, and it waits as
	// long again as half of them took: what is asked for is paid for, and mostly k come in time (Dean and
	// Barroso, The Tail at Scale, 2013). Default 100 ms.
	Hedge time.Duration
	// Stall is how long a read waits for any of the shards it asked for before it asks one device more. Default 2 s.
	Stall time.Duration
	// Rand is the source of object keys, nonces and segment ids. Default crypto/rand. Tests only: repeated
	// output breaks both the seal and the mask.
	Rand io.Reader
}

func (c Config) withDefaults() Config {
	if c.Memory <= 0 {
		c.Memory = 64 << 20
	}
	if c.Spooled <= 0 {
		c.Spooled = 1 << 30
	}
	if c.InFlight <= 0 {
		c.InFlight = 4
	}
	switch {
	case c.Spare == 0:
		c.Spare = 2
	case c.Spare < 0:
		c.Spare = 0
	}
	if c.Hedge <= 0 {
		c.Hedge = 100 * time.Millisecond
	}
	if c.Stall <= 0 {
		c.Stall = 2 * time.Second
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c
}

// Coder encodes and decodes under one mask key. It is safe for concurrent use.
type Coder struct {
	cfg   Config
	mask  MaskKey
	share *Share
	*shared
}

// shared is what the Coders of several accounts have in common.
type shared struct {
	memory    *semaphore.Weighted // of slabs
	slabsMost int64
	room      *room

	mu    sync.Mutex
	codes map[[2]int]reedsolomon.Encoder // by k and n; guarded by mu
	slabs map[int]*sync.Pool             // of *[]byte, by length; guarded by mu
}

// New returns a Coder for the shards that mask covers.
func New(cfg Config, mask MaskKey) *Coder {
	cfg = cfg.withDefaults()
	waiting := cfg.Memory / 4
	slabs := cfg.Memory - waiting
	c := &Coder{cfg: cfg, mask: mask, shared: &shared{
		memory: semaphore.NewWeighted(slabs), slabsMost: slabs, codes: map[[2]int]reedsolomon.Encoder{}, slabs: map[int]*sync.Pool{},
		room: &room{dir: cfg.Spool, memoryMost: waiting, diskMost: cfg.Spooled},
	}}
	c.share = c.NewShare()
	return c
}

// For returns a Coder for the shards of another account, within the same bounds: Config.Memory is for all
// together. What it takes counts towards share.
func (c *Coder) For(mask MaskKey, share *Share) *Coder {
	return &Coder{cfg: c.cfg, mask: mask, share: share, shared: c.shared}
}

// code returns the Reed–Solomon code k of n. Its goroutines are off, since shards are worked on in parallel
// above it, and so is its cache of inverted matrices, which would grow with every new set of lost shards.
func (c *Coder) code(k, n int) (reedsolomon.Encoder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if enc := c.codes[[2]int{k, n}]; enc != nil {
		return enc, nil
	}
	enc, err := reedsolomon.New(k, n-k, reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
	if err != nil {
		return nil, fmt.Errorf("pipeline: code %d of %d: %w", k, n, err)
	}
	c.codes[[2]int{k, n}] = enc
	return enc, nil
}

// slab is memory out of the Coder's budget. Whoever works in it holds it; the last to let go gives it back.
type slab struct {
	buf    []byte
	mu     sync.Mutex
	users  int // guarded by mu
	giveUp func()
}

// acquire waits for size bytes of the budget, and of the account's share of it. The slab has one user, the
// caller, who waits for no customer while it has it.
func (c *Coder) acquire(ctx context.Context, size int) (*slab, error) {
	weight, own := min(int64(size), c.slabsMost), min(int64(size), c.share.most)
	if err := c.share.slabs.Acquire(ctx, own); err != nil {
		return nil, err
	}
	if err := c.memory.Acquire(ctx, weight); err != nil {
		c.share.slabs.Release(own)
		return nil, err
	}
	giveUp := func() {
		c.memory.Release(weight)
		c.share.slabs.Release(own)
	}
	// Only whole segments repeat their size; slabs for others are left to the garbage collector.
	if size%MaxShard != 0 {
		return &slab{buf: make([]byte, size), users: 1, giveUp: giveUp}, nil
	}
	c.mu.Lock()
	pool := c.slabs[size]
	if pool == nil {
		pool = &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
		c.slabs[size] = pool
	}
	c.mu.Unlock()
	buf := pool.Get().(*[]byte)
	return &slab{buf: *buf, users: 1, giveUp: func() { pool.Put(buf); giveUp() }}, nil
}

func (s *slab) hold() {
	s.mu.Lock()
	s.users++
	s.mu.Unlock()
}

func (s *slab) release() {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if last {
		s.giveUp()
	}
}

// parallel calls f(0) … f(n−1) on as many goroutines as there are processors.
func parallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for range workers {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	wg.Wait()
}
