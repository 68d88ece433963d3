package customer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/storage"
)

// reach serves handler as a device and returns the connection of a payer to it.
func reach(t *testing.T, handler http.HandlerFunc) *device {
	t.Helper()
	key := types.NewPrivateKey([32]byte{1})
	terms := storage.Terms{Address: serve(t, key, handler)}
	ask := receipt.Ask{Device: key.Public(), Terms: terms.Encode()}
	d, err := dial(new(net.Dialer).DialContext, types.NewPrivateKey([32]byte{2}), ask.Sign(key))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.http.CloseIdleConnections)
	return d
}

// serve returns the address of a device that answers with handler.
func serve(t *testing.T, key types.PrivateKey, handler http.HandlerFunc) string {
	t.Helper()
	config, err := role.ServerTLS(key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2, server.TLS = true, config
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return strings.TrimPrefix(server.URL, "https://")
}

func TestStage(t *testing.T) {
	shard := bytes.Repeat([]byte{1, 2, 3, 4}, storage.MaxShard/4)
	id := storage.ShardID(shard)
	d := reach(t, func(w http.ResponseWriter, r *http.Request) {
		peer, err := role.PeerKey(r.TLS)
		if err != nil || peer != types.NewPrivateKey([32]byte{2}).Public() || r.ProtoMajor != 2 {
			t.Errorf("%s from %v: %v", r.Proto, peer, err)
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(shard)) || storage.ShardID(got) != id || r.URL.Path != storage.PathShard+id.String() {
			role.WriteError(w, types.Refuse(storage.ShardMismatch, "%d bytes", len(got)), 400)
		}
	})
	if err := d.stage(t.Context(), id, shard); err != nil {
		t.Error(err)
	}
	shard[0]++
	if err := d.stage(t.Context(), id, shard); !errors.Is(err, storage.ShardMismatch) {
		t.Errorf("got %v", err)
	}
}

// TestTakenBack: nothing of a shard is sent after its request was cancelled, when its memory holds another one.
func TestTakenBack(t *testing.T) {
	shard := bytes.Repeat([]byte{1}, storage.MaxShard)
	begun, goOn, sent := make(chan bool), make(chan bool), make(chan []byte)
	d := reach(t, func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 1)
		_, _ = io.ReadFull(r.Body, first)
		begun <- true
		<-goOn
		rest, _ := io.ReadAll(r.Body)
		sent <- append(first, rest...)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if err := d.stage(ctx, types.Hash{}, shard); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	for i := range shard {
		shard[i] = 2
	}
	close(goOn)
	if got := <-sent; bytes.IndexByte(got, 2) >= 0 {
		t.Error("the device got bytes of another shard")
	}
	l := &lent{data: shard}
	r := l.open()
	if n, err := r.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("read %d: %v", n, err)
	}
	l.takeBack()
	if n, err := r.Read(make([]byte, 10)); n != 0 || !errors.Is(err, errTakenBack) {
		t.Errorf("read %d after it was taken back: %v", n, err)
	}
}

func TestAnswerTooLong(t *testing.T) {
	d := reach(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 8192)) })
	if _, err := d.session(t.Context(), types.SessionID{}); !errors.Is(err, types.Oversize) {
		t.Errorf("got %v", err)
	}
}
