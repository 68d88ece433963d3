package network

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/storage"
	"github.com/cairn-network/cairn/service/storage/customer"
	"github.com/cairn-network/cairn/service/storage/customer/pipeline"
)

const (
	storeSize = 256 << 20 // of the object that is put and got
	limitSize = 64 << 20  // of what the pipeline alone works on
	memoryDir = "/dev/shm"
)

// BenchmarkStore puts and gets an object through the gateway of a network of eight devices in this process, as
// `cairn up` has them. Before and after each it runs the pipeline alone, in memory: seal, Reed–Solomon, mask
// and hash; and bare devices. Rates are in MiB of the object; the lab profile stores two bytes for each. Once
// with everything on disk, once with everything in memory, where the system has a folder for that. Medians of
// its iterations are reported.
func BenchmarkStore(b *testing.B) {
	b.Run("disk", func(b *testing.B) { benchStore(b, "") })
	b.Run("memory", func(b *testing.B) { benchStore(b, memoryDir) })
}

func benchStore(b *testing.B, under string) {
	home, err := os.MkdirTemp(under, "cairn-bench-")
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(home)
	n, err := Start(b.Context(), Config{Home: home, Homes: -1, Listen: "127.0.0.1:0", Log: logTo(home)})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Stop()
	s := newStoreBench(b, n, home)
	for b.Loop() {
		s.round(b)
	}
	s.report(b)
}

// storeBench measures in rounds.
type storeBench struct {
	api, key string
	home     string
	data     []byte
	coder    *pipeline.Coder
	manifest *pipeline.Manifest
	shards   *kept
	bare     *bare
	written  *pipeline.Manifest // by bare
	sums     map[string][]float64
}

// newStoreBench waits until the devices take shards.
func newStoreBench(b *testing.B, n *Network, home string) *storeBench {
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	who, err := n.EnsureCustomer(ctx)
	if err != nil {
		b.Fatal(err)
	}
	s := &storeBench{
		api: n.Addresses().API + "/storage/v1/objects", key: who.APIKey, home: home, data: make([]byte, storeSize),
		coder: pipeline.New(pipeline.Config{Spare: -1}, pipeline.MaskKey{}), shards: &kept{list: map[shardKey][]byte{}}, sums: map[string][]float64{},
	}
	rand.Read(s.data)
	for {
		id, err := s.put(s.data[:1<<20])
		if err == nil {
			s.remove(b, id)
			break
		}
		select {
		case <-ctx.Done():
			b.Fatal(err)
		case <-time.After(time.Second):
		}
	}
	s.manifest, err = s.coder.Encode(ctx, bytes.NewReader(s.data[:limitSize]), pipeline.Lab, pipeline.BucketKey{}, s.shards.keep)
	if err != nil {
		b.Fatal(err)
	}
	s.bare = newBare(b, home, s.coder)
	return s
}

// round puts, gets and deletes once, each between two runs of the pipeline alone.
func (s *storeBench) round(b *testing.B) {
	var id string
	var err error
	s.beside(b, "put", s.encode, s.barePut, func() error {
		id, err = s.put(s.data)
		return err
	})
	s.beside(b, "get", s.decode, s.bareGet, func() error { return s.get(id) })
	s.remove(b, id)
	start := time.Now()
	if err := s.write(); err != nil {
		b.Fatal(err)
	}
	s.note("disk-MiB/s", mebi(limitSize, time.Since(start)))
}

// beside runs what, and the pipeline alone and with bare devices before and after it.
func (s *storeBench) beside(b *testing.B, name string, alone, bare, what func() error) {
	var wall, used [3]time.Duration // of the pipeline alone, with bare devices, and of what
	for _, i := range []int{0, 1, 2, 1, 0} {
		cpu, start := processor(), time.Now()
		if err := []func() error{alone, bare, what}[i](); err != nil {
			b.Fatalf("%s: %v", name, err)
		}
		wall[i], used[i] = wall[i]+time.Since(start), used[i]+processor()-cpu
	}
	rate, limit, floor := mebi(storeSize, wall[2]), mebi(2*limitSize, wall[0]), mebi(2*limitSize, wall[1])
	s.note(name+"-MiB/s", rate)
	s.note(name+"-limit-MiB/s", limit)
	s.note(name+"-ratio", rate/limit)
	s.note(name+"-bare-MiB/s", floor)
	s.note(name+"-bare-ratio", rate/floor)
	rate, limit, floor = mebi(storeSize, used[2]), mebi(2*limitSize, used[0]), mebi(2*limitSize, used[1]) // for each second of processor time
	s.note(name+"-core-MiB/s", rate)
	s.note(name+"-core-limit-MiB/s", limit)
	s.note(name+"-core-ratio", rate/limit)
	s.note(name+"-core-bare-MiB/s", floor)
	s.note(name+"-core-bare-ratio", rate/floor)
}

