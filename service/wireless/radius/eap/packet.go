package eap

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrForm says that bytes are no EAP packet that is taken here.
var ErrForm = errors.New("malformed EAP packet")

// Codes of EAP packets.
const (
	codeRequest  = 1
	codeResponse = 2
	codeSuccess  = 3
	codeFailure  = 4
)

// Method is a type of EAP packets (RFC 3748 §5).
type Method byte

// The methods that a server can offer.
const (
	TLS  Method = 13
	TTLS Method = 21

	identity Method = 1
	nak      Method = 3
)

// Flags of EAP-TLS and EAP-TTLS (RFC 5216 §3.1).
const (
	flagLength = 0x80
	flagMore   = 0x40
	flagStart  = 0x20
)

const maxMessage = 64 << 10 // bytes of a message in fragments

// response is a Response of a peer's.
type response struct {
	id     byte
	method Method
	data   []byte
}

func parseResponse(raw []byte) (r response, err error) {
	if len(raw) < 5 {
		return r, fmt.Errorf("%d bytes: %w", len(raw), ErrForm)
	}
	n := int(binary.BigEndian.Uint16(raw[2:]))
	if raw[0] != codeResponse || n < 5 || n > len(raw) {
		return r, fmt.Errorf("code %d, %d of %d bytes: %w", raw[0], n, len(raw), ErrForm)
	}
	return response{raw[1], Method(raw[4]), raw[5:n]}, nil
}

func packet(code, id byte, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{code, id}, uint16(4+len(body))), body...)
}

// piece is a fragment of a message of TLS.
type piece struct {
	more  bool
	total int // of the message; 0 if it is not said
	data  []byte
}

func parsePiece(data []byte) (p piece, err error) {
	if len(data) == 0 {
		return p, fmt.Errorf("no flags: %w", ErrForm)
	}
	flags, data := data[0], data[1:]
	if flags&flagStart != 0 {
		return p, fmt.Errorf("a peer starts: %w", ErrForm)
	}
	if flags&flagLength != 0 {
		if len(data) < 4 {
			return p, fmt.Errorf("a length of %d bytes: %w", len(data), ErrForm)
		}
		n := binary.BigEndian.Uint32(data)
		if n > maxMessage {
			return p, fmt.Errorf("a message of %d bytes: %w", n, ErrForm)
		}
		p.total, data = int(n), data[4:]
	}
	p.more, p.data = flags&flagMore != 0, data
	return p, nil
}

// cut takes the next fragment of a message off, and returns its data with flags.
func cut(message []byte, first bool, most int) (data, rest []byte) {
	if len(message) <= most {
		return append([]byte{0}, message...), nil
	}
	data = []byte{flagMore}
	if first {
		data = binary.BigEndian.AppendUint32([]byte{flagMore | flagLength}, uint32(len(message)))
	}
	return append(data, message[:most]...), message[most:]
}

// AVPs of the tunnel of TTLS (RFC 5281 §10, §11.2.5), which are Diameter's.
const (
	avpUser     = 1
	avpPassword = 2

	avpVendor    = 0x80
	avpMandatory = 0x40
)

// parsePAP reads the name and the password of PAP inside a tunnel. complete is false while something is missing.
func parsePAP(b []byte) (user, password string, complete bool, err error) {
	var named, known bool
	for len(b) > 0 {
		if len(b) < 8 {
			return "", "", false, nil
		}
		code, flags, n := binary.BigEndian.Uint32(b), b[4], int(binary.BigEndian.Uint32(b[4:])&0xffffff)
		head := 8
		if flags&avpVendor != 0 {
			head = 12
		}
		if n < head || n > maxInner {
			return "", "", false, fmt.Errorf("an AVP of %d bytes: %w", n, ErrForm)
		}
		if n > len(b) {
			return "", "", false, nil
		}
		switch value := string(b[head:n]); {
		case flags&avpVendor == 0 && code == avpUser && !named:
			user, named = value, true
		case flags&avpVendor == 0 && code == avpPassword && !known:
			for len(value) > 0 && value[len(value)-1] == 0 { // it is filled up, so that its length does not show
				value = value[:len(value)-1]
			}
			password, known = value, true
		case flags&avpMandatory != 0:
			return "", "", false, fmt.Errorf("AVP %d: only PAP is spoken here: %w", code, ErrForm)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return user, password, named && known, nil
}
