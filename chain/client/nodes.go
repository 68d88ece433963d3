package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// Bounds of one request, and of what is read of an answer about a node.
const (
	nodeDial   = 5 * time.Second
	nodeHead   = 30 * time.Second // until an answer begins
	nodeAsk    = 5 * time.Second
	nodeAnswer = 1 << 20
)

// nodes sends requests to one of several nodes, and to the next where that one does not answer. A node is asked
// for its chain before it is used for the first time.
type nodes struct {
	urls  []*url.URL
	names []string // as they were given, without a path
	base  http.RoundTripper
	log   *slog.Logger
	pin   *Pin // a block that each must have, unless it has forgotten it; nil: any

	mu    sync.Mutex // guards what follows
	at    int
	good  []bool // of this chain
	chain string // "" until the first has said it
}

func newNodes(addresses []string, chain string, pin *Pin, log *slog.Logger) (*nodes, error) {
	n := &nodes{chain: chain, pin: pin, log: log, good: make([]bool, len(addresses)), base: &http.Transport{
		DisableCompression: true, Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: nodeDial}).DialContext,
		ResponseHeaderTimeout: nodeHead, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 16,
	}}
	for _, a := range addresses {
		u, err := url.Parse(strings.Replace(a, "tcp://", "http://", 1))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, types.Refuse(types.BadArgument, "client: node %.100q: want http://host:port", a)
		}
		n.urls, n.names = append(n.urls, u), append(n.names, u.Scheme+"://"+u.Host)
	}
	return n, nil
}

// RoundTrip implements http.RoundTripper.
func (n *nodes) RoundTrip(req *http.Request) (*http.Response, error) {
	var failed []error
	for range n.urls {
		at := n.current()
		res, err := n.send(req, at)
		if err == nil {
			return res, nil
		}
		failed = append(failed, err)
		if ctx := req.Context().Err(); ctx != nil {
			if errors.Is(ctx, context.DeadlineExceeded) {
				n.leave(at, err) // it may be that one's fault
			}
			break
		}
		n.leave(at, err)
		if req.Body != nil && req.GetBody == nil {
			break
		}
	}
	if slices.ContainsFunc(failed, func(err error) bool { return types.ReasonOf(err) != types.WrongChain }) {
		return nil, fmt.Errorf("%v", errors.Join(failed...)) // which need not last
	}
	return nil, errors.Join(failed...)
}

// stillFor is after how long without a new block the next node is asked.
const stillFor = 30 * time.Second

// stuck goes on from a node that has had no new block for long: it may have lost the others.
func (n *nodes) stuck() {
	n.leave(n.current(), fmt.Errorf("it has had no new block for %v", stillFor))
}

func (n *nodes) current() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.at
}

// leave goes on to the next node, unless somebody else has.
func (n *nodes) leave(at int, why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at != at || len(n.urls) == 1 {
		return
	}
	n.at = (at + 1) % len(n.urls)
	n.log.Warn("another node of the chain is asked from now on", "left", n.names[at], "asked", n.names[n.at], "error", why)
}

// send sends a request to one node.
func (n *nodes) send(req *http.Request, at int) (*http.Response, error) {
	if err := n.check(req.Context(), at); err != nil {
		return nil, err
	}
	to := n.urls[at]
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.URL.Path, out.URL.User, out.Host = to.Scheme, to.Host, to.Path, to.User, ""
	if req.GetBody != nil {
		var err error
		if out.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	res, err := n.base.RoundTrip(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.names[at], err)
	}
	if slices.Contains([]int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests}, res.StatusCode) {
		res.Body.Close()
		return nil, fmt.Errorf("%s: %s", n.names[at], res.Status)
	}
	return res, nil
}

// check refuses a node that is of another chain.
func (n *nodes) check(ctx context.Context, at int) error {
	n.mu.Lock()
	good, chain := n.good[at], n.chain
	n.mu.Unlock()
	if good {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodeAsk)
	defer cancel()
	var out struct {
		Result struct {
			Node struct {
				Network string `json:"network"`
			} `json:"node_info"`
		} `json:"result"`
	}
	if err := n.ask(ctx, at, `{"jsonrpc":"2.0","id":0,"method":"status","params":{}}`, &out); err != nil {
		return err
	}
	if out.Result.Node.Network == "" {
		return fmt.Errorf("%s: it does not say which chain it is of", n.names[at])
	}
	network := out.Result.Node.Network
	if chain != "" && network != chain {
		return types.Refuse(types.WrongChain, "%s is a node of %.60s, not of %s", n.names[at], network, chain)
	}
	if err := n.checkPin(ctx, at); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.chain != "" && n.chain != network {
		return types.Refuse(types.WrongChain, "%s is a node of %.60s, not of %s", n.names[at], network, n.chain)
	}
	n.chain, n.good[at] = network, true
	return nil
}

// checkPin refuses a node that has another block in the place of the one that is believed.
func (n *nodes) checkPin(ctx context.Context, at int) error {
	if n.pin == nil {
		return nil
	}
	var out struct {
		Result struct {
			Signed struct {
				Commit struct {
					Block struct {
						Hash string `json:"hash"`
					} `json:"block_id"`
				} `json:"commit"`
			} `json:"signed_header"`
		} `json:"result"`
	}
	if err := n.ask(ctx, at, fmt.Sprintf(`{"jsonrpc":"2.0","id":0,"method":"commit","params":{"height":"%d"}}`, n.pin.Height), &out); err != nil {
		return err
	}
	if hash := out.Result.Signed.Commit.Block.Hash; hash != "" && !strings.EqualFold(hash, n.pin.Hash.String()) {
		return types.Refuse(types.WrongChain, "%s has block %d as %.64s, which should be %v", n.names[at], n.pin.Height, hash, n.pin.Hash)
	}
	return nil
}

// ask asks a node about itself.
func (n *nodes) ask(ctx context.Context, at int, question string, out any) error {
	req, err := http.NewRequestWithContext(ctx, "POST", n.urls[at].String(), strings.NewReader(question))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := n.base.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", n.names[at], err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, nodeAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%s: it does not say where it stands (%s)", n.names[at], res.Status)
	}
	return nil
}
