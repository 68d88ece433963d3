// Package manifest is the file by which everybody joins a network: gateways, verifiers, devices and customers'
// commands. It names the chain, a block and the verifiers to believe at first, and where things are: peers, RPC
// nodes, buses and gateways.
//
// A manifest is signed by the key of whoever publishes it, and read by Parse, which is strict. The signature
// does not say that the key is to be trusted: who meets a network for the first time has its word, or a
// --signer that somebody gave them, and from then on what the home keeps (Keep): a later manifest has to be
// newer and of the same key. docs/decisions/0016-manifest.md says why.
//
//	Manifest, Signed   what it says, and how it is signed and written
//	Fetch              from a file or a URL
//	Keep, Load         in a home, where an older one never replaces a newer one
package manifest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cairn-network/cairn/bus"
	"github.com/cairn-network/cairn/core/types"
)

// Format is the only one that is read and written.
const Format = 1

// Bounds of a manifest.
const (
	MaxSize   = 512 << 10 // bytes of the file
	maxPlaces = 32        // in each list
	maxPlace  = 256       // bytes of an address
	maxCA     = 64 << 10  // bytes of certificates
	maxChain  = 64        // bytes of the chain's id
	// MaxRegions is how many a chain can have.
	MaxRegions = 256
)

// Time is in Unix seconds; its text is as RFC 3339 has it, in UTC.
type Time uint64

// MarshalText writes RFC 3339.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(time.Unix(int64(t), 0).UTC().Format(time.RFC3339)), nil
}

// UnmarshalText reads what MarshalText writes: whole seconds in UTC.
func (t *Time) UnmarshalText(text []byte) error {
	at, err := time.Parse("2006-01-02T15:04:05Z", string(text))
	if err != nil || at.Unix() < 0 {
		return fmt.Errorf("time %.40q: want 2006-01-02T15:04:05Z", text)
	}
	*t = Time(at.Unix())
	return nil
}

// Block names one of the chain's blocks.
type Block struct {
	_      struct{}   `cbor:",toarray" json:"-"`
	Height uint64     `json:"height"`
	Hash   types.Hash `json:"hash"`
}

// String writes HEIGHT:HASH.
func (b Block) String() string { return fmt.Sprintf("%d:%v", b.Height, b.Hash) }

// Manifest says how to join a network.
type Manifest struct {
	_         struct{} `cbor:",toarray" json:"-"`
	Format    uint64   `json:"format"`
	Chain     string   `json:"chain"`
	Published Time     `json:"published"`
	// Genesis is SHA-256 of the genesis document as an RPC node's genesis_chunked gives it, chunk behind chunk.
	Genesis types.Hash `json:"genesis"`
	// Block is a recent block: whoever doubts what a node says goes on from it, with a light client.
	Block Block `json:"block"`
	// Epoch and Verifiers are whom to believe on the bus at first, in every region; Regions how many there are.
	Epoch     types.Epoch `json:"epoch"`
	Verifiers bus.Set     `json:"verifiers"`
	Regions   uint64      `json:"regions"`
	// Where things are; each list may be empty, but for the buses.
	Seeds    []string `json:"seeds"`    // ID@host:port: nodes of the chain that other nodes connect to
	RPC      []string `json:"rpc"`      // http(s)://host:port: CometBFT RPC
	Buses    []string `json:"buses"`    // nats://host:port or tls://host:port
	BusCA    string   `json:"bus_ca"`   // the certificates, in PEM, that sign the buses'; "" for the system's
	Gateways []string `json:"gateways"` // http(s)://host:port: REST API
}

// Signed is a manifest with its publisher's signature.
type Signed struct {
	Manifest  Manifest
	Signer    types.Key
	Signature types.Signature
}

// kind is the domain of the signature.
const kind = "manifest"

// Sign signs a manifest, after a check.
func (m Manifest) Sign(key types.PrivateKey) (*Signed, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return &Signed{m, key.Public(), key.Sign(kind, m.Chain, types.Encode(&m))}, nil
}

// Pin is whom to believe on the bus at first, in a region.
func (m *Manifest) Pin(region types.Region) (bus.Pin, error) {
	if uint64(region) >= m.Regions {
		return bus.Pin{}, types.Refuse(types.WrongRegion, "region %d: %s has %d", region, m.Chain, m.Regions)
	}
	return bus.Pin{Chain: m.Chain, Region: region, Epoch: m.Epoch, Set: m.Verifiers}, nil
}

// Bus is how to reach the bus.
func (m *Manifest) Bus() bus.Config {
	config := bus.Config{URLs: m.Buses}
	if m.BusCA != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(m.BusCA)) // check has tried it
		config.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	return config
}

func bad(format string, args ...any) error { return types.Refuse(types.BadManifest, format, args...) }

