package oci

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// doorFile is a container's door: a Unix socket of its keeper, at which its node gets connections to loopback
// in the container's network. It takes a port (2 bytes, big endian), and answers with one byte: opened, and the
// connection comes along, or why not.
const doorFile = "door"

const (
	opened  = 0
	closed  = 1 // nobody listens on the port
	trouble = 2

	doorTime = 5 * time.Second
	maxDoor  = 64 // connections that are being made at once; one more waits
)

// namespace opens the network of a process whose end nobody has waited for: its number is still its own.
func namespace(pid int) (*os.File, error) {
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return nil, fmt.Errorf("oci: network: %w", err)
	}
	theirs, err := ns.Stat()
	if err == nil {
		var ours os.FileInfo
		if ours, err = os.Stat("/proc/self/ns/net"); err == nil && os.SameFile(ours, theirs) {
			err = errors.New("the container is in the machine's own network")
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("oci: network: %w", err), ns.Close())
	}
	return ns, nil
}

// within calls f in a network. A socket stays in the network that it was made in.
func within(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and nothing else runs in that network
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// serveDoor serves a container's door until the listener is closed.
func serveDoor(l *net.UnixListener, ns *os.File) {
	places := make(chan struct{}, maxDoor)
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		places <- struct{}{}
		go func() {
			defer func() { <-places }()
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(2 * doorTime)) // never fails on a socket
			letIn(c, ns)
		}()
	}
}

// letIn makes one connection, and hands it over.
func letIn(c *net.UnixConn, ns *os.File) {
	var port [2]byte
	if n, err := c.Read(port[:]); err != nil || n != len(port) {
		return
	}
	var to net.Conn
	err := within(ns, func() (err error) {
		d := net.Dialer{Timeout: doorTime}
		for _, ip := range []string{"127.0.0.1", "::1"} {
			at := net.JoinHostPort(ip, strconv.Itoa(int(binary.BigEndian.Uint16(port[:]))))
			var e error
			if to, e = d.Dial("tcp", at); e == nil {
				return nil
			}
			if err == nil {
				err = e
			}
			if !errors.Is(e, unix.ECONNREFUSED) {
				break
			}
		}
		return err
	})
	if err != nil {
		why := byte(trouble)
		if errors.Is(err, unix.ECONNREFUSED) {
			why = closed
		}
		_, _ = c.Write([]byte{why}) // a node that is gone asks again
		return
	}
	f, err := to.(*net.TCPConn).File()
	_ = to.Close() // f is another one
	if err != nil {
		_, _ = c.Write([]byte{trouble})
		return
	}
	_, _, _ = c.WriteMsgUnix([]byte{opened}, unix.UnixRights(int(f.Fd())), nil)
	_ = f.Close()
}

// openDoor makes a container's door, before the container: who comes early waits until it is served.
func (k *keeper) openDoor() (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(k.Bundle, doorFile), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("oci: door: %w", err)
	}
	if err := os.Chmod(filepath.Join(k.Bundle, doorFile), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("oci: door: %w", err), l.Close())
	}
	return l, nil
}

// Dial connects to a port of loopback in a job's container. The reason is compute.port_closed where nobody
// listens there, compute.not_running where there is no such container.
func (e *Engine) Dial(ctx context.Context, order types.Hash, port uint16) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(e.run, name(order), doorFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, types.Refuse(compute.NotRunning, "oci: the container does not run")
	} else if err != nil {
		return nil, fmt.Errorf("oci: door: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })()
	_ = c.SetDeadline(time.Now().Add(2 * doorTime))
	if _, err := c.Write(binary.BigEndian.AppendUint16(nil, port)); err != nil {
		return nil, fmt.Errorf("oci: door: %w", err)
	}
	var said [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := c.(*net.UnixConn).ReadMsgUnix(said[:], oob)
	switch {
	case err != nil || n != 1:
		return nil, types.Refuse(compute.NotRunning, "oci: the container has ended, or its keeper does not answer: %v", err)
	case said[0] == closed:
		return nil, types.Refuse(compute.PortClosed, "oci: nobody listens on port %d in the container", port)
	case said[0] != opened:
		return nil, fmt.Errorf("oci: port %d in the container could not be reached", port)
	}
	list, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil || len(list) != 1 {
		return nil, fmt.Errorf("oci: door: %d messages, %w", len(list), err)
	}
	fds, err := unix.ParseUnixRights(&list[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("oci: door: %d files, %w", len(fds), err)
	}
	f := os.NewFile(uintptr(fds[0]), "port")
	defer f.Close() // FileConn makes another one
	to, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("oci: door: %w", err)
	}
	return to, nil
}
