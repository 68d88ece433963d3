package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/network"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/role/command"
)

// homeFlags gives a command --home and --json.
func homeFlags(c *cobra.Command) *cobra.Command {
	c.Flags().String("home", "", "the network's home (default $CAIRN_HOME, else ~/.cairn)")
	c.Flags().Bool("json", false, "print JSON: stable names, amounts in base units")
	return c
}

// homeOf returns the home that a command works on.
func homeOf(c *cobra.Command) (string, error) {
	if home, _ := c.Flags().GetString("home"); home != "" {
		return filepath.Abs(home)
	}
	if home := os.Getenv("CAIRN_HOME"); home != "" {
		return filepath.Abs(home)
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", advice{fmt.Errorf("home: %w", err), "name one with --home"}
	}
	return filepath.Join(user, ".cairn"), nil
}

// api speaks to the gateway and the page of a network.
type api struct {
	*place
	key  string
	http *http.Client
}

// openAPI finds the gateway of the network that a command works on, and the API key of the account that
// --account names. Without a network it says how to get to one.
func openAPI(c *cobra.Command) (*api, error) {
	p, err := placeOf(c)
	if err != nil {
		return nil, err
	}
	if _, err := p.gateway(); err != nil {
		return nil, err
	}
	a := &api{place: p, http: &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		ResponseHeaderTimeout: 10 * time.Minute,
	}}}
	f := c.Flags().Lookup("account")
	if f == nil || f.Name != "account" {
		return a, nil // it asks for what everybody may know
	}
	name := cmp.Or(f.Value.String(), accountName())
	customer, err := network.ReadKey(p.home, p.keyName(name))
	switch {
	case err == nil:
		a.key = customer.APIKey
	case name == network.CustomerName && p.runs != nil && p.api == p.runs.API: // the network has had no first round yet
	case errors.Is(err, fs.ErrNotExist):
		return nil, advice{types.Refuse(types.NotFound, "account %s has no API key for %s in %s", name, p.api, p.home),
			"cairn account key " + name + ", if cairn account list shows it; else cairn account create " + name}
	default:
		return nil, err
	}
	return a, nil
}

// do sends a request and returns its answer, whose body the caller closes. What the gateway refuses carries its
// reason.
func (a *api) do(ctx context.Context, r command.Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, a.api+r.Path, r.Body)
	if err != nil {
		return nil, err
	}
	if r.Size > 0 {
		req.ContentLength = r.Size
	}
	maps.Copy(req.Header, r.Header)
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.key)
	}
	res, err := a.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, advice{fmt.Errorf("%s %s: nothing answers at %s: %w", r.Method, r.Path, a.api, types.NotRunning), a.whyAway()}
		}
		return nil, err
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	var p role.Problem
	if json.Unmarshal(raw, &p) != nil || p.Message == "" {
		return nil, fmt.Errorf("%s %s: %s: %s", r.Method, r.Path, res.Status, bytes.TrimSpace(raw))
	}
	return nil, advice{types.Refuse(p.Reason, "%s", strings.TrimSuffix(p.Message, ": "+string(p.Reason))), p.Try} // which Refuse adds
}

// whyAway is what to do where the gateway does not answer.
func (a *api) whyAway() string {
	if a.runs != nil {
		return "is the network still running? make up"
	}
	if len(a.far.Gateways) > 1 {
		return "use another gateway of the network: --api " + strings.Join(a.far.Gateways, " or ")
	}
	return "wait until it is back, or name another with --api"
}

// get decodes the JSON at path into v.
func (a *api) get(ctx context.Context, path string, v any) error {
	return a.call(ctx, "GET", path, nil, v)
}

// call sends in as JSON, where it is not nil, and decodes the answer into out, where it is not nil.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	r := command.Request{Method: method, Path: path}
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.Body, r.Size, r.Header = bytes.NewReader(raw), int64(len(raw)), http.Header{"Content-Type": {"application/json"}}
	}
	res, err := a.do(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	return nil
}
