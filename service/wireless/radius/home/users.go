package home

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

const (
	maxUsers   = 1 << 20
	usersBytes = 128 << 20
	usersAgain = time.Second // between two looks whether the file is another
)

// Users are the users of a file in the form of FreeRADIUS' "users", of which these lines count:
//
//	ada@example.org  Cleartext-Password := "engine"
//	bob@example.org  SSHA2-256-Password := 0x<SHA-256 of password and salt, then the salt>
//
// Empty lines and those that begin with # are left out; anything else is an error, which names its line. A file that
// was changed is read again.
type Users struct {
	path string

	mu     sync.Mutex // guards what follows
	looked time.Time
	info   os.FileInfo
	users  map[string]secret
	err    error
}

type secret struct {
	clear  string
	digest []byte // with its salt; nil for one that is clear
}

// ReadUsers reads a file of users.
func ReadUsers(path string) (*Users, error) {
	u := &Users{path: path}
	u.look(time.Now())
	return u, u.err
}

// look reads the file again if it is another. If that fails, the users of before stay.
func (u *Users) look(now time.Time) {
	if now.Sub(u.looked).Abs() < usersAgain && u.users != nil {
		return
	}
	u.looked = now
	info, err := os.Stat(u.path)
	if err == nil && u.info != nil && os.SameFile(info, u.info) && info.ModTime().Equal(u.info.ModTime()) && info.Size() == u.info.Size() {
		return
	}
	var users map[string]secret
	if err == nil && info.Size() > usersBytes {
		err = types.Refuse(types.Oversize, "%d bytes, at most %d are taken", info.Size(), usersBytes)
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(u.path)
	}
	if err == nil {
		users, err = parseUsers(raw)
	}
	if u.err = nil; err != nil {
		u.err = fmt.Errorf("users %s: %w", u.path, err)
		return
	}
	u.users, u.info = users, info
}

func parseUsers(raw []byte) (map[string]secret, error) {
	users := map[string]secret{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if i := strings.IndexByte(line, '\t'); i >= 0 && i < len(name) {
			name, rest = line[:i], line[i:]
		}
		kind, value, ok := strings.Cut(rest, ":=")
		kind, value = strings.TrimSpace(kind), strings.TrimSpace(value)
		var s secret
		switch {
		case ok && kind == "Cleartext-Password" && len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"':
			s.clear = value[1 : len(value)-1]
			ok = s.clear != "" && !strings.ContainsAny(s.clear, `"\`)
		case ok && kind == "SSHA2-256-Password":
			var err error
			s.digest, err = hex.DecodeString(strings.TrimPrefix(value, "0x"))
			ok = err == nil && len(s.digest) > sha256.Size
		default:
			ok = false
		}
		if !ok || len(name) > 253 {
			return nil, types.Refuse(types.BadArgument, `line %d is not: name Cleartext-Password := "secret", without " and \ in it`, n)
		}
		if len(users) == maxUsers {
			return nil, types.Refuse(types.Oversize, "more than %d users", maxUsers)
		}
		users[name] = s
	}
	return users, lines.Err()
}

// Check checks a name and a password.
func (u *Users) Check(_ context.Context, user, password string) error {
	u.mu.Lock()
	u.look(time.Now())
	s, known := u.users[user]
	u.mu.Unlock()
	right := false
	if s.digest != nil {
		sum := sha256.Sum256(append([]byte(password), s.digest[sha256.Size:]...))
		right = subtle.ConstantTimeCompare(sum[:], s.digest[:sha256.Size]) == 1
	} else {
		right = subtle.ConstantTimeCompare([]byte(s.clear), []byte(password)) == 1
	}
	if !known || !right {
		return types.Refuse(wireless.IdPRefused, "wrong name or password")
	}
	return nil
}

// Err says why the file could not be read the last time; nil if it could.
func (u *Users) Err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}