func (s *storeBench) note(unit string, v float64) { s.sums[unit] = append(s.sums[unit], v) }

func (s *storeBench) report(b *testing.B) {
	for unit, list := range s.sums {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], unit)
	}
}

func mebi(n int, d time.Duration) float64 { return float64(n) / (1 << 20) / d.Seconds() }

// processor is the processor time that this process has used, on all cores.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// encode is what a put computes, without anywhere to put it.
func (s *storeBench) encode() error {
	_, err := s.coder.Encode(context.Background(), bytes.NewReader(s.data[:limitSize]), pipeline.Lab, pipeline.BucketKey{},
		func(context.Context, int, pipeline.Segment, [][]byte) error { return nil })
	return err
}

// decode is what a get computes, with the shards in memory.
func (s *storeBench) decode() error {
	return s.coder.Decode(context.Background(), s.manifest, pipeline.BucketKey{}, io.Discard, s.shards)
}

func (s *storeBench) barePut() (err error) {
	s.written, err = s.bare.put(s.data[:limitSize])
	return err
}

func (s *storeBench) bareGet() error {
	return s.coder.Decode(context.Background(), s.written, pipeline.BucketKey{}, io.Discard, s.bare)
}

// write writes what a disk is then asked to keep.
func (s *storeBench) write() error {
	path := filepath.Join(s.home, "raw")
	defer os.Remove(path)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(s.data[:limitSize]); err != nil {
		return err
	}
	return f.Sync()
}

func (s *storeBench) do(method, path string, body io.Reader, length int64) (*http.Response, error) {
	req, err := http.NewRequest(method, s.api+path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	req.Header.Set("Authorization", "Bearer "+s.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<12))
		return nil, fmt.Errorf("%s: %s", res.Status, text)
	}
	return res, nil
}

func (s *storeBench) put(data []byte) (string, error) {
	res, err := s.do("PUT", "", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var o customer.Object
	err = json.NewDecoder(res.Body).Decode(&o)
	return o.ID, err
}

// get compares while it reads.
func (s *storeBench) get(id string) error {
	res, err := s.do("GET", "/"+id, nil, 0)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	buf := make([]byte, 256<<10)
	at := 0
	for at < len(s.data) {
		n, err := io.ReadFull(res.Body, buf[:min(len(buf), len(s.data)-at)])
		if err != nil || !bytes.Equal(buf[:n], s.data[at:at+n]) {
			return fmt.Errorf("other bytes at %d: %v", at, err)
		}
		at += n
	}
	return nil
}

func (s *storeBench) remove(b *testing.B, id string) {
	res, err := s.do("DELETE", "/"+id, nil, 0)
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
}

// kept is the shards of one object, in memory.
type kept struct {
	mu   sync.Mutex
	list map[shardKey][]byte
}

type shardKey struct {
	index, slot int
}

func (k *kept) keep(_ context.Context, index int, _ pipeline.Segment, shards [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for slot, s := range shards {
		k.list[shardKey{index, slot}] = slices.Clone(s)
	}
	return nil
}

// Order implements pipeline.Fetcher.
func (k *kept) Order(int, pipeline.Segment) []int { return nil }

// Shard implements pipeline.Fetcher.
func (k *kept) Shard(_ context.Context, index int, _ pipeline.Segment, slot int, into *pipeline.Incoming) error {
	_, err := into.Write(k.list[shardKey{index, slot}])
	return err
}

// Slice implements pipeline.Fetcher.
func (k *kept) Slice(_ context.Context, index int, _ pipeline.Segment, slot, offset, length int) ([]byte, error) {
	return storage.ExtractSlice(k.list[shardKey{index, slot}], offset, length)
}
