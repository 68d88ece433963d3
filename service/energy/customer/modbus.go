package customer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/internal/modbus"
	"github.com/cairn-network/cairn/internal/sunspec"
	"github.com/cairn-network/cairn/service/energy"
	"github.com/cairn-network/cairn/service/role"
)

// Energy managers read devices over Modbus TCP: each is a unit with the SunSpec models 1, 103, 203 and 701,
// whose values are those of its line in the newest tally: what was verified, not what the meter shows at the
// moment. On this machine everybody reads every device of the network, in the clear; over TLS, whoever has a
// client certificate that an account named reads that account's devices. Nothing is written.

const (
	base       = 40000 // where the registers begin
	maxUnits   = 247   // of one account: what Modbus can name
	maxClients = 16    // TLS client certificates of one account
	maxConns   = 256   // of each listener
	maxPeer    = 16    // of those, with one address
)

// Modbus says where energy managers read an account's devices.
type Modbus struct {
	Address string        `json:"address,omitempty"`     // plain, on the gateway's own machine; its units are of all accounts
	TLS     string        `json:"tls_address,omitempty"` // TLS, with client certificates
	Server  string        `json:"server_fingerprint"`    // SHA-256 of the listener's TLS certificate, hexadecimal
	Units   []Unit        `json:"units"`                 // the account's, over TLS
	Clients []Fingerprint `json:"clients"`
}

// Unit is a device as energy managers name it.
type Unit struct {
	Unit   uint8     `json:"unit"`
	Device types.Key `json:"device"`
	Local  uint8     `json:"local_unit,omitempty"` // on the gateway's own machine, in the clear
}

// Fingerprint names a client certificate: the SHA-256 of its DER encoding, hexadecimal.
type Fingerprint struct {
	Fingerprint string    `json:"fingerprint"`
	Label       string    `json:"label,omitempty"`
	Added       time.Time `json:"added"`
}

// ModbusClient lets a client certificate in. It may be signed by anybody; which one it is, is what counts.
type ModbusClient struct {
	Certificate string `json:"certificate"` // PEM
	Label       string `json:"label,omitempty"`
}

// client is a client certificate in the books.
type client struct {
	_       struct{} `cbor:",toarray"`
	Account types.Account
	Label   string
	Added   uint64
}

// listener is where energy managers come.
type listener struct {
	plain, tls net.Listener
	server     string // fingerprint

	mu    sync.Mutex
	lines map[types.Key]*line // that were asked for; at most one for each registered device
}

// line is a device's newest state. Its lock is held while it is fetched, so that many readers ask once.
type line struct {
	mu    sync.Mutex
	epoch types.Epoch // in which it was fetched
	state *energy.State
}

// Listen opens what energy managers read: in the clear on an address of this machine's own, and with TLS.
func (c *Customer) Listen(p role.Place) (map[string]string, error) {
	addr := net.ParseIP(p.IP)
	if addr == nil {
		return nil, fmt.Errorf("energy: modbus: %q is no IP address", p.IP)
	}
	config, fingerprint, err := c.serverTLS()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	c.listener.server = fingerprint
	if addr.IsLoopback() {
		if c.listener.plain, out["modbus"], err = c.listen(p, "modbus"); err != nil {
			return nil, err
		}
	}
	l, at, err := c.listen(p, "modbus_tls")
	if err != nil {
		if c.listener.plain != nil {
			c.listener.plain.Close()
		}
		return nil, err
	}
	c.listener.tls = tls.NewListener(l, config)
	out["modbus_tls"] = at
	return out, nil
}

func (c *Customer) listen(p role.Place, name string) (net.Listener, string, error) {
	l, at, err := p.Listen(c.market, name, conns.Limits{Total: maxConns, PerAddress: maxPeer})
	if err != nil {
		return nil, "", fmt.Errorf("energy: %w", err)
	}
	return l, at, nil
}