func (m *Manifest) check() error {
	switch {
	case m.Format != Format:
		return bad("manifest: format %d, this program reads %d", m.Format, Format)
	case m.Chain == "" || len(m.Chain) > maxChain || strings.ContainsFunc(m.Chain, func(r rune) bool { return r <= ' ' || r > '~' }):
		return bad("manifest: chain id %.100q", m.Chain)
	case m.Published == 0 || m.Published > 253402300799: // the year 9999, where RFC 3339 ends
		return bad("manifest: it does not say when it was published")
	case m.Genesis.IsZero() || m.Block.Height == 0 || m.Block.Hash.IsZero():
		return bad("manifest: it names no genesis or no block")
	case m.Regions == 0 || m.Regions > MaxRegions:
		return bad("manifest: %d regions, want 1 to %d", m.Regions, MaxRegions)
	case len(m.Buses) == 0:
		return bad("manifest: it names no bus")
	case len(m.BusCA) > maxCA || m.BusCA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(m.BusCA)):
		return bad("manifest: bus_ca: no certificates in PEM, or more than %d bytes", maxCA)
	}
	pin, err := m.Pin(types.Region(m.Regions - 1)) // each region's names the same verifiers
	if err == nil {
		err = pin.Check()
	}
	if err != nil {
		return bad("manifest: verifiers: %v", err)
	}
	for _, list := range []struct {
		name   string
		places []string
		check  func(string) bool
	}{
		{"seeds", m.Seeds, isSeed}, {"rpc", m.RPC, func(s string) bool { return isURL(s, "http", "https") }},
		{"buses", m.Buses, func(s string) bool { return isURL(s, "nats", "tls") }}, {"gateways", m.Gateways, IsGateway},
	} {
		if len(list.places) > maxPlaces {
			return bad("manifest: %s: %d, at most %d", list.name, len(list.places), maxPlaces)
		}
		for i, place := range list.places {
			if len(place) > maxPlace || !list.check(place) || slices.Contains(list.places[:i], place) {
				return bad("manifest: %s: %.100q", list.name, place)
			}
		}
	}
	return nil
}

// isURL reports whether s is a URL of one of the schemes, with a host and nothing that is secret or for a browser.
func isURL(s string, schemes ...string) bool {
	u, err := url.Parse(s)
	return err == nil && slices.Contains(schemes, u.Scheme) && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// IsGateway reports whether s can be a gateway's address: API keys go there, so that beyond this machine and
// private networks it has to be https.
func IsGateway(s string) bool {
	u, err := url.Parse(s)
	if err != nil || !isURL(s, "http", "https") {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	near := u.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsPrivate())
	return u.Scheme == "https" || near
}

func isSeed(s string) bool {
	id, address, ok := strings.Cut(s, "@")
	raw, err := hex.DecodeString(id)
	host, port, err2 := net.SplitHostPort(address)
	return ok && err == nil && len(raw) == 20 && err2 == nil && host != "" && port != ""
}

// file is how a signed manifest is written: JSON that people can read. What is signed is not this text but the
// CBOR of what it says.
type file struct {
	Manifest  Manifest  `json:"manifest"`
	Signer    types.Key `json:"signer"`
	Signature string    `json:"signature"`
}

// Encode writes the file.
func (s *Signed) Encode() []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(file{s.Manifest, s.Signer, s.Signature.String()}); err != nil {
		panic(err) // texts and numbers
	}
	return out.Bytes()
}

// Parse reads a file, strictly, and checks the signature.
func Parse(raw []byte) (*Signed, error) {
	if len(raw) > MaxSize {
		return nil, bad("manifest: %d bytes, at most %d are read", len(raw), MaxSize)
	}
	var first struct {
		Manifest struct {
			Format uint64 `json:"format"`
		} `json:"manifest"`
	}
	if err := json.Unmarshal(raw, &first); err != nil {
		return nil, bad("manifest: not a manifest in JSON: %v", err)
	}
	if f := first.Manifest.Format; f != Format { // before its fields are found unknown
		return nil, bad("manifest: format %d, this program reads %d", f, Format)
	}
	var in file
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, bad("manifest: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("manifest: something follows it")
	}
	signature, err := hex.DecodeString(in.Signature)
	if err != nil || len(signature) != len(types.Signature{}) {
		return nil, bad("manifest: signature: want 128 hexadecimal digits")
	}
	s := &Signed{in.Manifest, in.Signer, types.Signature(signature)}
	if err := s.Manifest.check(); err != nil {
		return nil, err
	}
	if !s.Signer.Verify(kind, s.Manifest.Chain, types.Encode(&s.Manifest), s.Signature) {
		return nil, types.Refuse(types.BadSignature, "manifest: it is not what %v signed", s.Signer)
	}
	return s, nil
}
