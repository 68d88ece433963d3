package home

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/cairn-network/cairn/core/types"
)

// sessionLife is how long a session may last: Session-Timeout. Then the user logs in again.
const sessionLife = 12 * time.Hour

// class is what a Class says. It comes back in accounting.
type class struct {
	device     types.Key
	subscriber [8]byte
	begun      time.Time // a whole second
}

const (
	classVersion = 1
	classSize    = 1 + 12 + 8 + 8 + 8 + 16
)

// seal makes a Class: version, random bytes, the device's first bytes, the subscriber, the moment, and a code over
// these and the whole of the device's key.
func (c class) seal(key []byte) []byte {
	b := make([]byte, 13, classSize)
	b[0] = classVersion
	_, _ = rand.Read(b[1:13])
	b = append(append(b, c.device[:8]...), c.subscriber[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.begun.Unix()))
	return append(b, classCode(key, b, c.device)...)
}

func classCode(key, b []byte, device types.Key) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	mac.Write(device[:])
	return mac.Sum(nil)[:16]
}

// openClass reads a Class that device shows; false for one that was not given to it.
func openClass(key, raw []byte, device types.Key) (c class, ok bool) {
	if len(raw) != classSize || raw[0] != classVersion || !hmac.Equal(classCode(key, raw[:classSize-16], device), raw[classSize-16:]) {
		return c, false
	}
	c.device = device
	copy(c.subscriber[:], raw[21:])
	c.begun = time.Unix(int64(binary.BigEndian.Uint64(raw[29:])), 0)
	return c, true
}

func random() (b [12]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

// pseudonym names a user to everybody but the home: it differs from device to device (RFC 4372).
func pseudonym(key []byte, user string, device types.Key) (id [8]byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("pseudonym"))
	mac.Write(device[:])
	mac.Write([]byte(user))
	copy(id[:], mac.Sum(nil))
	return id
}
