// Package card has the products of package mac computed by a program of its own, cairn-card, which knows how to
// speak to a graphics card. A driver that hangs or crashes takes that program with it and not the device; it is
// started again.
//
// They speak through the program's standard input and output. It begins with one line of JSON, Hello: the card
// that it has, or why it has none. Then it answers each request, a seed of 32 bytes, the order, how many rows
// are to be shown, and their numbers, with a byte: 0, the 32 bytes of each row's hash, and the rows, or 1, the
// length of a message, and why there are none. Numbers are u32, big endian. It ends when its input does.
package card

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute/mac"
)

// Program is the name of the program, which lies beside the device's own.
const Program = "cairn-card"

// MaxRows is how many rows are shown at a time.
const MaxRows = 256

// Bounds.
const (
	startTime  = 60 * time.Second // for the driver to compile the kernels, and a first round
	roundTime  = 10 * time.Second // for one round; a card that takes longer is of no use in a check of 2 seconds
	restTime   = 30 * time.Second // between two starts
	maxMessage = 1 << 10          // bytes of an error
	maxHello   = 16 << 10         // bytes of the first line
)

// Hello is what the program says first.
type Hello struct {
	Name   string `json:"name,omitempty"`   // of the card
	Memory uint64 `json:"memory,omitempty"` // bytes that are free
	Error  string `json:"error,omitempty"`  // why there is none
}

// Computer computes a round of order n: SHA-256 of each row of the product (mac.Product.Leaves), and some rows
// as they are shown.
type Computer func(seed types.Hash, n int, rows ...int) ([]types.Hash, [][]byte, error)

// Serve answers requests from r on w by compute, until r ends.
func Serve(r io.Reader, w io.Writer, hello Hello, compute Computer) error {
	line, err := json.Marshal(hello)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(line, '\n')); err != nil || hello.Error != "" {
		return err
	}
	var request [32 + 4 + 4]byte
	for {
		if _, err := io.ReadFull(r, request[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		count := binary.BigEndian.Uint32(request[36:])
		if count > MaxRows {
			return fmt.Errorf("card: %d rows, at most %d are shown at a time", count, MaxRows)
		}
		raw, rows := make([]byte, 4*count), make([]int, count)
		if _, err := io.ReadFull(r, raw); err != nil {
			return err
		}
		for i := range rows {
			rows[i] = int(binary.BigEndian.Uint32(raw[4*i:]))
		}
		var reply []byte
		if list, shown, err := compute(types.Hash(request[:32]), int(binary.BigEndian.Uint32(request[32:])), rows...); err == nil {
			reply = append(reply, 0)
			for i := range list {
				reply = append(reply, list[i][:]...)
			}
			for _, row := range shown {
				reply = append(reply, row...)
			}
		} else {
			message := err.Error()
			message = message[:min(len(message), maxMessage)]
			reply = append(binary.BigEndian.AppendUint32([]byte{1}, uint32(len(message))), message...)
		}
		if _, err := w.Write(reply); err != nil {
			return err
		}
	}
}

// Card is the program, running. Its methods are safe for concurrent use; rounds are computed one after the other.
type Card struct {
	command func() *exec.Cmd

	mu     sync.Mutex // guards what follows, and the program
	hello  Hello
	child  *child // nil while it does not run
	begun  time.Time
	closed bool
}

// child is one run of the program.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Start starts the program, with a command that is made for each start, and returns when it has a card.
func Start(command func() *exec.Cmd) (*Card, error) {
	c := &Card{command: command}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.start(); err != nil {
		return nil, err
	}
	return c, nil
}

// Hello returns what the program said of the card.
func (c *Card) Hello() Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hello
}

// Compute is a Computer, of at most MaxRows rows. After an error of the program the next call, not before
// restTime has passed, starts it again.
func (c *Card) Compute(seed types.Hash, n int, rows ...int) ([]types.Hash, [][]byte, error) {
	if !mac.Valid(n) || len(rows) > MaxRows {
		return nil, nil, fmt.Errorf("card: %d rows of a product of order %d", len(rows), n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child == nil {
		if c.closed {
			return nil, nil, errors.New("card: closed")
		}
		if wait := restTime - time.Since(c.begun); wait > 0 {
			return nil, nil, fmt.Errorf("card: %s ended; it is started again in %v", Program, wait.Round(time.Second))
		}
		if err := c.start(); err != nil {
			return nil, nil, err
		}
	}
	list, shown := make([]types.Hash, n), make([][]byte, len(rows))
	var message string
	err := c.within(roundTime, func(k *child) error {
		request := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(seed[:len(seed):len(seed)], uint32(n)), uint32(len(rows)))
		for _, i := range rows {
			request = binary.BigEndian.AppendUint32(request, uint32(i))
		}
		if _, err := k.in.Write(request); err != nil {
			return err
		}
		kind, err := k.out.ReadByte()
		if err != nil {
			return err
		}
		if kind == 0 {
			for i := range list {
				if _, err := io.ReadFull(k.out, list[i][:]); err != nil {
					return err
				}
			}
			for i := range shown {
				shown[i] = make([]byte, 4*n)
				if _, err := io.ReadFull(k.out, shown[i]); err != nil {
					return err
				}
			}
			return nil
		}
		var size [4]byte
		if _, err := io.ReadFull(k.out, size[:]); err != nil {
			return err
		}
		text := make([]byte, binary.BigEndian.Uint32(size[:]))
		if kind != 1 || len(text) == 0 || len(text) > maxMessage {
			return errors.New("it says what nobody understands")
		}
		_, err = io.ReadFull(k.out, text)
		message = string(text)
		return err
	})
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("card: %s: %w", Program, err)
	case message != "":
		return nil, nil, fmt.Errorf("card: %q", message)
	}
	return list, shown, nil
}

// Close ends the program.
func (c *Card) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.end()
}

// start runs the program and reads what it says first. mu is held.
func (c *Card) start() error {
	c.begun = time.Now()
	cmd := c.command()
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("card: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("card: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("card: start %s: %w", Program, err)
	}
	c.child = &child{cmd: cmd, in: in, out: bufio.NewReaderSize(out, maxHello)}
	var hello Hello
	err = c.within(startTime, func(k *child) error {
		line, err := k.out.ReadSlice('\n')
		if err != nil {
			return err
		}
		return json.Unmarshal(line, &hello)
	})
	if err == nil && hello.Error != "" {
		err = errors.New(hello.Error)
		c.end()
	}
	if err != nil {
		return fmt.Errorf("card: %s: %w", Program, err)
	}
	c.hello = hello
	return nil
}

// within speaks with the program, and ends it if that fails or takes longer. mu is held.
func (c *Card) within(d time.Duration, speak func(*child) error) error {
	k := c.child
	late := time.AfterFunc(d, func() { k.cmd.Process.Kill() }) // what it had open breaks, and so does what waits for it
	err := speak(k)
	if !late.Stop() {
		err = fmt.Errorf("nothing came in %v", d)
	}
	if err != nil {
		c.end()
	}
	return err
}

// end ends the program, if it runs. mu is held.
func (c *Card) end() {
	if c.child == nil {
		return
	}
	c.child.in.Close()
	c.child.cmd.Process.Kill()
	c.child.cmd.Wait() // that it was killed is known
	c.child = nil
}