// serve answers energy managers until ctx ends.
func (c *Customer) serve(ctx context.Context) {
	var group sync.WaitGroup
	for _, l := range []net.Listener{c.listener.plain, c.listener.tls} {
		if l == nil {
			continue
		}
		s := &modbus.Server{MaxConns: maxConns, Read: func(who any, unit byte, address, count uint16) ([]uint16, modbus.Exception) {
			account, _ := who.(types.Account)
			return c.registers(ctx, account, unit, address, count)
		}}
		if l == c.listener.tls {
			s.Greet = c.greet
		}
		stop := context.AfterFunc(ctx, func() { l.Close() })
		defer stop()
		group.Go(func() { s.Serve(l) })
	}
	group.Wait()
}

// greet says whose devices a TLS client may read.
func (c *Customer) greet(conn net.Conn) (any, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("energy: modbus: not TLS")
	}
	if err := secured.Handshake(); err != nil {
		return nil, err
	}
	certs := secured.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return nil, errors.New("energy: modbus: no client certificate")
	}
	known, err := c.books.client(sha256.Sum256(certs[0].Raw))
	if err != nil || known == nil {
		return nil, errors.Join(err, errors.New("energy: modbus: a client certificate that no account named"))
	}
	return known.Account, nil
}

// registers answers a read.
func (c *Customer) registers(ctx context.Context, account types.Account, unit byte, address, count uint16) ([]uint16, modbus.Exception) {
	table, err := c.units(ctx, account)
	if err != nil {
		c.market.Log().Error("energy: modbus: units", "err", err)
		return nil, modbus.DeviceFailure
	}
	at := slices.IndexFunc(table, func(u Unit) bool { return u.Unit == unit })
	if at < 0 {
		return nil, modbus.NoTarget
	}
	state, err := c.state(ctx, table[at].Device)
	if err != nil || state == nil {
		c.market.Log().Debug("energy: modbus: no line", "device", table[at].Device, "err", err)
		return nil, modbus.NoTarget
	}
	words, ok := image(table[at].Device, unit, state).Read(address, count)
	if !ok {
		return nil, modbus.IllegalAddress
	}
	return words, 0
}

// state returns a device's line as of the newest tally; nil if it has none.
func (c *Customer) state(ctx context.Context, device types.Key) (*energy.State, error) {
	c.listener.mu.Lock()
	if c.listener.lines == nil {
		c.listener.lines = map[types.Key]*line{}
	}
	l := c.listener.lines[device]
	if l == nil {
		l = new(line)
		c.listener.lines[device] = l
	}
	c.listener.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := newest(c.market.Notice())
	if l.state != nil && l.epoch == now {
		return l.state, nil
	}
	got, err := c.market.Line(ctx, device)
	if err != nil {
		return l.state, err // the former one is better than none
	}
	if got.State == nil {
		return nil, nil
	}
	s, err := energy.DecodeState(got.State)
	if err != nil {
		return nil, err
	}
	l.state, l.epoch = s, now
	return s, nil
}

// newest is the epoch after whose tally there is none yet, as far as a notice knows.
func newest(n role.Notice) types.Epoch { return cmp.Or(n.Tallied, n.Epoch) }

// image is a device's registers.
func image(device types.Key, unit byte, s *energy.State) *sunspec.Space {
	common, inverter, meter, measure := sunspec.Common.New(), sunspec.Inverter3.New(), sunspec.Meter3.New(), sunspec.Measure.New()
	technology := "consumer"
	if s.Site.Technology != 0 {
		technology = s.Site.Technology.String()
	}
	// What does not fit a point stays not implemented.
	_ = common.SetText("Mn", "Cairn")
	_ = common.SetText("Md", technology)
	_ = common.SetText("SN", fmt.Sprintf("%x", device[:16]))
	_ = common.Set("DA", int64(unit))
	has := func(r energy.Register) bool { return s.Present.Has(r) }
	set := func(b *sunspec.Block, name, scale string, exp int64, value uint64, ok bool) {
		if ok && b.Set(name, int64(value)) == nil {
			_ = b.Set(scale, exp)
		}
	}
	set(inverter, "WH", "WH_SF", 0, s.Wh[energy.PV], has(energy.PV))
	set(meter, "TotWhExp", "TotWh_SF", 0, s.Wh[energy.Export], has(energy.Export))
	set(meter, "TotWhImp", "TotWh_SF", 0, s.Wh[energy.Import], has(energy.Import))
	set(measure, "TotWhInj", "TotWh_SF", 0, s.Wh[energy.Export], has(energy.Export))
	set(measure, "TotWhAbs", "TotWh_SF", 0, s.Wh[energy.Import], has(energy.Import))
	if v := last(s); v != nil { // the mean power of the newest quarter hour
		if v.Known.Has(energy.PV) {
			power(inverter, 4*int64(v.Wh[energy.PV]))
		}
		if v.Known.Has(energy.Import) && v.Known.Has(energy.Export) {
			net := 4 * (int64(v.Wh[energy.Import]) - int64(v.Wh[energy.Export]))
			power(meter, net)
			power(measure, -net)
		}
	}
	return sunspec.NewSpace(base, common, inverter, meter, measure)
}

