package role

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// Connections between a device and its customers are TLS 1.3 with self-signed certificates of both sides'
// Ed25519 keys (RFC 8446, RFC 8410). No authority vouches for anybody: the key is the name. What TLS signs
// starts with 64 spaces (RFC 8446 §4.4.3), so it can never be taken for anything that this protocol signs.

// ErrPeer says that the other side's certificate is not of the key that was expected.
var ErrPeer = errors.New("the other side has another key")

// ServerTLS returns the configuration of a server that is key. Clients must show a certificate; PeerKey says whose.
func ServerTLS(key types.PrivateKey) (*tls.Config, error) {
	cert, err := certificate(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAnyClientCert,
		// VerifyConnection, unlike VerifyPeerCertificate, is asked about resumed connections too.
		VerifyConnection: func(state tls.ConnectionState) error { _, err := PeerKey(&state); return err },
	}, nil
}

// ClientTLS returns the configuration of a client that is key and wants to reach peer and nobody else.
func ClientTLS(key types.PrivateKey, peer types.Key) (*tls.Config, error) {
	cert, err := certificate(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		InsecureSkipVerify: true, // names and authorities mean nothing here: the key is checked below
		VerifyConnection: func(state tls.ConnectionState) error {
			got, err := PeerKey(&state)
			if err == nil && got != peer {
				err = fmt.Errorf("tls: %v answers, want %v: %w", got, peer, ErrPeer)
			}
			return err
		},
	}, nil
}

// PeerKey returns the key of the other side of a connection, from its self-signed certificate; TLS itself has
// the other side prove that it holds it.
func PeerKey(state *tls.ConnectionState) (types.Key, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return types.Key{}, fmt.Errorf("tls: no certificate: %w", ErrPeer)
	}
	if n := len(state.PeerCertificates); n != 1 {
		return types.Key{}, fmt.Errorf("tls: %d certificates, want one: %w", n, ErrPeer)
	}
	cert := state.PeerCertificates[0]
	pub, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return types.Key{}, fmt.Errorf("tls: a certificate of %v, want Ed25519: %w", cert.PublicKeyAlgorithm, ErrPeer)
	}
	return types.Key(pub), nil
}

// certificate makes key's certificate. Its dates mean nothing: whoever checks, checks the key.
func certificate(key types.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: key.Public().String()},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	private := key.Ed25519()
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls: make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}
