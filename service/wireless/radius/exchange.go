package radius

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"layeh.com/radius"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

const (
	firstWait = time.Second // until a request is sent again over UDP; each time twice as long (RFC 5080 §2.2.1)
	maxBad    = 64          // packets that are no answer, after which an exchange ends: somebody guesses
)

// Exchange sends a request over UDP and returns the reply to it; until ctx ends it sends it again. Each exchange has
// a port of its own, so that no other's packets are taken for its reply. Nobody answers: wireless.idp_unreachable.
// If all that came was refused, the reason is the last one's.
func Exchange(ctx context.Context, address string, request *Packet) (*Packet, error) {
	raw, err := Encode(request)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, types.Refuse(wireless.IdPUnreachable, "%s: %v", address, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var bad error
	buf := make([]byte, radius.MaxPacketLength+1)
	for wait, seen := firstWait, 0; ctx.Err() == nil; wait *= 2 {
		if _, err := conn.Write(raw); err != nil {
			bad = types.Refuse(wireless.IdPUnreachable, "%s: %v", address, err)
		}
		again := time.Now().Add(wait)
		for ctx.Err() == nil {
			_ = conn.SetReadDeadline(again)
			if ctx.Err() != nil { // which may have set an earlier one just before
				break
			}
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil { // nobody listens there, at present
				bad = types.Refuse(wireless.IdPUnreachable, "%s: %v", address, err)
				select {
				case <-time.After(time.Until(again)):
				case <-ctx.Done():
				}
				break
			}
			reply, err := ParseReply(buf[:n], request)
			if err == nil {
				return reply, nil
			}
			bad = fmt.Errorf("%s: %w", address, err)
			if seen++; seen >= maxBad {
				return nil, bad
			}
		}
	}
	if bad == nil {
		bad = types.Refuse(wireless.IdPUnreachable, "%s does not answer", address)
	}
	return nil, bad
}