// last returns the newest interval that a line has by itself; nil for none.
func last(s *energy.State) *energy.Interval {
	if n := len(s.Pending); n > 0 && s.Pending[n-1].K == s.K && s.Pending[n-1].Span == 1 {
		return &s.Pending[n-1]
	}
	return nil
}

// power writes watts with the power of ten that they need.
func power(b *sunspec.Block, watts int64) {
	exp := int64(0)
	for ; watts > 1<<15-2 || watts < -(1<<15-2); watts /= 10 {
		exp++
	}
	if b.Set("W", watts) == nil {
		_ = b.Set("W_SF", exp)
	}
}

// units returns the units of an account's devices; of the zero account, those of all devices. Who once has a
// number keeps it; there are 247.
func (c *Customer) units(ctx context.Context, account types.Account) ([]Unit, error) {
	devices, err := c.market.Devices(ctx, account)
	if err != nil {
		return nil, err
	}
	var table []Unit
	taken := map[uint8]bool{}
	numbers := map[types.Key]uint8{}
	err = c.books.view("units", func(tx *bbolt.Tx) error {
		in, _ := rows(tx, unitBucket, account[:], false)
		if in == nil {
			return nil
		}
		return in.ForEach(func(k, v []byte) error {
			numbers[types.Key(k)] = v[0]
			taken[v[0]] = true
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	var fresh []Unit
	next := uint8(1)
	for _, d := range devices {
		n := numbers[d.Key]
		if n == 0 {
			for next <= maxUnits && taken[next] {
				next++
			}
			if next > maxUnits {
				continue
			}
			n, taken[next] = next, true
			fresh = append(fresh, Unit{Unit: n, Device: d.Key})
		}
		table = append(table, Unit{Unit: n, Device: d.Key})
	}
	slices.SortFunc(table, func(a, b Unit) int { return cmp.Compare(a.Unit, b.Unit) })
	if len(fresh) == 0 {
		return table, nil
	}
	return table, c.books.update("units", func(tx *bbolt.Tx) error {
		in, err := rows(tx, unitBucket, account[:], true)
		for _, u := range fresh {
			err = errors.Join(err, in.Put(u.Device[:], []byte{u.Unit}))
		}
		return err
	})
}

// client returns who a client certificate is; nil for nobody.
func (b *books) client(fingerprint [32]byte) (found *client, err error) {
	err = b.view("client", func(tx *bbolt.Tx) error {
		found, err = get[client](tx.Bucket(clientBucket), fingerprint[:])
		return err
	})
	return found, err
}

// clients lists the client certificates that an account named.
func (b *books) clients(account types.Account) (list []Fingerprint, err error) {
	list = []Fingerprint{}
	err = b.view("clients", func(tx *bbolt.Tx) error {
		return tx.Bucket(clientBucket).ForEach(func(k, v []byte) error {
			var x client
			if err := types.DecodeLimit(v, &x, maxRow); err != nil || x.Account != account {
				return err
			}
			list = append(list, Fingerprint{fmt.Sprintf("%x", k), x.Label, time.Unix(int64(x.Added), 0).UTC()})
			return nil
		})
	})
	return list, err
}

// describeModbus says where an account's devices are read.
func (c *Customer) describeModbus(ctx context.Context, account types.Account) (*Modbus, error) {
	out := &Modbus{Server: c.listener.server, Units: []Unit{}}
	if c.listener.plain != nil {
		out.Address = c.listener.plain.Addr().String()
	}
	if c.listener.tls != nil {
		out.TLS = c.listener.tls.Addr().String()
	}
	mine, err1 := c.units(ctx, account)
	everybody, err2 := c.units(ctx, types.Account{})
	clients, err3 := c.books.clients(account)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	for _, u := range mine {
		if at := slices.IndexFunc(everybody, func(o Unit) bool { return o.Device == u.Device }); at >= 0 && c.listener.plain != nil {
			u.Local = everybody[at].Unit
		}
		out.Units = append(out.Units, u)
	}
	out.Clients = clients
	return out, nil
}

func (c *Customer) serveModbus(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	out, err := c.describeModbus(r.Context(), wallet.Account())
	if err != nil {
		return err
	}
	return role.Reply(w, http.StatusOK, out)
}

func (c *Customer) servePutClient(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	var in ModbusClient
	if err := role.ReadJSON(r, &in); err != nil {
		return err
	}
	block, rest := pem.Decode([]byte(in.Certificate))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return types.Refuse(role.BadRequest, "want one certificate in PEM")
	}
	if err := role.CheckText("label", in.Label, 64); err != nil {
		return err
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return types.Refuse(role.BadRequest, "certificate: %v", err)
	}
	account, fingerprint := wallet.Account(), sha256.Sum256(block.Bytes)
	err := c.books.update("client", func(tx *bbolt.Tx) error {
		in0, n := tx.Bucket(clientBucket), 0
		err := in0.ForEach(func(k, v []byte) error {
			var x client
			if err := types.DecodeLimit(v, &x, maxRow); err != nil {
				return err
			}
			switch {
			case bytes.Equal(k, fingerprint[:]) && x.Account != account:
				return types.Refuse(types.KeyTaken, "another account named this certificate")
			case x.Account == account:
				n++
			}
			return nil
		})
		if err == nil && n >= maxClients {
			err = types.Refuse(types.OverQuota, "the account named %d certificates", n)
		}
		if err != nil {
			return err
		}
		return in0.Put(fingerprint[:], types.Encode(&client{Account: account, Label: in.Label, Added: uint64(time.Now().Unix())}))
	})
	if err != nil {
		return err
	}
	return c.serveModbus(w, r, wallet)
}

func (c *Customer) serveDeleteClient(w http.ResponseWriter, r *http.Request, wallet role.Wallet) error {
	h, err := types.ParseHash(r.PathValue("fingerprint"))
	if err != nil {
		return types.Refuse(role.BadRequest, "fingerprint: %v", err)
	}
	err = c.books.update("client", func(tx *bbolt.Tx) error {
		x, err := get[client](tx.Bucket(clientBucket), h[:])
		if err != nil {
			return err
		}
		if x == nil || x.Account != wallet.Account() {
			return types.Refuse(role.NotFound, "certificate %v", h)
		}
		return tx.Bucket(clientBucket).Delete(h[:])
	})
	if err != nil {
		return err
	}
	return c.serveModbus(w, r, wallet)
}

// serverTLS returns the TLS configuration of the listener, whose certificate is made once, and its fingerprint.
// Clients must show a certificate; greet says whose it is. TLS 1.2 is for energy managers that have no 1.3.
func (c *Customer) serverTLS() (*tls.Config, string, error) {
	path := filepath.Join(c.market.Dir(), "modbus.pem")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if raw, err = selfSigned(); err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("energy: modbus: certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(raw, raw)
	if err != nil {
		return nil, "", fmt.Errorf("energy: modbus: certificate %s: %w", path, err)
	}
	fingerprint := sha256.Sum256(cert.Certificate[0])
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true}, fmt.Sprintf("%x", fingerprint), nil
}

// selfSigned makes a key and its certificate, in PEM. Nobody vouches for it: clients pin its fingerprint.
func selfSigned() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Cairn gateway"}, NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}
