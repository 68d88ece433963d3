package verifier

import (
	"context"
	"fmt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// path is what the chain says of a region's recent headers.
type path struct {
	all      []*ledger.Header // newest first, skipped and voided ones included
	headers  []*ledger.Header // those that stand, newest first, each built on the next
	tip      *ledger.Header   // the newest that stands; nil for none
	final    *ledger.Header   // the newest final one; nil for none
	complete bool             // the oldest of headers is the region's first, or there is none at all
}

// pathStep is how many headers are asked for at first; more are only if none of them is final.
const pathStep = 64

// readPath reads the headers of epochs up to e, back to the newest final one and one more.
func readPath(ctx context.Context, l ledger.Reader, region types.Region, e types.Epoch) (*path, error) {
	for limit := pathStep; ; limit *= 4 {
		all, err := l.Headers(ctx, region, min(limit, 1000))
		if err != nil {
			return nil, fmt.Errorf("verifier: headers up to epoch %d: %w", e, err)
		}
		p := &path{all: all}
		for _, h := range all {
			switch h.Status {
			case ledger.Final:
				if p.final == nil {
					p.final = h
				}
			case ledger.Accepted, ledger.Appealed:
			default:
				continue
			}
			p.headers = append(p.headers, h)
		}
		if len(p.headers) > 0 {
			p.tip = p.headers[0]
			p.complete = p.headers[len(p.headers)-1].Previous == 0
		} else {
			p.complete = len(all) < limit
		}
		if p.final != nil || p.complete || limit >= 1000 {
			return p, nil
		}
	}
}

// before returns the header that h is built on, nil if h is the region's first.
func (p *path) before(ctx context.Context, l ledger.Reader, h *ledger.Header) (*ledger.Header, error) {
	if h.Previous == 0 {
		return nil, nil
	}
	for _, o := range p.headers {
		if o.Epoch == h.Previous {
			return o, nil
		}
	}
	return l.Header(ctx, h.Previous, h.Region)
}

// standing returns the newest block, and the region's path as of then.
func standing(ctx context.Context, l ledger.Reader, region types.Region) (head ledger.Block, p *path, err error) {
	if head, err = l.Head(ctx); err == nil {
		p, err = readPath(ctx, l, region, head.Epoch)
	}
	return head, p, err
}
