package tunnel

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// Bounds of a tunnel.
const (
	MaxStreams = 256              // connections to destinations at once in one tunnel
	Idle       = 5 * time.Minute  // nothing comes or goes on one
	Stall      = time.Minute      // one side takes nothing
	Patience   = 10 * time.Second // what is held up at W waits for a receipt, and for the first frame
	beat       = 15 * time.Second // the customer says at least so often that it is there
	silence    = time.Minute

	window   = 256 << 10 // bytes on their way in one stream
	maxFrame = 1 << 10
	maxHost  = 253 + 6
)

// Open is the first frame of a control stream.
type Open struct {
	Session types.SessionID `cbor:"1,keyasint"`
	Ask     types.Hash      `cbor:"2,keyasint"`
	First   types.Epoch     `cbor:"3,keyasint"`
}

// State is what a device answers to each frame of a control stream, and says by itself before it ends a connection.
type State struct {
	Count  uint64       `cbor:"1,keyasint"` // bytes of the account that the device relayed
	Units  uint64       `cbor:"2,keyasint"` // signed for
	Limit  uint64       `cbor:"3,keyasint"` // W
	Reason types.Reason `cbor:"4,keyasint"` // of a refusal, or ""
	Text   string       `cbor:"5,keyasint"`
}

func (s State) err() error {
	if s.Reason == "" {
		return nil
	}
	return types.Refuse(s.Reason, "%s", s.Text)
}

func state(b Balance, err error) State {
	s := State{Count: b.Count, Units: b.Units, Limit: b.Limit, Reason: types.ReasonOf(err)}
	if err != nil {
		s.Text = err.Error()
		s.Text = s.Text[:min(len(s.Text), maxFrame/2)]
		if s.Reason == "" {
			s.Reason = types.DeviceFailed
		}
	}
	return s
}

// A frame is a length, two bytes, big endian, and so many bytes; none of them is a beat.

func writeFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

func readFrame(r io.Reader) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(n[:]))
	if length > max(maxFrame, receipt.MaxSigned) {
		return nil, fmt.Errorf("tunnel: a frame of %d bytes: %w", length, types.Oversize)
	}
	b := make([]byte, length)
	_, err := io.ReadFull(r, b)
	return b, err
}
