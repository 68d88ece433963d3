package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/all/customer"
	"github.com/cairn-network/cairn/service/all/simulator"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/customer/match"
	"github.com/cairn-network/cairn/service/role"
)

// hello is the least program that says something: it writes "hello\n" and ends. Made with wat2wasm of
//
//	(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
//	  (memory (export "memory") 1) (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
//	  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
var hello = []byte("\x00asm\x01\x00\x00\x00\x01\x0c\x02\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\x00\x00\x02\x23\x01\x16wasi_snapshot_preview1\x08fd_write\x00\x00\x03\x02\x01\x01\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x01\x0a\x0f\x01\x0d\x00\x41\x01\x41\x00\x41\x01\x41\x10\x10\x00\x1a\x0b" +
	"\x0b\x14\x01\x00\x41\x00\x0b\x0e\x08\x00\x00\x00\x06\x00\x00\x00hello\x0a")

// BenchmarkJob is what a customer of a network like that of `cairn up` waits for: from sending a program to the
// gateway's API to the first byte that it wrote, of a program that ran before. Once by its hash, as `cairn job`
// sends it, and once with the program in the request, as curl does. Beside it, starting a process that writes a
// byte. Then orders: each finds its device among 10,000, is signed, goes over the bus, and is checked there and
// refused, since it offers too little. At last a device is stopped in the middle of a job, and what counts is
// when another one has it.
func BenchmarkJob(b *testing.B) {
	home, err := os.MkdirTemp("", "cairn-bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(home)
	j := new(jobBench)
	n, err := Start(b.Context(), Config{
		Home: home, Nodes: 1, Listen: "127.0.0.1:0", Log: logTo(home), Customers: j.customers(),
		Simulators: slices.DeleteFunc(simulator.Simulators(), func(s role.Simulator) bool { return s.Category == types.Energy }),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Stop()
	j.api = n.Addresses().API + "/compute/v1"
	ctx, cancel := context.WithTimeout(b.Context(), 3*time.Minute)
	defer cancel()
	who, err := n.EnsureCustomer(ctx)
	if err != nil {
		b.Fatal(err)
	}
	j.key = who.APIKey
	var in struct{ Hash string }
	if err := j.call("POST", "/inputs", hello, &in); err != nil {
		b.Fatal(err)
	}
	named, err := json.Marshal(map[string]any{"code": in.Hash, "private": true})
	if err != nil {
		b.Fatal(err)
	}
	for range 8 { // both devices, warm
		for {
			if _, _, err = j.run(named, "/jobs", "application/json"); err == nil {
				break
			}
			if ctx.Err() != nil {
				b.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	echo, err := exec.LookPath("echo")
	if err != nil {
		b.Fatal(err)
	}
	times := map[string][]time.Duration{}
	note := func(name string, d time.Duration) { times[name] = append(times[name], d) }
	for b.Loop() {
		for name, send := range map[string]func() (time.Duration, time.Duration, error){
			"named": func() (time.Duration, time.Duration, error) { return j.run(named, "/jobs", "application/json") },
			"whole": func() (time.Duration, time.Duration, error) {
				return j.run(hello, "/jobs?private=1", "application/wasm")
			},
		} {
			answered, first, err := send()
			if err != nil {
				b.Fatal(name, err)
			}
			note(name+"-answer", answered)
			note(name, first)
		}
		begun := time.Now()
		if out, err := exec.Command(echo).Output(); err != nil || len(out) != 1 {
			b.Fatal(out, err)
		}
		note("bare", time.Since(begun))
	}
	for name, list := range times {
		slices.Sort(list)
		for _, p := range []int{50, 99} {
			b.ReportMetric(float64(list[min(len(list)*p/100, len(list)-1)].Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", name, p))
		}
	}
	b.ReportMetric(j.orders(b), "orders/s")
	b.ReportMetric(j.lost(b, n).Seconds(), "rematch-s")
}

// jobBench is a customer of compute.
type jobBench struct {
	api, key string
	market   role.Market // of the gateway
}

// customers are the gateway's, of which compute's market is kept.
func (j *jobBench) customers() []role.Customer {
	list := customer.Customers()
	for i := range list {
		if mount := list[i].Mount; list[i].Category == types.Compute {
			list[i].Mount = func(m role.Market) (http.Handler, error) {
				j.market = m
				return mount(m)
			}
		}
	}
	return list
}

// orders returns how many orders are matched, signed and answered in a second, on all cores.
func (j *jobBench) orders(b *testing.B) float64 {
	offers, _, err := j.market.Offers(b.Context(), role.Want{Class: compute.Wasm})
	if err != nil || len(offers) == 0 {
		b.Fatalf("%d offers: %v", len(offers), err)
	}
	book := match.NewBook([16]byte{1})
	for i := range 10_000 {
		a := match.Ask{Device: types.Key(types.Sum(binary.BigEndian.AppendUint64(nil, uint64(i)))), Owner: types.Account{byte(i), byte(i >> 8), 1}, Class: compute.Wasm, Price: types.Credit(10 + i), Until: 1 << 40,
			Quality: 5000}
		book.Put(a)
		book.Hear(a.Device, compute.Wasm, 1, 0)
	}
	wallet := j.market.Wallets()[0]
	epoch := j.market.Notice().Epoch
	const workers, each = 32, 20 // of one gateway a device takes 400 at once, and 200 in a second
	var group errgroup.Group
	begun := time.Now()
	for w := range workers {
		group.Go(func() error {
			for i := range each {
				job := compute.Job{Profile: compute.WasmProfile, Code: types.Sum(hello), Args: []string{fmt.Sprint(w, i)}, Env: []string{}, Stdin: compute.Nothing, Input: compute.Files{}.Root(),
					Limit: 1, Pages: 1}
				if _, ok := book.Find(&match.Need{Job: job.Hash(), Class: compute.Wasm, Slots: 1, Price: 1 << 30}); !ok {
					return errors.New("nobody found")
				}
				o := compute.Order{
					Device: offers[w%len(offers)].Ask.Ask.Device, Payer: wallet.Payer(), Session: types.NewSessionID(epoch+100, [12]byte{byte(w), byte(i)}), Job: job.Hash(), Class: compute.Wasm, Slots: 1,
					Price: 1, Ceiling: 1, RunnerUp: []byte{}, Deadline: uint64(time.Now().Add(2 * time.Second).UnixMilli()), Mode: compute.Public, Gateway: "127.0.0.1:1",
				}
				call := compute.Call{Order: compute.SignedOrder{Order: o, Signature: wallet.Sign(compute.DomainOrder, o.Payload())}, Job: job, Files: compute.Files{},
					Inputs: []compute.Input{{Hash: job.Code, Size: uint64(len(hello)), Data: hello}}}
				ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
				raw, err := j.market.Ask(ctx, wallet, role.Question{Device: o.Device, Kind: compute.KindOrder, Body: call.Encode()})
				cancel()
				if err != nil {
					return err
				}
				if a, err := compute.DecodeAnswer(raw); err != nil || a.Reason != compute.PriceBelowAsk {
					return fmt.Errorf("%+v, %w", a, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return workers * each / time.Since(begun).Seconds()
}

// endless counts for ever. Made with wat2wasm of
//
//	(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))
var endless = []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00\x0a\x09\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b")

// lost stops the device of a job, and returns after how long another one has it.
func (j *jobBench) lost(b *testing.B, n *Network) time.Duration {
	var state struct{ ID, Device, State string }
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		res, err := j.send("POST", "/jobs?limit=100000000000", endless, "application/wasm")
		if err == nil {
			err = json.NewDecoder(res.Body).Decode(&state)
			res.Body.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
	wait := func(what string, is func() bool) {
		for end := time.Now().Add(time.Minute); !is(); time.Sleep(2 * time.Millisecond) {
			if err := j.call("GET", "/jobs/"+state.ID, nil, &state); err != nil || time.Now().After(end) {
				b.Fatalf("%s: never: %+v, %v", what, state, err)
			}
		}
	}
	wait("it runs", func() bool { return state.State == "running" })
	first := state.Device
	begun := time.Now()
	for _, d := range n.simulated {
		if d.engine.Key().String() == first {
			go d.halt()
		}
	}
	wait("another one has it", func() bool { return state.Device != first })
	took := time.Since(begun)
	if err := j.call("DELETE", "/jobs/"+state.ID, nil, &state); err != nil {
		b.Fatal(err)
	}
	return took
}

func (j *jobBench) send(method, path string, body []byte, kind string) (*http.Response, error) {
	r, err := http.NewRequest(method, j.api+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+j.key)
	r.Header.Set("Content-Type", kind)
	res, err := http.DefaultClient.Do(r)
	if err == nil && res.StatusCode >= 300 {
		raw, _ := io.ReadAll(res.Body)
		res.Body.Close()
		return nil, fmt.Errorf("%s %s: %s", method, path, raw)
	}
	return res, err
}

func (j *jobBench) call(method, path string, body []byte, out any) error {
	res, err := j.send(method, path, body, "application/octet-stream")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(out)
}

// run has a job done, and returns how long its submission and its first output took.
func (j *jobBench) run(body []byte, path, kind string) (answered, first time.Duration, err error) {
	begun := time.Now()
	res, err := j.send("POST", path, body, kind)
	if err != nil {
		return 0, 0, err
	}
	var p struct{ ID string }
	err = json.NewDecoder(res.Body).Decode(&p)
	res.Body.Close()
	if err != nil {
		return 0, 0, err
	}
	answered = time.Since(begun)
	if res, err = j.send("GET", "/jobs/"+p.ID+"/logs?follow=1", nil, ""); err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	var one [1]byte
	if _, err := io.ReadFull(res.Body, one[:]); err != nil {
		return 0, 0, err
	}
	first = time.Since(begun)
	rest, err := io.ReadAll(res.Body)
	if err != nil || string(one[:])+string(rest) != "hello\n" {
		return 0, 0, fmt.Errorf("it wrote %q: %w", rest, err)
	}
	var end struct{ State string }
	if err := j.call("GET", "/jobs/"+p.ID+"/result?wait=1", nil, &end); err != nil || end.State != "done" {
		return 0, 0, fmt.Errorf("it is %q: %w", end.State, err)
	}
	return answered, first, nil
}
