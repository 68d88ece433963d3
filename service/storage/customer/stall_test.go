package customer_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage/customer"
)

// dial connects to the door and sends a request's beginning. What the door may send before it waits is little.
func (d *door) dial(head string) net.Conn {
	d.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := io.WriteString(c, head); err != nil {
		d.t.Fatal(err)
	}
	return c
}

// TestStalledClients: sixteen clients that send most of a segment and stop, and sixteen that take a little of
// what they asked for and stop, keep nobody from storing and reading, their own account included.
func TestStalledClients(t *testing.T) {
	t.Parallel()
	d := newDoorOf(t, &door{pace: role.Pace{Idle: time.Hour}}, customer.Config{Memory: 64 << 20}, 1<<60)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // four segments
	o := d.put("/objects?name=large", data)
	var stalled []net.Conn
	for range 16 {
		c := d.dial(fmt.Sprintf("PUT /objects HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 100<<20))
		go c.Write(data[:4<<20-100<<10])
		stalled = append(stalled, c)
		c = d.dial("GET /objects/" + o.ID + " HTTP/1.1\r\nHost: x\r\n\r\n")
		stalled = append(stalled, c)
	}
	for end := time.Now().Add(10 * time.Second); d.active.Load() < 32 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	done := make(chan error, 1)
	go func() {
		client := &http.Client{Timeout: 30 * time.Second}
		for range 3 {
			req, _ := http.NewRequest("PUT", d.url+"/objects?name=ninth", bytes.NewReader(data))
			res, err := client.Do(req)
			if err != nil {
				done <- err
				return
			}
			raw, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusCreated {
				done <- fmt.Errorf("%s %s", res.Status, raw)
				return
			}
			if res, err = client.Get(d.url + "/objects/" + o.ID); err != nil {
				done <- err
				return
			}
			back, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || !bytes.Equal(back, data) {
				done <- fmt.Errorf("%d bytes came back: %v", len(back), err)
				return
			}
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, c := range stalled {
		c.Close()
	}
}

// TestStalledClientsAreLetGo: who sends nothing for the stated time, or too little in it, is told so and loses
// the connection; so does who takes nothing; who is slow, but not that slow, does not.
func TestStalledClientsAreLetGo(t *testing.T) {
	t.Parallel()
	d := &door{pace: role.Pace{Idle: 2 * time.Second, Rate: 16 << 10}} // a tenth of what the slow one sends
	d = newDoorOf(t, d, customer.Config{}, 1<<60)
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	o := d.put("/objects?name=large", data)
	taker := d.dial("GET /objects/" + o.ID + " HTTP/1.1\r\nHost: x\r\n\r\n")
	silent := d.dial("PUT /objects HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n12345")
	trickle := d.dial("PUT /objects HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	go func() {
		for {
			if _, err := io.WriteString(trickle, "1\r\nx\r\n"); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	slow := d.dial(fmt.Sprintf("PUT /objects?name=slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 30*16<<10))
	go func() {
		for i := range 30 {
			slow.Write(data[:16<<10])
			if i < 29 {
				time.Sleep(100 * time.Millisecond)
			}
		}
	}()
	for name, c := range map[string]net.Conn{"silent": silent, "trickle": trickle} {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		raw, _ := io.ReadAll(res.Body)
		d.refused(res, raw, http.StatusRequestTimeout, role.TooSlow)
		if _, err := c.Read(make([]byte, 1)); err == nil || !res.Close {
			t.Errorf("%s: the connection stays", name)
		}
	}
	if res, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || res.StatusCode != http.StatusCreated {
		t.Errorf("slow: %+v, %v", res, err)
	}
	for end := time.Now().Add(20 * time.Second); d.active.Load() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("who takes nothing is still served")
		}
	}
	taker.Close()
	if list := d.list(); len(list) != 2 {
		t.Errorf("%+v", list)
	}
}
