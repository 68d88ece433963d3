package role

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

var (
	deviceKey = types.NewPrivateKey([32]byte{1})
	payerKey  = types.NewPrivateKey([32]byte{2})
	otherKey  = types.NewPrivateKey([32]byte{3})
)

// shake runs a handshake and returns what each side makes of it, and whom the server sees.
func shake(t *testing.T, server, client *tls.Config) (seen types.Key, serverErr, clientErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		c := tls.Server(conn, server)
		if err = c.HandshakeContext(t.Context()); err == nil {
			state := c.ConnectionState()
			seen, err = PeerKey(&state)
			_, _ = c.Write([]byte{1})
		}
		done <- err
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := tls.Client(conn, client)
	if clientErr = c.HandshakeContext(t.Context()); clientErr == nil {
		// In TLS 1.3 the client learns with the first byte whether the server took its certificate.
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	conn.Close()
	serverErr = <-done
	return seen, serverErr, clientErr
}

func configs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	server, err := ServerTLS(deviceKey)
	if err != nil {
		t.Fatal(err)
	}
	if client, err = ClientTLS(payerKey, deviceKey.Public()); err != nil {
		t.Fatal(err)
	}
	return server, client
}

func TestPin(t *testing.T) {
	server, client := configs(t)
	seen, err1, err2 := shake(t, server, client)
	if err1 != nil || err2 != nil || seen != payerKey.Public() {
		t.Fatalf("server %v, client %v, server sees %v", err1, err2, seen)
	}
}

func TestPinRefusals(t *testing.T) {
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ecdsaKey.Public(), ecdsaKey)
	if err != nil {
		t.Fatal(err)
	}
	p256 := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ecdsaKey}
	for what, spoil := range map[string]func(server, client *tls.Config){
		"another device answers": func(server, _ *tls.Config) {
			other, _ := ServerTLS(otherKey)
			server.Certificates = other.Certificates
		},
		"a device with its certificate and another's key": func(server, _ *tls.Config) {
			server.Certificates[0].PrivateKey = otherKey.Ed25519()
		},
		"a device with a P-256 key":     func(server, _ *tls.Config) { server.Certificates = []tls.Certificate{p256} },
		"a payer without a certificate": func(_, client *tls.Config) { client.Certificates = nil },
		"a payer with a P-256 key":      func(_, client *tls.Config) { client.Certificates = []tls.Certificate{p256} },
		"a payer with a stolen certificate": func(_, client *tls.Config) {
			client.Certificates[0].PrivateKey = otherKey.Ed25519()
		},
		"two certificates": func(_, client *tls.Config) {
			client.Certificates[0].Certificate = append(client.Certificates[0].Certificate, der)
		},
		"TLS 1.2": func(_, client *tls.Config) { client.MinVersion, client.MaxVersion = 0, tls.VersionTLS12 },
	} {
		server, client := configs(t)
		spoil(server, client)
		seen, serverErr, clientErr := shake(t, server, client)
		if serverErr == nil && clientErr == nil {
			t.Errorf("%s: taken for %v", what, seen)
		}
	}
	server, client := configs(t)
	other, _ := ServerTLS(otherKey)
	server.Certificates = other.Certificates
	if _, _, err := shake(t, server, client); !errors.Is(err, ErrPeer) {
		t.Errorf("another device: %v", err)
	}
	if _, err := PeerKey(nil); !errors.Is(err, ErrPeer) {
		t.Errorf("no connection: %v", err)
	}
}
