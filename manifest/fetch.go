package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/files"
)

// fetchTimeout bounds how long a URL may take.
const fetchTimeout = 30 * time.Second

// maxRedirects is how many redirections are followed.
const maxRedirects = 5

// Fetch reads a manifest from a file or a URL. A URL is https, or http on this machine; what it redirects to
// likewise.
func Fetch(ctx context.Context, where string) (*Signed, error) {
	return fetch(ctx, where, http.DefaultTransport)
}

func fetch(ctx context.Context, where string, transport http.RoundTripper) (*Signed, error) {
	if !strings.Contains(where, "://") {
		f, err := os.Open(where)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, types.Refuse(types.NotFound, "manifest: %s does not exist", where)
		}
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		defer f.Close()
		return Read(f)
	}
	u, err := url.Parse(where)
	if err != nil {
		return nil, types.Refuse(types.BadArgument, "manifest: %v", err)
	}
	if err := mayFetch(u); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", where, nil)
	if err != nil {
		return nil, types.Refuse(types.BadArgument, "manifest: %v", err)
	}
	client := http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return types.Refuse(types.BadManifest, "manifest: %s redirects more than %d times", where, maxRedirects)
		}
		return mayFetch(next.URL)
	}}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, types.Refuse(types.NotFound, "manifest: %s: %s", where, res.Status)
	}
	return Read(res.Body)
}

// mayFetch refuses to ask in the clear beyond this machine: whoever is in between could answer with a manifest
// of their own, and who joins has no key to compare with.
func mayFetch(u *url.URL) error {
	ip := net.ParseIP(u.Hostname())
	switch {
	case u.Scheme == "https", u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()):
		return nil
	}
	return types.Refuse(types.BadArgument, "manifest: %s: want a file, or a URL of https (http on this machine only)", u)
}

// Read reads a manifest to the reader's end.
func Read(r io.Reader) (*Signed, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return Parse(raw)
}

// File is its name in a home.
const File = "manifest.json"

// Load reads the manifest of a home. It is fs.ErrNotExist where there is none.
func Load(home string) (*Signed, error) {
	f, err := os.Open(filepath.Join(home, File))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer f.Close()
	s, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return s, nil
}

// Demand refuses a manifest that is not of the demanded signer; zero demands none.
func (s *Signed) Demand(signer types.Key) error {
	if !signer.IsZero() && signer != s.Signer {
		return types.Refuse(types.OtherSigner, "manifest: it is signed by %v, not by %v", s.Signer, signer)
	}
	return nil
}

// Keep keeps a manifest in a home. In the place of another it has to be of the same chain, and newer; and of
// the same signer, unless the new signer is demanded by name. Its genesis may be another: a chain that begins
// anew from its export has one. One that is there already is kept as it is. The home is made where it is
// missing.
func Keep(home string, s *Signed, signer types.Key) error {
	if err := s.Demand(signer); err != nil {
		return err
	}
	old, err := Load(home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case old.Manifest.Chain != s.Manifest.Chain:
		return types.Refuse(types.WrongChain, "manifest: %s is of chain %s, and this manifest of %s", home, old.Manifest.Chain, s.Manifest.Chain)
	case old.Signer != s.Signer && signer.IsZero():
		return types.Refuse(types.OtherSigner, "manifest: it is signed by %v, and the one in %s by %v", s.Signer, home, old.Signer)
	case old.Signature == s.Signature && old.Signer == s.Signer:
		return nil
	case old.Manifest.Published >= s.Manifest.Published:
		at, _ := old.Manifest.Published.MarshalText()
		return types.Refuse(types.StaleManifest, "manifest: the one in %s was published at %s, and this one no later", home, at)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return types.Refuse(types.HomeUnwritable, "manifest: %v", err)
	}
	if err := files.Replace(filepath.Join(home, File), s.Encode(), 0o644); err != nil {
		return fmt.Errorf("manifest: keep in %s: %w", home, err)
	}
	return nil
}
