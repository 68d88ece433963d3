package role

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/cairn-network/cairn/core/types"
)

// AnyHost in a list of hosts stands for every name.
const AnyHost = "*"

// Guard keeps pages of other sites from using h through the browser of somebody who can reach it. It refuses
//
//   - a request for a host that is not this one's (bad_host, 421): its Host is neither an address, nor localhost, nor a name in hosts. A page
//     that had its own name point to this machine (DNS rebinding) shows its name there;
//   - a request of another site's page that could change something (bad_origin, 403): Sec-Fetch-Site or Origin say so
//     (http.CrossOriginProtection). Programs send neither.
//
// A server behind a reverse proxy that keeps the Host names its public name in hosts.
func Guard(h http.Handler, hosts []string) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostAllowed(r.Host, hosts) {
			Fail(w, types.Refuse(BadHost, "host %.100q", r.Host))
			return
		}
		if err := cross.Check(r); err != nil {
			Fail(w, fmt.Errorf("%w: %w", err, BadOrigin))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// hostAllowed reports whether a Host header can be this server's. An empty one is of a program: browsers always
// send it.
func hostAllowed(host string, hosts []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 §6.3
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return slices.ContainsFunc(hosts, func(h string) bool {
		return h == AnyHost || strings.EqualFold(strings.TrimSuffix(h, "."), name)
	})
}

// jsonBody reports whether a request says that its body is JSON (RFC 8259 §11, RFC 6839 §3.1). A form of
// another site's page cannot say so without that site having been asked.
func jsonBody(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}
