package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
	"github.com/cairn-network/cairn/process"
)

// Addresses is what network.json says while a network runs: where everything is.
type Addresses struct {
	ChainID string `json:"chain_id"`
	Page    string `json:"page"` // for people
	API     string `json:"api"`  // gateway and explorer; /openapi.json describes it
	RPC     string `json:"rpc"`  // CometBFT
	REST    string `json:"rest"` // Cosmos SDK
	GRPC    string `json:"grpc"`
	Bus     string `json:"bus"` // NATS
	PID     int    `json:"pid"`
	Trust   string `json:"trust"` // a block of the chain, HEIGHT:HASH: whoever doubts the chain's answers goes on from it
	// Listeners are where categories serve protocols of their own (role.Customer.Listen), by name. In the file they
	// stand beside the others: "modbus": "127.0.0.1:41502".
	Listeners map[string]string `json:"-"`
}

// plain is Addresses without its methods.
type plain Addresses

// MarshalJSON writes all addresses side by side.
func (a Addresses) MarshalJSON() ([]byte, error) {
	raw, err := json.Marshal(plain(a))
	if err != nil || len(a.Listeners) == 0 {
		return raw, err
	}
	rest, err := json.Marshal(a.Listeners)
	if err != nil {
		return nil, err
	}
	return append(append(raw[:len(raw)-1], ','), rest[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON writes: a text that is none of the others is a listener's.
func (a *Addresses) UnmarshalJSON(raw []byte) error {
	var fixed plain
	var all map[string]any
	if err := errors.Join(json.Unmarshal(raw, &fixed), json.Unmarshal(raw, &all)); err != nil {
		return err
	}
	t := reflect.TypeFor[plain]()
	for i := range t.NumField() {
		delete(all, t.Field(i).Tag.Get("json"))
	}
	*a = Addresses(fixed)
	for name, v := range all {
		if address, ok := v.(string); ok {
			if a.Listeners == nil {
				a.Listeners = map[string]string{}
			}
			a.Listeners[name] = address
		}
	}
	return nil
}

// Customer is what customer.json holds: the API key that `cairn store` and the other customers' commands use.
// It is secret.
type Customer struct {
	Account types.Account `json:"account"`
	Payer   types.Key     `json:"payer"`
	APIKey  string        `json:"api_key"`
}

// The files of a home.
const (
	addressFile  = "network.json"
	customerFile = "customer.json"
	keyFolder    = "keys" // NAME.json: what customer.json is, of other accounts
)

// ErrNotRunning says that no network runs in a home.
var ErrNotRunning = fmt.Errorf("no network runs here: %w", types.NotRunning)

// ReadAddresses reads network.json of a home.
func ReadAddresses(home string) (*Addresses, error) {
	a := new(Addresses)
	if err := readJSON(filepath.Join(home, addressFile), a); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", home, ErrNotRunning)
	} else if err != nil {
		return nil, err
	}
	return a, nil
}

// ReadCustomer reads customer.json of a home.
func ReadCustomer(home string) (*Customer, error) {
	c := new(Customer)
	return c, readJSON(filepath.Join(home, customerFile), c)
}

// ReadKey reads the API key that a home keeps for the account of a name, CustomerName for that of
// customer.json. Without one it is an error that is fs.ErrNotExist.
func ReadKey(home, name string) (*Customer, error) {
	path, err := keyPath(home, name)
	if err != nil {
		return nil, err
	}
	c := new(Customer)
	return c, readJSON(path, c)
}

// WriteKey keeps the API key of an account in a home, in the place of an earlier one.
func WriteKey(home, name string, c *Customer) error {
	path, err := keyPath(home, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep the API key of %s: %w", name, err)
	}
	return writeJSON(path, c, 0o600)
}

// Begun reports whether an account of a name was begun in a home and not finished: it has a key in the keyring,
// and perhaps funds, but no API key.
func Begun(home, name string) (bool, error) {
	path, err := keyPath(home, name)
	if err != nil {
		return false, err
	}
	switch _, err := os.Stat(path + begunSuffix); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("account %s: %w", name, err)
	}
	return true, nil
}

// Begin notes that an account is begun, before anything of it is made; Finish that it has all it needs.
func Begin(home, name string) error {
	path, err := keyPath(home, name)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+begunSuffix, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("account %s: %w", name, err)
	}
	return nil
}

// Finish ends what Begin began.
func Finish(home, name string) error {
	path, err := keyPath(home, name)
	if err != nil {
		return err
	}
	if err := os.Remove(path + begunSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("account %s: %w", name, err)
	}
	return nil
}

// begunSuffix is behind the path of an API key that is not there yet.
const begunSuffix = ".begun"

// keyPath is where the API key of an account is. A name that cannot name a file has none.
func keyPath(home, name string) (string, error) {
	switch {
	case name == CustomerName:
		return filepath.Join(home, customerFile), nil
	case name == "" || name[0] == '.' || len(name) > 64 || strings.ContainsAny(name, "/\\\x00"):
		return "", types.Refuse(types.BadArgument, "account name %.80q: want 1 to 64 characters without slashes, and no dot at first", name)
	}
	return filepath.Join(home, keyFolder, name+".json"), nil
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w: %w", path, err, types.HomeDamaged)
	}
	return nil
}

// writeJSON replaces a file as a whole: after a crash it is the old one or the new one.
func writeJSON(path string, v any, mode fs.FileMode) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return files.Replace(path, append(raw, '\n'), mode)
}

// Running returns the process that runs a network in home, or ErrNotRunning.
func Running(home string) (pid int, err error) {
	pid, err = process.Running(home)
	if errors.Is(err, process.ErrNotRunning) {
		err = fmt.Errorf("%s: %w", home, ErrNotRunning)
	}
	return pid, err
}
